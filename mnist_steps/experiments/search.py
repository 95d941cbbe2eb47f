"""The search for stages 9 and 10: networks and recipes, judged on the validation images only.

Candidates for stage 9 keep to fewer than 8,000 parameters, those for stage 10 to fewer than 4,000;
all keep to 15 epochs. A first round trains each of them once. Once is luck: a second trains the
finalists several times, and the best of each become the stages. The test images judge those alone;
earlier networks with strides in their place had been judged by them before.

    mnist-steps study --of search --workers 2
    mnist-steps study --of finals --workers 2
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mnist_steps import stages
from mnist_steps.augment import RandomResizedCrop, RandomRotation, RandomTranslation
from mnist_steps.experiments.arms import Arm, Experiment, network, varied
from mnist_steps.experiments.study import OURS, Outcome, Store
from mnist_steps.recipes import SGD, TRAIN_PIXELS, OneCycle, Recipe
from mnist_steps.stages import TARGET

# Where all candidates start, unless they say otherwise. Each test image is judged by nine views
# after the last three epochs, as in stage 11.
START = Recipe(
    batch_size=64,
    epochs=15,
    optimizer=SGD(lr=0.01, momentum=0.9),
    augmentation=(RandomResizedCrop(0.85, 1.0), RandomRotation(8), RandomTranslation(0.03)),
    normalize_train=TRAIN_PIXELS,
    normalize_test=TRAIN_PIXELS,
    schedule=OneCycle(max_lr=0.3),
    test_shifts=1,
    shifted_epochs=3,
)
MILD = (RandomRotation(10), RandomTranslation(0.05))
LIGHT = (RandomResizedCrop(0.92, 1.0), RandomRotation(8), RandomTranslation(0.03))
NO_CROP = (RandomRotation(8), RandomTranslation(0.03))
STRONG = (RandomResizedCrop(0.75, 1.0), RandomRotation(12), RandomTranslation(0.06))
DECAY = SGD(lr=0.01, momentum=0.9, weight_decay=1e-4)
MORE_DECAY = SGD(lr=0.01, momentum=0.9, weight_decay=3e-4)
BEST = {"augmentation": LIGHT, "optimizer": DECAY}  # of the recipes tried, for both networks


def _candidate(number: int, name: str, title: str, layers: str, **recipe: Any) -> Arm:
    """title: what tells it from the others; layers: as for `arms.network`"""
    start = replace(stages.get(number), recipe=START)
    return Arm(f"search-{name}", title, varied(start, partial(network, layers=layers), **recipe))


DEEP = "8@3 12@3 pool 12@3 14@3 14@3 14@3 average 10@1"
WIDE = "10@3 14@3 pool 14@3 16@3 16@3 average 10@1"
SMALL_WIDE = "8@3 10@3 pool 10@3 11@3 11@3 average 10@1"
SMALL = "6@3 8@3 pool 8@3 10@3 10@3 10@3 average 10@1"
# Without the pooling's stride, and the same kernels at every place; farther in the last layer.
WIDE_DILATED = "10@3 14@3 pool/1 14@3x2 16@3x2 16@3x2 average 10@1"
WIDE_FARTHER = "10@3 14@3 pool/1 14@3x2 16@3x2 16@3x3 average 10@1"
SMALL_DILATED = "8@3 10@3 pool/1 10@3x2 11@3x2 11@3x2 average 10@1"
SMALL_FARTHER = "8@3 10@3 pool/1 10@3x2 11@3x2 11@3x3 average 10@1"

CANDIDATES = (
    _candidate(9, "deep", "four layers behind the pooling", DEEP),
    _candidate(9, "wide", "three wider layers behind the pooling", WIDE),
    _candidate(
        9, "pointwise", "a 1×1 layer behind the pooling",
        "8@3 16@3 pool 10@1 16@3 16@3 16@3 average 10@1",
    ),
    _candidate(
        9, "late", "three layers before the pooling",
        "8@3 9@3 12@3 pool 14@3 16@3 14@3 average 10@1",
    ),
    _candidate(
        9, "large-kernel", "a first layer of 5×5", "12@5 pool 16@3 16@3 16@3 average 10@1"
    ),
    _candidate(9, "peak-0.1", "a peak rate of 0.1", DEEP, schedule=OneCycle(max_lr=0.1)),
    _candidate(9, "peak-0.6", "a peak rate of 0.6", DEEP, schedule=OneCycle(max_lr=0.6)),
    _candidate(
        9, "batch-32", "batches of 32, peak rate 0.15", DEEP,
        batch_size=32, schedule=OneCycle(max_lr=0.15),
    ),
    _candidate(9, "mild", "milder augmentation", DEEP, augmentation=MILD),
    _candidate(9, "strong", "stronger augmentation", DEEP, augmentation=STRONG),
    _candidate(
        9, "wide-early", "more channels in the first layer",
        "12@3 14@3 pool 12@3 16@3 16@3 average 10@1",
    ),
    _candidate(
        9, "wide-direct", "the last layer makes the scores",
        "10@3 14@3 pool 16@3 17@3 10@3 average",
    ),
    _candidate(
        9, "wide-batch-128", "batches of 128, peak rate 0.6", WIDE,
        batch_size=128, schedule=OneCycle(max_lr=0.6),
    ),
    _candidate(9, "wide-light", "lighter crops", WIDE, augmentation=LIGHT),
    _candidate(9, "wide-decay", "weight decay", WIDE, optimizer=DECAY),
    _candidate(9, "wide-no-crop", "no crops", WIDE, augmentation=NO_CROP),
    _candidate(
        9, "wide-light-decay", "lighter crops, weight decay", WIDE,
        augmentation=LIGHT, optimizer=DECAY,
    ),
    _candidate(
        9, "wide-light-decay-more", "lighter crops, more weight decay", WIDE,
        augmentation=LIGHT, optimizer=MORE_DECAY,
    ),
    _candidate(
        9, "wide-light-batch-128", "lighter crops, batches of 128, rate 0.6", WIDE,
        augmentation=LIGHT, batch_size=128, schedule=OneCycle(max_lr=0.6),
    ),
    _candidate(9, "wide-dilated", "dilation 2 in place of the stride", WIDE_DILATED, **BEST),
    _candidate(
        9, "wide-dilated-bare", "dilation 2, and no pooling at all",
        "10@3 14@3 14@3x2 16@3x2 16@3x2 average 10@1", **BEST,
    ),
    _candidate(9, "wide-dilated-more", "dilation 2, 2, 3", WIDE_FARTHER, **BEST),
    _candidate(
        9, "wide-dilated-most", "dilation 2, 3, 3",
        "10@3 14@3 pool/1 14@3x2 16@3x3 16@3x3 average 10@1", **BEST,
    ),
    _candidate(
        9, "wide-dilated-growing", "dilation 2, 3, 3, and no pooling",
        "10@3 14@3 14@3x2 16@3x3 16@3x3 average 10@1", **BEST,
    ),
    _candidate(
        9, "wide-dilated-head", "dilation 2, wider at the end",
        "10@3 13@3 pool/1 13@3x2 15@3x2 15@3x2 32@1 average 10@1", **BEST,
    ),
    _candidate(
        9, "wide-dilated-more-head", "dilation 2, 2, 3, wider at the end",
        "10@3 13@3 pool/1 13@3x2 15@3x2 15@3x3 32@1 average 10@1", **BEST,
    ),
    _candidate(
        9, "wide-dilated-rise", "dilation 2, the rate rises in half the time", WIDE_DILATED,
        **BEST, schedule=OneCycle(max_lr=0.3, pct_start=0.15),
    ),
    _candidate(
        9, "wide-dilated-early", "dilation 2, the rate is low for three epochs", WIDE_DILATED,
        **BEST, schedule=OneCycle(max_lr=0.3, pct_start=0.4, three_phase=True),
    ),
    _candidate(10, "small", "four layers behind the pooling", SMALL),
    _candidate(
        10, "small-pointwise", "a 1×1 layer behind the pooling",
        "6@3 10@3 pool 8@1 11@3 12@3 10@3 average 10@1",
    ),
    _candidate(
        10, "small-direct", "the last layer makes the scores",
        "5@3 8@3 pool 8@3 10@3 11@3 10@3 average",
    ),
    _candidate(10, "small-mild", "milder augmentation", SMALL, augmentation=MILD),
    _candidate(10, "small-light", "lighter crops", SMALL, augmentation=LIGHT),
    _candidate(10, "small-wide", "three wider layers behind the pooling", SMALL_WIDE),
    _candidate(
        10, "small-wide-direct", "wide, and the last layer makes the scores",
        "8@3 10@3 pool 10@3 11@3 10@3 average",
    ),
    _candidate(10, "small-wide-light", "lighter crops", SMALL_WIDE, augmentation=LIGHT),
    _candidate(
        10, "small-wide-light-decay", "lighter crops, weight decay", SMALL_WIDE,
        augmentation=LIGHT, optimizer=DECAY,
    ),
    _candidate(10, "small-wide-no-crop", "no crops", SMALL_WIDE, augmentation=NO_CROP),
    _candidate(10, "small-wide-mild", "milder augmentation", SMALL_WIDE, augmentation=MILD),
    _candidate(
        10, "small-wide-batch-128", "batches of 128, peak rate 0.6", SMALL_WIDE,
        batch_size=128, schedule=OneCycle(max_lr=0.6),
    ),
    _candidate(10, "small-dilated", "dilation 2 in place of the stride", SMALL_DILATED, **BEST),
    _candidate(10, "small-dilated-more", "dilation 2, 2, 3", SMALL_FARTHER, **BEST),
    _candidate(
        10, "small-dilated-head", "dilation 2, wider at the end",
        "7@3 9@3 pool/1 9@3x2 10@3x2 10@3x2 24@1 average 10@1", **BEST,
    ),
    _candidate(
        10, "small-dilated-more-head", "dilation 2, 2, 3, wider at the end",
        "7@3 9@3 pool/1 9@3x2 10@3x2 10@3x3 24@1 average 10@1", **BEST,
    ),
    *(
        _candidate(
            10, f"small-dilated-{name}", f"dilation {words} parameters",
            "{}@3 {}@3 pool/1 {}@3x2 {}@3x2 {}@3x{} average 10@1".format(*channels), **BEST,
        )
        for name, words, *channels in (
            ("3442", "2, 3,442", 7, 9, 9, 11, 10, 2),
            ("more-3442", "2, 2, 3, 3,442", 7, 9, 9, 11, 10, 3),
            ("3269", "2, 3,269", 7, 9, 9, 10, 10, 2),
            ("2839", "2, 2,839", 7, 9, 8, 9, 9, 2),
            ("more-2839", "2, 2, 3, 2,839", 7, 9, 8, 9, 9, 3),
            ("more-2380", "2, 2, 3, 2,380", 6, 8, 8, 8, 8, 3),
        )
    ),
)  # fmt: skip
MARGIN = 0.05  # points above the target: the interval of ten runs is about as wide
# Those wider at the end and with another pace of the rate came when the stages were chosen.
FINALISTS = (
    "search-wide-light-decay", "search-wide-dilated", "search-wide-dilated-more",
    "search-wide-dilated-more-head", "search-wide-dilated-rise",
    "search-small-wide-light-decay", "search-small-dilated", "search-small-dilated-more",
    "search-small-dilated-more-3442", "search-small-dilated-more-head",
)  # fmt: skip

SEARCH = Experiment(
    name="search",
    question="Which networks and recipes are worth a second look for stages 9 and 10?",
    arms=CANDIDATES,
    seeds=1,  # many candidates rather than many seeds: what one can tell apart is far apart
    judged_on="validation",
)

FINALS = Experiment(
    name="finals",
    question="Which of them are stages 9 and 10?",
    arms=tuple(arm for arm in CANDIDATES if arm.name in FINALISTS),
    seeds=4,
    judged_on="validation",
)


@dataclass(frozen=True)
class Tried:
    """A candidate with its runs in a round; losses: on the validation images at the end, by run"""

    arm: Arm
    runs: list[Outcome]
    losses: list[float]

    @property
    def loss(self) -> float:
        return statistics.fmean(self.losses)

    @property
    def accuracy(self) -> float:
        """In percent, the runs' mean."""
        return statistics.fmean(one.history[-1].test_accuracy for one in self.runs)

    @property
    def shape(self) -> str:
        """Its layers without their channels."""
        return re.sub(r"\d+@", "@", self.arm.layers)

    @property
    def dilated(self) -> bool:
        return "x" in self.arm.layers

    @property
    def adopted(self) -> bool:
        """Whether the stage has its recipe and its layers."""
        own, stage = self.arm.stage, stages.get(self.arm.stage.number)
        layers, of_stage = ([*map(str, one.build().children())] for one in (own, stage))
        return own.recipe == stage.recipe and layers == of_stage

    @property
    def label(self) -> str:
        """Of a figure: the title, with the network's name where its recipe is what was varied."""
        name = NAMES.get(self.arm.layers)
        return f"{name}: {self.arm.title}" if name else self.arm.title


