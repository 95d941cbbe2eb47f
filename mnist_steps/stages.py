"""The stages as data: a model, a recipe, and what the original claimed.

A recipe decides a training completely. Each one below is written as its difference from
the stage before, so that what a stage changes can be read off here; stages 1 to 8 follow
the original, its quirks included. Stages after them are our own and have no claim.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from mnist_steps import models
from mnist_steps.augment import (
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    Transform,
)
from mnist_steps.errors import MnistStepsError


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    nesterov: look one step of momentum ahead
    weight_decay: this share of each parameter is added to its gradient, which shrinks it
    """

    lr: float
    momentum: float
    nesterov: bool = False
    weight_decay: float = 0.0

    def __str__(self) -> str:
        """Such as 'SGD(lr=0.01, momentum=0.9)': without what is at its default."""
        shown = ", ".join(f"{name}={value}" for name, value in settings(self).items())
        return f"SGD({shown})"


@dataclass(frozen=True)
class OneCycle:
    """Learning rate up to `max_lr` over 30 % of the steps and down to almost 0 by the last one.

    As torch.optim.lr_scheduler.OneCycleLR with its defaults; momentum moves the other way.
    """

    max_lr: float


@dataclass(frozen=True)
class Normalization:
    """Pixels in [0, 1] become (pixel - mean) / sd."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, besides the model.

    seed: of the committed record; `training.fit` takes any other
    loss: always the negative log-likelihood of the network's log-softmax
    test_shifts: pixels; after the last epoch each test image is judged by the mean of the
        log-probabilities of its shifts by up to so many in both directions. 0 is itself alone
    shifted_epochs: after so many of the last epochs, not the very last alone
    """

    batch_size: int
    epochs: int
    optimizer: SGD
    augmentation: tuple[Transform, ...]
    normalize_train: Normalization
    normalize_test: Normalization
    schedule: OneCycle | None = None
    loss: str = "negative log-likelihood"
    seed: int = 8
    test_shifts: int = 0
    shifted_epochs: int = 1

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON; each part carries the name of its class, and its settings."""
        data = asdict(self)
        # Older recipes do not know these settings, and what a recipe says decides digests.
        for name, default in (("test_shifts", 0), ("shifted_epochs", 1)):
            if data[name] == default:
                del data[name]
        for name in ("optimizer", "schedule"):
            part = getattr(self, name)
            data[name] = part and _described(part)
        data["augmentation"] = [_described(transform) for transform in self.augmentation]
        return data

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Recipe":
        """The recipe that `as_data` described. Raises MnistStepsError for an unknown part."""
        parts = dict(data)
        parts["augmentation"] = tuple(_part(part) for part in data["augmentation"])
        for name in ("optimizer", "schedule"):
            parts[name] = data[name] and _part(data[name])
        for name in ("normalize_train", "normalize_test"):
            parts[name] = Normalization(**data[name])
        return cls(**parts)


# What a recipe's description may name.
PARTS = {
    part.__name__: part
    for part in (
        SGD, OneCycle, RandomCenterCrop, RandomResizedCrop, RandomRotation, RandomTranslation,
    )
}  # fmt: skip


def settings(part: Any) -> dict[str, Any]:
    """A part's settings by name, without those that are at their default.

    So a part may get a new setting: recipes that do not use it are described as before, and the
    digests of runs that were made before stay what they are.
    """
    values = {field.name: (getattr(part, field.name), field.default) for field in fields(part)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _described(part: Any) -> dict[str, Any]:
    return {"name": type(part).__name__, **settings(part)}


def _part(described: dict[str, Any]) -> Any:
    arguments = dict(described)
    name = arguments.pop("name")
    if name not in PARTS:
        raise MnistStepsError(
            f"a recipe names {name!r}: expected one of {', '.join(PARTS)}. "
            "A new part of recipes belongs into stages.PARTS."
        )
    return PARTS[name](**arguments)


@dataclass(frozen=True)
class Claim:
    """What the original reported: one run with seed 8 on one GPU, its best epoch.

    accuracies in percent
    parameters_text: the count as the original printed it
    receptive_fields: layer name to the side length it stated, in pixels; some are wrong
    """

    parameters: int
    parameters_text: str
    best_train_accuracy: float
    best_test_accuracy: float
    test_accuracies: tuple[float, ...]
    receptive_fields: dict[str, int]

    @property
    def final_test_accuracy(self) -> float:
        return self.test_accuracies[-1]


@dataclass(frozen=True)
class Stage:
    """One step of the tutorial.

    slug: the page's name and the records' folder, such as '08_lr_scheduler'
    claim: None for a stage of our own, which the original does not have
    """

    number: int
    slug: str
    title: str
    model: Callable[[], nn.Module]
    recipe: Recipe
    claim: Claim | None = None

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator, on the CPU."""
        return self.model()

    @property
    def parameters(self) -> int:
        """Number of trainable values in the network."""
        with torch.device("meta"):  # shapes only: no weights, no random numbers drawn
            return sum(parameter.numel() for parameter in self.build().parameters())

    @property
    def page(self) -> str:
        """The stage's page, by its file under docs/; our own stages lie in a folder apart."""
        return f"{'beyond' if self.claim is None else 'stages'}/{self.slug}.py"


