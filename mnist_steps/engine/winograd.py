"""Convolutions over small maps, with fewer multiplications (Winograd's algorithm).

A convolution multiplies polynomials: the kernel's values are coefficients, and so are the
map's. Polynomials can also be multiplied by their values at a few points, with one
multiplication a point, and the product be read off its values again. For a 3×3 kernel over a
7×7 map that takes 49 multiplications instead of 225; going to values and back costs little
when many channels share it. Only rounding differs from an ordinary convolution.

Sources: S. Winograd, Arithmetic Complexity of Computations (1980); A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks (2016), arXiv:1509.09308.
"""

import functools
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Small numbers, whose powers keep rounding errors small; one more point is infinity.
POINTS = (0, 1, -1, 2, -2, 0.5)
KERNEL = 3
SMALLEST, LARGEST = 4, len(POINTS) + 1  # side of the maps that this is for

# Below so many pairs of channels, the way to the values and back costs more than it saves.
FEWEST_CHANNEL_PAIRS = 100_000


class WinogradConv2d(nn.Module):
    """Takes the place of an nn.Conv2d that `gains`, and computes over small maps the short way.

    It shares that layer's parameters: those of the same name are the same tensors.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.train(layer.training)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height != width or not SMALLEST <= height <= LARGEST:
            return F.conv2d(images, self.weight, self.bias)
        result = convolve(images, self.weight)
        return result if self.bias is None else result + self.bias[:, None, None]


def speed_up(model: nn.Module) -> nn.Module:
    """Put a WinogradConv2d in the place of every convolution that gains by it.

    Changes the model, and returns it, or what takes its place. Its parameters, their names and
    their order stay as they are.
    """
    if gains(model):
        return WinogradConv2d(model)
    replaced: dict[nn.Module, nn.Module] = {}  # a layer that is used twice stays one layer
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if gains(layer):
                setattr(module, name, replaced.setdefault(layer, WinogradConv2d(layer)))
    return model


def gains(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether this is a convolution for which the short way exists and is shorter."""
    if type(layer) is not nn.Conv2d:
        return False
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    pairs = layer.in_channels * layer.out_channels
    return shape == ((KERNEL, KERNEL), (1, 1), (0, 0), (1, 1), 1) and pairs >= FEWEST_CHANNEL_PAIRS


def convolve(images: Tensor, weight: Tensor) -> Tensor:
    """The same as F.conv2d(images, weight), for small square maps.

    images: float tensor (N, C, S, S) with S from 4 to 7
    weight: float tensor (K, C, 3, 3)
    Returns a tensor (N, K, S - 2, S - 2) in memory format channels_last.
    """
    count, channels, size, _ = images.shape
    side = size - KERNEL + 1
    to_output, of_kernel, of_image = (
        matrix.to(images) for matrix in transforms(size)
    )  # (side², size²), (size², 9), (size², size²)

    pixels = images.permute(0, 2, 3, 1).reshape(count, size * size, channels)
    taps = weight.permute(2, 3, 1, 0).reshape(KERNEL * KERNEL, -1)
    image_values = (of_image @ pixels).transpose(0, 1)  # (size², N, C)
    kernel_values = (of_kernel @ taps).view(size * size, channels, -1)  # (size², C, K)
    values = torch.bmm(image_values, kernel_values)  # (size², N, K)
    result = to_output @ values.transpose(0, 1)  # (N, side², K)
    return result.view(count, side, side, -1).permute(0, 3, 1, 2)


@functools.cache
def transforms(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values to output, kernel to values, image to values, for maps of size × size.

    float64 tensors of shapes (side², size²), (size², 9), (size², size²), side = size - 2.
    They are Lavin and Gray's A, G and B, transposed where those are, for both axes at once.
    """
    side = size - KERNEL + 1
    # Multiplying polynomials with `side` and 3 coefficients: evaluate both, multiply, interpolate.
    # A convolution as networks have it is that map's transpose.
    axis = (
        _evaluation(side, size).T,
        _evaluation(KERNEL, size),
        torch.linalg.inv(_evaluation(size, size)).T,
    )
    to_output, of_kernel, of_image = (torch.kron(matrix, matrix) for matrix in axis)
    return to_output, of_kernel, of_image


def _evaluation(coefficients: int, points: int) -> Tensor:
    """Row by row a polynomial's value at each point; at infinity, its leading coefficient."""
    finite = torch.tensor(POINTS[: points - 1], dtype=torch.float64)
    infinity = torch.zeros(1, coefficients, dtype=torch.float64)
    infinity[0, -1] = 1
    return torch.cat((torch.linalg.vander(finite, N=coefficients), infinity))
