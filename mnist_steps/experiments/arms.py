"""Experiments as data: a question, and the arms whose runs answer it.

An arm is a variation of a stage under a name of its own. Each experiment is a module with its arms
listed, and `registry` knows them all. A network that is no stage's is written in a short
notation, in one line, from which `network` builds it.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.study import OURS, Outcome, Store, Task, tasks_for
from mnist_steps.stages import Stage


@dataclass(frozen=True)
class Arm:
    """One variation of a stage.

    name: of the folder with its runs; None is the stage itself, whose runs are the study's
    title: what tables call it
    expected: the sign of its effect if what is claimed of it is right: -1 where it should do worse
        than what it is compared with; None where nothing is claimed
    """

    name: str | None
    title: str
    stage: Stage
    expected: int | None = None

    @property
    def layers(self) -> str:
        """Its network as `network` takes it; '' where it is not written so."""
        arguments: dict[str, str] = getattr(self.stage.model, "keywords", {})
        return arguments.get("layers", "")


@dataclass(frozen=True)
class Experiment:
    """A question, its arms in their order, and how many seeds each of them takes.

    judged_on: as for `study.tasks_for`; on 'validation' images where the outcome decides
    """

    name: str
    question: str
    arms: tuple[Arm, ...]
    seeds: int
    judged_on: str = "test"

    def tasks(self, seeds: Iterable[int] | None = None, **choices: Any) -> list[Task]:
        """Every run, arm by arm; seeds: None for the usual ones; choices: as for `tasks_for`."""
        seeds = list(range(self.seeds) if seeds is None else seeds)
        choices["judged_on"] = self.judged_on
        return [
            task for arm in self.arms for task in tasks_for(arm.stage, seeds, arm.name, **choices)
        ]

    def outcomes(
        self, arms: Iterable[Arm] | None = None, store: Store = OURS
    ) -> list[tuple[Arm, list[Outcome]]]:
        """Arms with their runs; arms: all when None."""
        return [
            (arm, store.outcomes(arm.stage, arm.name, judged_on=self.judged_on))
            for arm in (self.arms if arms is None else arms)
        ]


# Channels, kernel, stride, dilation, and what follows.
WORD = r"(\d+)@(\d+|map)(?:/(\d+))?(?:x(\d+))?(?::(none|norm|relu|relu\+norm))?"


def varied(stage: Stage, model: Callable[[], nn.Module] | None = None, **recipe: Any) -> Stage:
    """The stage with another network, or with other parts of its recipe."""
    return replace(stage, model=model or stage.model, recipe=replace(stage.recipe, **recipe))


def network(layers: str, named: bool = False) -> nn.Sequential:
    """A network from a line such as '8@3 16@3 pool 16@3 average 10@1'.

    '16@3' is a convolution to 16 channels by a 3×3 kernel, then batch normalization and ReLU;
    '24@4/3' has stride 3, '16@3x2' dilation 2, and the kernel of '10@map' is as large as the map
    before it. What else follows is said behind a colon: '16@3:norm', '16@3:relu', '16@3:relu+norm'
    in this order, '16@3:none'. 'pool' takes the largest of 2×2, 'pool/1' at every place, 'average'
    the mean of each map. Behind that, a convolution without a colon makes scores: it has a bias,
    and nothing follows.
    named: layers have names such as stage 8's, else their positions
    Raises MnistStepsError for a word that is not of this kind.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels, side, averaged = 1, 28, False
    made = {"conv": 0, "point": 0, "pool": 0}
    for word in layers.split():
        if word in ("pool", "pool/1"):
            made["pool"] += 1
            step = 1 if word == "pool/1" else 2
            parts[f"pool{made['pool']}"] = nn.MaxPool2d(2, step)
            side = (side - 2) // step + 1
            continue
        if word == "average":
            parts["gap"] = nn.AdaptiveAvgPool2d(1)
            side, averaged = 1, True
            continue
        parsed = re.fullmatch(WORD, word)
        if parsed is None:
            raise MnistStepsError(
                f"{word!r} names no layer: expected such as 16@3, 24@4/3, 16@3x2, 10@map, "
                "16@3:norm, pool, pool/1 or average."
            )
        outputs, kernel, stride, dilation, following = parsed.groups()
        # A kernel over the whole map is named among the 1×1 ones: each gives a number per channel.
        kind = "point" if kernel in ("1", "map") else "conv"
        made[kind] += 1
        suffix = f"p{made[kind]}" if kind == "point" else f"{made[kind]}"
        name = "large" if kernel == "map" else f"{kind}{made[kind]}"
        size, step = side if kernel == "map" else int(kernel), int(stride or 1)
        apart = int(dilation or 1)
        bias = averaged and following is None
        parts[name] = nn.Conv2d(channels, int(outputs), size, step, dilation=apart, bias=bias)
        channels, side = int(outputs), (side - apart * (size - 1) - 1) // step + 1
        for part in (following or ("none" if averaged else "norm+relu")).split("+"):
            if part == "norm":
                parts[f"batch_norm{suffix}"] = nn.BatchNorm2d(channels)
            elif part == "relu":
                parts[f"relu{suffix}"] = nn.ReLU()
    parts["flatten"] = nn.Flatten()
    parts["log_softmax"] = nn.LogSoftmax(dim=1)
    return nn.Sequential(parts) if named else nn.Sequential(*parts.values())
