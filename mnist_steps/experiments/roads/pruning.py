"""Pruning: leave out what seems to matter least, single weights or whole channels.

Both take a weight's size for its importance. A weight that was left out is a zero in a layer as
large as before; a channel that was left out makes this layer smaller, and the next one too.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from mnist_steps.errors import MnistStepsError


def weakest_weights(model: nn.Sequential, kept: int) -> dict[str, Tensor]:
    """Set the smallest weights of all convolutions to zero until so many parameters are left.

    kept: how many parameters stay, biases and normalization included, which all stay
    Returns for each weight that was pruned its name and its mask, shaped like it: 1 where a weight
    stays. Raises MnistStepsError when even without any weight more than that would stay.
    """
    layers = {name: one for name, one in model.named_children() if isinstance(one, nn.Conv2d)}
    weights = sum(layer.weight.numel() for layer in layers.values())
    others = sum(one.numel() for one in model.parameters()) - weights
    if not 0 < kept - others <= weights:
        raise MnistStepsError(
            f"{kept:,} parameters are to stay: expected from {others + 1:,}, as there are biases "
            f"and normalization, to {weights + others:,}."
        )
    # On a copy, in the ordinary memory format: torch's tool puts another parameter in the weight's
    # place, and reads weights one after another.
    tried = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    chosen = [(tried.get_submodule(name), "weight") for name in layers]
    prune.global_unstructured(chosen, prune.L1Unstructured, amount=weights + others - kept)
    masks = {}
    with torch.no_grad():
        for name, layer in layers.items():
            mask = tried.get_buffer(f"{name}.weight_mask")
            layer.weight.mul_(mask)
            masks[f"{name}.weight"] = mask
    return masks


def fewer_channels(model: nn.Sequential, budget: int) -> nn.Sequential:
    """A network of the same layers with fewer channels: those whose kernels are largest stay.

    Every layer keeps the same share of its channels, the largest share that fits into the budget,
    and at least one; the ten scores stay. A kernel's size is the sum of its absolute values.
    budget: how many parameters there may be at most
    Raises MnistStepsError for layers with parameters that are no convolutions, and for a budget
    below one channel a layer.
    """
    for name, layer in model.named_children():
        if not isinstance(layer, nn.Conv2d) and list(layer.parameters()):
            raise MnistStepsError(
                f"{name}, {layer}, has parameters: expected a chain of convolutions and layers "
                "without parameters."
            )
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    *widths, scores = [layer.out_channels for layer in layers]
    for permille in range(1000, 0, -1):
        scaled = [*(max(1, width * permille // 1000) for width in widths), scores]
        if _parameters(layers, scaled) <= budget:
            return _with_channels(model, scaled)
    raise MnistStepsError(f"no network with one channel a layer has {budget:,} parameters or less.")


def _parameters(layers: Sequence[nn.Conv2d], widths: Sequence[int]) -> int:
    """Of the same layers with so many channels each."""
    came_in, total = layers[0].in_channels, 0
    for layer, width in zip(layers, widths, strict=True):
        height, across = layer.kernel_size
        total += width * (came_in * height * across + (layer.bias is not None))
        came_in = width
    return total


def _with_channels(model: nn.Sequential, widths: Sequence[int]) -> nn.Sequential:
    smaller, left = nn.Sequential(), iter(widths)
    came_in = torch.arange(1)  # the image's one channel
    for name, layer in model.named_children():
        if not isinstance(layer, nn.Conv2d):
            smaller.add_module(name, copy.deepcopy(layer))
            continue
        width = next(left)
        sizes = layer.weight.detach().abs().sum(dim=(1, 2, 3))
        stay = sizes.topk(width).indices.sort().values
        made = nn.Conv2d(
            len(came_in), width, layer.kernel_size, padding=layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
        )  # fmt: skip
        with torch.no_grad():
            made.weight.copy_(layer.weight[stay][:, came_in])
            if layer.bias is not None and made.bias is not None:
                made.bias.copy_(layer.bias[stay])
        smaller.add_module(name, made)
        came_in = stay
    return smaller
