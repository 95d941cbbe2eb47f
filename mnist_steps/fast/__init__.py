"""Small networks, about twice as fast on CPUs: their layers in C, 16 images at a time.

PyTorch's convolutions fill a vector unit with channels, and are made for many of them; the
networks here have 10 to 18. Batches are large, however: where 16 images lie side by side, every
register is full whatever the number of channels. Such a block of images is, to PyTorch, one
image with 16 times the channels, in memory format channels_last: layers that treat each channel
by itself, as pooling does, work on it as they are. Convolutions and batch normalization are in
kernels.c. Results differ from PyTorch's by rounding only, and not with the number of threads.
"""

import ctypes
import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_steps.augment import Transform, draw
from mnist_steps.fast.compiler import library

IMAGES = 16  # in a block, as in kernels.c

# With more channels, PyTorch's convolutions are faster.
MOST_CHANNELS = 32

CHANNELWISE = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class FastSequential(nn.Sequential):
    """nn.Sequential whose layers up to the first Flatten compute in blocks of images.

    It reads the layers' parameters and settings and does not call them: no hook of theirs runs.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not self._in_blocks(images):
            return super().forward(images)
        count, layers = len(images), list(self)
        end = next(place for place, layer in enumerate(layers) if type(layer) is nn.Flatten)
        if count % IMAGES:  # only where images do not meet: each is judged by itself
            images = F.pad(images, (0, 0, 0, 0, 0, 0, 0, -count % IMAGES))
        x, normalized = pack(images), False
        for layer, following in pairwise(layers[: end + 1]):
            if isinstance(layer, nn.Conv2d):
                x = convolve(x, layer)
            elif isinstance(layer, nn.BatchNorm2d):
                x = normalize(x, layer, relu=type(following) is nn.ReLU)
            elif not (normalized and type(layer) is nn.ReLU):
                x = layer(x)
            normalized = isinstance(layer, nn.BatchNorm2d)
        x = unpack(x)[:count]
        for layer in layers[end:]:
            x = layer(x)
        return x

    def _in_blocks(self, images: Tensor) -> bool:
        """Whether this batch can go this way; otherwise it takes PyTorch's."""
        for tensor in (images, *self.parameters()):
            if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
                return False
        if images.requires_grad or any(layer.training != self.training for layer in self):
            return False
        if self.training:
            return len(images) % IMAGES == 0
        return not torch.is_grad_enabled()


def speed_up(model: nn.Module) -> nn.Module:
    """Let a network that gains by it compute this way. Changes the model, and returns it.

    Parameters and their names stay as they are, and so does a network of another kind: with
    other layers than stages 3 to 8, or with many channels. It gains only in that memory is kept
    for its next step.
    Raises MnistStepsError when there is no C compiler.
    """
    library().keep_memory()
    if isinstance(model, nn.Sequential) and _gains(list(model)):
        model.__class__ = FastSequential  # the same network with another forward
    return model


def _gains(layers: list[nn.Module]) -> bool:
    kinds = [type(layer) for layer in layers]
    if nn.Flatten not in kinds or kinds[0] is not nn.Conv2d:
        return False
    before_flatten = layers[: kinds.index(nn.Flatten)]
    return all(map(_is_known, before_flatten)) and all(
        layer.stride == (1, 1) for layer in before_flatten[1:] if isinstance(layer, nn.Conv2d)
    )


