"""Low rank: a convolution as two thin ones, by the singular value decomposition.

A 3×3 kernel looks down and across at once. Two kernels, 3×1 and 1×3 with r channels between them,
do the same where the weights, written as one matrix, have rank r; with the largest r singular
values they do nearly the same, with r·3·(C_in + C_out) weights for 9·C_in·C_out.

Source: M. Jaderberg, A. Vedaldi, A. Zisserman, Speeding up Convolutional Neural Networks with Low
Rank Expansions (2014), arXiv:1405.3866, the second scheme; here with the exact best factors.
"""

import copy

import torch
from torch import Tensor, nn

from mnist_steps.errors import MnistStepsError

DOWN, ACROSS = "_down", "_across"  # ends of the names of the two layers that take one's place


def as_matrix(weight: Tensor) -> Tensor:
    """Weights (C_out, C_in, k, k) as a matrix (C_in·k, C_out·k): rows look down, columns across."""
    out, into, height, width = weight.shape
    return weight.permute(1, 2, 0, 3).reshape(into * height, out * width)


def two_thin_ones(layer: nn.Conv2d, rank: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The two convolutions that come closest to a layer, with `rank` channels between them."""
    out, into, height, width = layer.weight.shape
    left, values, right = torch.linalg.svd(as_matrix(layer.weight.detach()), full_matrices=False)
    root = values[:rank].sqrt()  # shared out evenly, so that neither layer is much larger
    assert not isinstance(layer.padding, str), "padding in words is not ours"
    pad_down, pad_across = layer.padding
    down = nn.Conv2d(into, rank, (height, 1), padding=(pad_down, 0), bias=False)
    across = nn.Conv2d(
        rank, out, (1, width), padding=(0, pad_across), bias=layer.bias is not None
    )  # fmt: skip
    with torch.no_grad():
        down.weight.copy_((left[:, :rank] * root).T.reshape(rank, into, height, 1))
        rows = (root[:, None] * right[:rank]).reshape(rank, out, 1, width)
        across.weight.copy_(rows.transpose(0, 1))
        if layer.bias is not None and across.bias is not None:
            across.bias.copy_(layer.bias)
    return down, across


def ranks_within(model: nn.Sequential, budget: int) -> dict[str, int]:
    """How many singular values each convolution keeps so that the network fits into a budget.

    All keep the same share of their energy, the sum of the squares of the singular values, or a
    little more, at least one value each: the largest share that fits. The first layer, which reads
    one channel, stays as it is, and so does a layer that two thin ones would not make smaller.
    budget: how many parameters there may be at most
    Raises MnistStepsError when one value each is too much.
    """
    energies = {}
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 1:
            values = torch.linalg.svdvals(as_matrix(layer.weight.detach())).square()
            energies[name] = values.cumsum(0) / values.sum()
    for permille in range(999, -1, -1):
        ranks = {
            name: int((energy < permille / 1000).sum().item()) + 1
            for name, energy in energies.items()
        }
        if _parameters(model, ranks) <= budget:
            return ranks
    raise MnistStepsError(f"no factors of rank 1 have {budget:,} parameters or fewer.")


def _parameters(model: nn.Sequential, ranks: dict[str, int]) -> int:
    total = 0
    for name, layer in model.named_children():
        own = sum(one.numel() for one in layer.parameters())
        if isinstance(layer, nn.Conv2d) and name in ranks:
            out, into, height, width = layer.weight.shape
            bias = 0 if layer.bias is None else out
            own = min(own, ranks[name] * (into * height + out * width) + bias)
        total += own
    return total


def factorized(model: nn.Sequential, ranks: dict[str, int]) -> nn.Sequential:
    """The network with two thin convolutions for each one named, where they are smaller."""
    thin = nn.Sequential()
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d) and name in ranks:
            pair = two_thin_ones(layer, ranks[name])
            if sum(one.weight.numel() for one in pair) < layer.weight.numel():
                for end, made in zip((DOWN, ACROSS), pair, strict=True):
                    thin.add_module(name + end, made)
                continue
        thin.add_module(name, copy.deepcopy(layer))
    return thin
