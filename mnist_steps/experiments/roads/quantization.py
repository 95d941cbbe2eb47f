"""Quantization: each weight as a small whole number, times a scale that its channel shares.

    weight ≈ scale · code,   code from -127 to 127 for 8 bits, from -7 to 7 for 4

The scale takes the channel's largest weight to the largest code. Rounding is simulated: numbers are
rounded to what the codes can say, and computed with as usual. That tells the accuracy exactly, and
nothing about time, which depends on kernels for whole numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ACTIVATION_BITS = 8  # of what goes into each convolution, whatever the weights have


def largest_code(bits: int) -> int:
    """Codes reach so far to both sides of 0; one of 2^bits stays unused."""
    return 2 ** (bits - 1) - 1


def codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers, int8 and shaped like the weight, and the scale of each output channel."""
    flat = weight.detach().flatten(1)
    scale = flat.abs().amax(dim=1).clamp(min=1e-12) / largest_code(bits)
    whole = (flat / scale[:, None]).round().to(torch.int8)
    return whole.view_as(weight), scale


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The weight as its codes say it."""
    whole, scale = codes(weight, bits)
    return whole * scale.view(-1, *[1] * (weight.dim() - 1))


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]


@torch.no_grad()
def round_weights(model: nn.Module, bits: int) -> None:
    """Replace the weights of all convolutions by their rounded selves."""
    for layer in convolutions(model):
        layer.weight.copy_(rounded(layer.weight, bits))


@contextmanager
def rounded_activations(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Inside the block, what goes into each convolution is rounded to 8 bits, one scale a layer.

    images: training images, normalized, (N, 1, 28, 28); the largest value that they bring to a
        layer is the largest that its codes can say, and what is larger later is cut off
    """
    largest: dict[nn.Module, Tensor] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        largest[layer] = inputs[0].abs().max()

    def cut(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        most = largest_code(ACTIVATION_BITS)
        scale = largest[layer] / most
        return (inputs[0] / scale).round().clamp(-most, most) * scale

    looking = [layer.register_forward_pre_hook(look) for layer in convolutions(model)]
    with torch.inference_mode():
        model.eval()(images)
    for hook in looking:
        hook.remove()
    cutting = [layer.register_forward_pre_hook(cut) for layer in convolutions(model)]
    try:
        yield
    finally:
        for hook in cutting:
            hook.remove()