def claim_of(stage: Stage) -> Claim:
    """What the original claimed. Raises MnistStepsError for a stage that it does not have."""
    if stage.claim is None:
        raise MnistStepsError(
            f"stage {stage.number} is not one of the original's: there is no claim to compare with."
        )
    return stage.claim


# The original normalizes test images by other constants than training images. The first pair
# is the mean and standard deviation of the training pixels, the second those of the test pixels.
TRAIN_PIXELS = Normalization(mean=0.1307, sd=0.3081)
TEST_PIXELS = Normalization(mean=0.1325, sd=0.3104)

SETUP = Recipe(
    batch_size=512,
    epochs=15,
    optimizer=SGD(lr=0.01, momentum=0.9),
    augmentation=(RandomCenterCrop(size=22, probability=0.1), RandomRotation(degrees=15)),
    normalize_train=TRAIN_PIXELS,
    normalize_test=TEST_PIXELS,
)
SKELETON = SETUP
LIGHTER = SKELETON
BATCH_NORM = replace(LIGHTER, batch_size=128)
GLOBAL_AVERAGE_POOLING = replace(BATCH_NORM, batch_size=64)
POINTWISE = replace(
    GLOBAL_AVERAGE_POOLING,
    augmentation=(RandomResizedCrop(smallest=0.85, largest=1.0), RandomRotation(degrees=7)),
)
CAPACITY = POINTWISE
LR_SCHEDULER = replace(CAPACITY, schedule=OneCycle(max_lr=0.01))

FASTER = replace(
    LR_SCHEDULER,
    batch_size=128,
    epochs=6,
    schedule=OneCycle(max_lr=0.3),
    augmentation=(RandomRotation(degrees=7), RandomTranslation(share=0.03)),
    normalize_test=TRAIN_PIXELS,
    test_shifts=1,
)

RELIABLE = replace(
    FASTER,
    batch_size=64,
    epochs=15,
    optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4),
    augmentation=(
        RandomResizedCrop(0.92, 1.0), RandomRotation(degrees=8), RandomTranslation(share=0.03),
    ),
    shifted_epochs=3,
)  # fmt: skip