def _is_known(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        return (
            max(layer.in_channels, layer.out_channels) <= MOST_CHANNELS
            and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
            and layer.stride[0] == layer.stride[1]
            and not isinstance(layer.padding, str)
            and all(p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
        )
    if type(layer) is nn.BatchNorm2d:
        return layer.affine and layer.track_running_stats and layer.momentum is not None
    return type(layer) in CHANNELWISE and not getattr(layer, "return_indices", False)


# --- Augmentation ---------------------------------------------------------------------------


def augment(images: Tensor, transforms: Sequence[Transform], generator: Generator) -> Tensor:
    """As `mnist_steps.augment.augment`, drawing the same, for images (N, 1, H, W) on the CPU."""
    if not transforms:
        return images
    images, maps = images.contiguous(), draw(transforms, len(images), generator).contiguous()
    count, _, height, width = images.shape
    result = torch.empty_like(images)
    _call("resample", images, maps, result, count, height, width)
    return result


# --- Blocks ---------------------------------------------------------------------------------


def pack(images: Tensor) -> Tensor:
    """(N, C, H, W) as blocks (N / 16, C * 16, H, W) in memory format channels_last."""
    blocks = images.unflatten(0, (-1, IMAGES)).transpose(1, 2)  # (N / 16, C, 16, H, W)
    return blocks.flatten(1, 2).contiguous(memory_format=torch.channels_last)


def unpack(blocks: Tensor) -> Tensor:
    """Blocks (N / 16, C * 16, H, W) as (N, C, H, W)."""
    return blocks.unflatten(1, (-1, IMAGES)).transpose(1, 2).flatten(0, 1)


def _in_order(blocks: Tensor) -> Tensor:
    """The same, copied where it does not lie in memory as kernels.c expects."""
    return blocks.contiguous(memory_format=torch.channels_last)


def _empty(shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, memory_format=torch.channels_last)


def _call(name: str, *arguments: Any) -> None:
    """Call a function of kernels.c; it gets tensors as addresses, and last the threads to use."""
    passed = [
        ctypes.c_void_p(argument.data_ptr()) if isinstance(argument, Tensor) else argument
        for argument in arguments
    ]
    if not getattr(library(), name)(*passed, torch.get_num_threads()):
        raise MemoryError(f"no memory for {name}")


# --- Convolution ----------------------------------------------------------------------------


class Convolution(ctypes.Structure):
    """As in kernels.c: shapes of input, output and kernel, and the strides of the weight."""

    _fields_ = [
        *((name, ctypes.c_int) for name in (
            "blocks", "in_channels", "in_height", "in_width",
            "out_channels", "out_height", "out_width",
            "kernel_height", "kernel_width", "stride", "padding_height", "padding_width",
        )),
        *((name, ctypes.c_long) for name in ("next_out", "next_in", "next_row", "next_column")),
    ]  # fmt: skip


@functools.lru_cache(maxsize=1000)
def _convolution(
    blocks: torch.Size,
    weight: torch.Size,
    weight_strides: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
) -> Convolution:
    count, wide, height, width = blocks
    out_channels, in_channels, *kernel = weight
    assert wide == in_channels * IMAGES, f"{wide} channels in blocks for {in_channels}"
    out = [
        (size + 2 * pad - side) // stride + 1
        for size, pad, side in zip((height, width), padding, kernel, strict=True)
    ]
    return Convolution(
        count, in_channels, height, width, out_channels, *out, *kernel, stride, *padding,
        *weight_strides,
    )  # fmt: skip


def convolve(blocks: Tensor, layer: nn.Conv2d) -> Tensor:
    """What the layer does, to blocks."""
    padding = layer.padding
    assert not isinstance(padding, str), "speed_up leaves such a layer alone"
    result: Tensor = _Convolve.apply(blocks, layer.weight, layer.bias, layer.stride[0], padding)
    return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: tuple[int, int],
    ) -> Tensor:
        x = _in_order(x)
        shape = _convolution(x.shape, weight.shape, weight.stride(), stride, padding)
        y = _empty((len(x), shape.out_channels * IMAGES, shape.out_height, shape.out_width))
        _call("convolution", x, weight, bias, y, ctypes.byref(shape))
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        shape = ctypes.byref(ctx.shape)
        dy = _in_order(dy)
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = _empty(x.shape)
            _call("convolution_input_gradient", dy, weight, dx, shape)
        if ctx.needs_input_grad[1]:
            dweight = torch.empty_strided(weight.shape, weight.stride())
            _call("convolution_weight_gradient", x, dy, dweight, shape)
        if ctx.needs_input_grad[2]:
            dbias = unpack(dy).sum(dim=(0, 2, 3))
        return dx, dweight, dbias, None, None


# --- Batch normalization --------------------------------------------------------------------


def normalize(blocks: Tensor, layer: nn.BatchNorm2d, relu: bool) -> Tensor:
    """What the layer does, to blocks; with `relu`, ReLU after it."""
    if layer.training:
        return _Normalize.apply(blocks, layer.weight, layer.bias, layer, relu)
    assert layer.running_mean is not None and layer.running_var is not None
    blocks = _in_order(blocks)
    scale = layer.weight / (layer.running_var + layer.eps).sqrt()
    shift = layer.bias - layer.running_mean * scale
    result = _empty(blocks.shape)
    _call("scale_and_shift", blocks, scale, shift, result, relu, *_sizes(blocks))
    return result


def _sizes(blocks: Tensor) -> tuple[int, ...]:
    count, wide, height, width = blocks.shape
    return count, height, width, wide // IMAGES


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.BatchNorm2d, relu: bool
    ) -> Tensor:
        x = _in_order(x)
        y = _empty(x.shape)
        saved = torch.empty(4, len(weight))
        assert layer.momentum is not None and layer.num_batches_tracked is not None
        layer.num_batches_tracked.add_(1)
        _call(
            "batch_norm", x, weight, bias, layer.running_mean, layer.running_var,
            ctypes.c_double(layer.momentum), ctypes.c_double(layer.eps), saved, y, relu, *_sizes(x),
        )  # fmt: skip
        ctx.save_for_backward(x, saved)
        ctx.relu = relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, saved = ctx.saved_tensors
        dy = _in_order(dy)
        dx = _empty(x.shape)
        dweight, dbias = torch.empty(2, saved.shape[1]).unbind()
        _call("batch_norm_backward", x, dy, saved, dx, dweight, dbias, ctx.relu, *_sizes(x))
        return dx, dweight, dbias, None, None
