"""The search for stages 9 and 10: networks and recipes, judged on the validation images only.

Candidates for stage 9 keep to fewer than 8,000 parameters, those for stage 10 to fewer than 4,000;
all keep to 15 epochs. The best of each become the stages, and the test images judge those alone.

    mnist-steps study --of search --workers 2
"""

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


def _candidate(number: int, name: str, title: str, layers: str, **recipe: Any) -> Arm:
    """title: what tells it from the others; layers: as for `arms.network`"""
    start = replace(stages.get(number), recipe=START)
    return Arm(f"search-{name}", title, varied(start, partial(network, layers=layers), **recipe))


DEEP = "8@3 12@3 pool 12@3 14@3 14@3 14@3 average 10@1"
WIDE = "10@3 14@3 pool 14@3 16@3 16@3 average 10@1"
SMALL_WIDE = "8@3 10@3 pool 10@3 11@3 11@3 average 10@1"
SMALL = "6@3 8@3 pool 8@3 10@3 10@3 10@3 average 10@1"

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
)  # fmt: skip

SEARCH = Experiment(
    name="search",
    question="Which network and which recipe should stages 9 and 10 have?",
    arms=CANDIDATES,
    seeds=1,  # many candidates rather than many seeds: what a few can tell apart is far apart
    judged_on="validation",
)


def candidates(number: int) -> list[Arm]:
    """The candidates for a stage."""
    return [arm for arm in CANDIDATES if arm.stage.number == number]


@dataclass(frozen=True)
class Tried:
    """A candidate with its runs. loss: on the validation images after the last epoch, their mean"""

    arm: Arm
    runs: list[Outcome]
    loss: float


# What the two networks are called whose recipes were varied.
NAMES = {DEEP: "deep", WIDE: "wide", SMALL: "deep", SMALL_WIDE: "wide"}


def tried(number: int, store: Store = OURS) -> list[Tried]:
    """The candidates for a stage that have runs, the lowest loss first."""
    found = [
        Tried(arm, made, statistics.fmean(one.history[-1].test_loss for one in made))
        for arm, made in SEARCH.outcomes(candidates(number), store)
        if made
    ]
    return sorted(found, key=lambda one: one.loss)


def groups(found: Sequence[Tried]) -> dict[str, list[tuple[str, float]]]:
    """What was tried and its loss: first networks, all by one recipe, then recipes."""
    networks: list[tuple[str, float]] = []
    others: list[tuple[str, float]] = []
    for one in found:
        name = NAMES.get(one.arm.layers)
        label = f"{name}: {one.arm.title}" if name else one.arm.title
        group = networks if one.arm.stage.recipe == START else others
        group.append((label, one.loss))
    return {"networks, all by one recipe": networks, "recipes of two of them": others}