STAGES: tuple[Stage, ...] = (
    Stage(
        number=1,
        slug="01_setup",
        title="The setup",
        model=models.SetupNet,
        recipe=SETUP,
        claim=Claim(
            parameters=6379786,
            parameters_text="6.3M",
            best_train_accuracy=98.72,
            best_test_accuracy=99.29,
            test_accuracies=(
                36.89,
                94.0,
                96.89,
                97.44,
                98.44,
                98.23,
                98.82,
                98.71,
                99.07,
                99.04,
                99.18,
                99.19,
                99.25,
                99.28,
                99.29,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "pool1": 10,
                "conv3": 12,
                "conv4": 14,
                "pool2": 28,
                "conv5": 30,
                "conv6": 32,
                "conv7": 34,
            },
        ),
    ),
    Stage(
        number=2,
        slug="02_skeleton",
        title="The skeleton",
        model=models.SkeletonNet,
        recipe=SKELETON,
        claim=Claim(
            parameters=261216,
            parameters_text="261K",
            best_train_accuracy=98.49,
            best_test_accuracy=99.02,
            test_accuracies=(
                31.11,
                93.2,
                95.97,
                97.24,
                98.31,
                98.16,
                98.42,
                98.57,
                98.53,
                98.35,
                98.72,
                98.95,
                98.88,
                98.99,
                98.94,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "pool1": 8,
                "conv4": 12,
                "conv5": 16,
                "conv6": 20,
                "conv7": 24,
                "conv8": 28,
            },
        ),
    ),
    Stage(
        number=3,
        slug="03_lighter",
        title="The lighter model",
        model=models.LighterNet,
        recipe=LIGHTER,
        claim=Claim(
            parameters=14412,
            parameters_text="14.4K",
            best_train_accuracy=97.34,
            best_test_accuracy=98.58,
            test_accuracies=(
                13.87,
                15.28,
                72.63,
                90.77,
                94.68,
                95.31,
                96.91,
                97.08,
                97.97,
                97.87,
                97.67,
                97.86,
                98.12,
                98.23,
                98.58,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "conv7": 22,
                "conv8": 26,
                "conv9": 30,
            },
        ),
    ),
    Stage(
        number=4,
        slug="04_batch_norm",
        title="Batch normalization",
        model=models.BatchNormNet,
        recipe=BATCH_NORM,
        claim=Claim(
            parameters=13948,
            parameters_text="13.9K",
            best_train_accuracy=99.24,
            best_test_accuracy=99.53,
            test_accuracies=(
                98.69,
                98.72,
                99.17,
                99.43,
                99.14,
                99.42,
                99.37,
                99.25,
                99.39,
                99.35,
                99.4,
                99.46,
                99.44,
                99.53,
                99.27,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "conv7": 28,
            },
        ),
    ),
    Stage(
        number=5,
        slug="05_global_average_pooling",
        title="Global average pooling",
        model=models.GlobalAveragePoolingNet,
        recipe=GLOBAL_AVERAGE_POOLING,
        claim=Claim(
            parameters=7312,
            parameters_text="7.3K",
            best_train_accuracy=98.57,
            best_test_accuracy=99.31,
            test_accuracies=(
                96.62,
                98.38,
                98.62,
                98.47,
                99.1,
                99.17,
                99.08,
                99.03,
                99.0,
                99.27,
                99.27,
                99.31,
                99.04,
                99.28,
                99.26,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "gap": 28,
            },
        ),
    ),
    Stage(
        number=6,
        slug="06_pointwise",
        title="1×1 convolutions",
        model=models.PointwiseNet,
        recipe=POINTWISE,
        claim=Claim(
            parameters=6874,
            parameters_text="6,874",
            best_train_accuracy=98.49,
            best_test_accuracy=99.38,
            test_accuracies=(
                98.4,
                98.68,
                99.13,
                98.87,
                99.02,
                98.93,
                99.1,
                99.22,
                99.31,
                99.25,
                99.31,
                99.3,
                99.24,
                99.3,
                99.38,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "point1": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "conv7": 22,
                "gap": 28,
                "point2": 28,
            },
        ),
    ),
    Stage(
        number=7,
        slug="07_capacity",
        title="More capacity",
        model=models.CapacityNet,
        recipe=CAPACITY,
        claim=Claim(
            parameters=7884,
            parameters_text="7,884",
            best_train_accuracy=98.67,
            best_test_accuracy=99.38,
            test_accuracies=(
                98.5,
                98.95,
                99.09,
                99.11,
                98.98,
                99.12,
                99.05,
                99.09,
                99.32,
                99.15,
                99.23,
                99.31,
                99.38,
                99.3,
                99.31,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "point1": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "conv7": 22,
                "gap": 28,
                "point2": 28,
            },
        ),
    ),
    Stage(
        number=8,
        slug="08_lr_scheduler",
        title="The learning-rate schedule",
        model=models.CapacityNet,
        recipe=LR_SCHEDULER,
        claim=Claim(
            parameters=7884,
            parameters_text="7,884",
            best_train_accuracy=98.88,
            best_test_accuracy=99.44,
            test_accuracies=(
                97.78,
                98.59,
                98.92,
                98.81,
                98.91,
                99.06,
                99.19,
                99.22,
                99.16,
                99.44,
                99.38,
                99.36,
                99.43,
                99.43,
                99.44,
            ),
            receptive_fields={
                "conv1": 3,
                "conv2": 5,
                "conv3": 7,
                "conv4": 9,
                "point1": 9,
                "pool1": 10,
                "conv5": 14,
                "conv6": 18,
                "conv7": 22,
                "gap": 28,
                "point2": 28,
            },
        ),
    ),
    Stage(
        number=9, slug="09_reliable", title="Reliable", model=models.ReliableNet, recipe=RELIABLE
    ),
    Stage(number=10, slug="10_smaller", title="Smaller", model=models.SmallerNet, recipe=RELIABLE),
    Stage(
        number=11,
        slug="11_faster",
        title="Faster",
        model=models.StrideNet,
        recipe=FASTER,
    ),
)


def get(number: int) -> Stage:
    """The stage with this number. Raises MnistStepsError when there is none."""
    for stage in STAGES:
        if stage.number == number:
            return stage
    numbers = ", ".join(str(stage.number) for stage in STAGES)
    raise MnistStepsError(f"there is no stage {number}: the stages are {numbers}.")
