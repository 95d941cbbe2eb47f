"""What a trained network makes of its field: how strongly each pixel moves a unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import Symbolic
from mnist_steps.receptive_field.analysis import analyze_traced
from mnist_steps.receptive_field.execution import execute, several, twin_of


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each input pixel moves the middle unit of a layer.

    map: float tensor (height, width), not negative, sums to 1
    size: side in pixels of the smallest square, centred on the unit's field, that holds `share`
        of the map's sum; it ends at the image's border
    """

    layer: str
    map: Tensor
    size: int
    share: float


def effective(
    model: nn.Module,
    images: Tensor,
    layer: int | str = -1,
    share: float = 0.95,
    batch_size: int = 250,
) -> EffectiveField:
    """The effective receptive field of a layer's middle unit, averaged over real images.

    The gradient of the unit, summed over channels, with respect to each pixel, as an absolute
    value, averaged over the images (Luo, Li, Urtasun and Zemel, "Understanding the Effective
    Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016, who show that it is
    bell-shaped and much smaller than the theoretical field). The paper counts the pixels above
    4.55 % of the peak; here the size is that of a square which holds a share of the whole, so
    that it can be compared with the theoretical size.

    images: float tensor (N, C, H, W), normalized as for the network
    Runs on a copy of the model, in evaluation mode, on the images' device.
    """
    if images.dim() != 4:
        raise MnistStepsError(
            f"effective() takes images (N, C, H, W), found a tensor of shape {tuple(images.shape)}"
        )
    symbolic = Symbolic(model)
    chosen = analyze_traced(symbolic, tuple(images.shape[1:]))[layer]
    twin = twin_of(model, images.device).requires_grad_(False)
    middle = tuple(units // 2 for units in chosen.units)
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    for batch in images.split(batch_size):
        batch = batch.detach().clone().requires_grad_()
        # The image itself is a leaf, which an in-place activation must not overwrite.
        outputs: list[Tensor] = []

        def see(
            name: str, value: Any, outputs: list[Tensor] = outputs, count: int = len(batch)
        ) -> None:
            if name == chosen.name:
                index: list[Any] = [slice(None)] * value.dim()
                for dim, position in zip(chosen.map_dims, middle, strict=True):
                    if dim is not None:
                        index[dim] = position
                outputs.append(value[tuple(index)][:count].sum())

        execute(symbolic, twin, several(batch * 1), see)
        (gradient,) = torch.autograd.grad(outputs[0], batch)
        total += gradient.abs().sum(dim=(0, 1)).double().cpu()
    if not total.sum() > 0:
        raise MnistStepsError(f"{chosen.name} has no gradient on these images: nothing to measure")
    energy = (total / total.sum()).float()
    return EffectiveField(chosen.name, energy, _side(energy, chosen.box(middle), share), share)


def _side(energy: Tensor, box: Sequence[int], share: float) -> int:
    """Side of the smallest square around the box's middle with this share of the energy."""
    top, left, bottom, right = box
    height, width = energy.shape
    for side in range(1, max(height, width) + 1):
        first_row, first_col = (top + bottom - side) // 2, (left + right - side) // 2
        rows = slice(max(0, first_row), max(0, first_row + side))
        cols = slice(max(0, first_col), max(0, first_col + side))
        if energy[rows, cols].sum() >= share - 1e-6:
            return side
    return max(height, width)