NAMES = {DEEP: "deep", WIDE: "wide", SMALL: "deep", SMALL_WIDE: "wide"}


def tried(number: int, round_of: Experiment = SEARCH, store: Store = OURS) -> list[Tried]:
    """The candidates for a stage that have runs in a round, the lowest loss first."""
    found = []
    for arm, made in round_of.outcomes(candidates(number, round_of), store):
        runs = [one for one in made if one.seed < round_of.seeds]
        if runs:
            found.append(Tried(arm, runs, [one.history[-1].test_loss for one in runs]))
    return sorted(found, key=lambda one: one.loss)


def chosen(number: int, store: Store = OURS) -> Tried:
    """The finalist that became the stage.

    Of stage 9 the one with the lowest loss; stage 10 has the same layers with fewer channels, as
    few as read TARGET + MARGIN percent on average.
    """
    found = tried(number, FINALS, store)
    if number == 9:
        return found[0]
    shape = chosen(9, store).shape
    enough = [
        one for one in found
        if one.shape == shape and one.accuracy >= TARGET + MARGIN
    ]  # fmt: skip
    return min(enough, key=lambda one: one.arm.stage.parameters)


def candidates(number: int, round_of: Experiment = SEARCH) -> list[Arm]:
    """The candidates for a stage."""
    return [arm for arm in round_of.arms if arm.stage.number == number]


def groups(
    found: Sequence[Tried], finalists: Sequence[Tried]
) -> dict[str, list[tuple[str, list[float]]]]:
    """What was tried and its losses: networks by one recipe, recipes, what keeps all places, and
    the finalists with several seeds."""
    names = "networks, all by one recipe", "recipes of two of them", "the best, with dilation"
    grouped: dict[str, list[tuple[str, list[float]]]] = {name: [] for name in names}
    for one in found:
        kind = 2 if one.dilated else 0 if one.arm.stage.recipe == START else 1
        grouped[names[kind]].append((one.label, one.losses))
    seeds = len(finalists[0].runs)
    last = [(one.label, one.losses) for one in finalists]
    return grouped | {f"finalists, {seeds} seeds each": last}
