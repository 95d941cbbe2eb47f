"""The search for stage 9: networks and recipes, judged on the validation images only.

All candidates keep to fewer than 8,000 parameters and 15 epochs. The best of them is to become
stage 9, and the test images are to judge that one alone.

    mnist-steps study --search --seeds 2 --workers 2 --fast
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from mnist_steps import stages
from mnist_steps.stages import Stage
from mnist_steps.study import Task, tasks_for

SEEDS = 2


def network(layers: Sequence[str]) -> nn.Sequential:
    """A network from a list such as ['8@3', '16@3', 'pool', '16@3', 'average', '10@1'].

    '16@3' is a convolution to 16 channels with a 3×3 kernel, then batch normalization and ReLU;
    '24@4/3' has stride 3. Behind 'average', the global average pooling, stand scores: they have a
    bias and nothing behind them. 'pool' takes the largest of 2×2.
    """
    parts: list[nn.Module] = []
    channels, averaged = 1, False
    for layer in layers:
        if layer == "pool":
            parts.append(nn.MaxPool2d(2))
        elif layer == "average":
            parts.append(nn.AdaptiveAvgPool2d(1))
            averaged = True
        else:
            outputs, _, kernel = layer.partition("@")
            size, _, stride = kernel.partition("/")
            convolution = nn.Conv2d(
                channels, int(outputs), int(size), stride=int(stride or 1), bias=averaged
            )
            channels = int(outputs)
            parts.append(convolution)
            if not averaged:
                parts += [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.LogSoftmax(dim=1))


@dataclass(frozen=True)
class Candidate:
    """arm: the name of its runs. layers: as for `network`."""

    arm: str
    layers: str
    stage: Stage


def _candidate(name: str, layers: str, **recipe: Any) -> Candidate:
    start = stages.get(11)
    settings: dict[str, Any] = {"epochs": 15, "shifted_epochs": 3} | recipe
    stage = replace(
        start,
        model=partial(network, layers=layers.split()),
        recipe=replace(start.recipe, **settings),
    )
    return Candidate(f"search-{name}", layers, stage)


STRIDE_3 = "24@4/3 16@3 16@3 10@3 average"
STRIDE_2 = "16@5/2 16@3 16@3 14@3 average 10@1"
POOL_6 = "12@5 pool 16@3 16@3 16@3 average 10@1"
POOL_6_DEEP = "10@5 pool 14@3 16@3 16@3 10@3 average"

CANDIDATES = (
    _candidate("stride-3", STRIDE_3),
    _candidate("stride-2", STRIDE_2),
    _candidate("pool", POOL_6),
    _candidate("pool-deep", POOL_6_DEEP),
)


def all_tasks(seeds: Iterable[int], device: str = "cpu", fast: bool = True) -> list[Task]:
    """The runs of all candidates, in the order of the search."""
    return [
        task
        for candidate in CANDIDATES
        for task in tasks_for(
            candidate.stage, seeds, candidate.arm, judged_on="validation", device=device, fast=fast
        )
    ]
