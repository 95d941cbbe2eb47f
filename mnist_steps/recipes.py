"""Recipes: all that decides a training, besides the network and the seed.

Each one below is written as its difference from the stage before, so that what a stage changes
can be read off here; stages 1 to 8 follow the original, its quirks included.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from mnist_steps.augment import (
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    Transform,
)
from mnist_steps.errors import MnistStepsError
from mnist_steps.original import EPOCHS


class Part:
    """What a recipe is made of; prints without what is at its default: 'OneCycle(max_lr=0.01)'."""

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in settings(self).items())
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True)
class SGD(Part):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    nesterov: look one step of momentum ahead
    weight_decay: this share of each parameter is added to its gradient, which shrinks it
    """

    lr: float
    momentum: float
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class OneCycle(Part):
    """Learning rate up to `max_lr` over 30 % of the steps and down to almost 0 by the last one.

    As torch.optim.lr_scheduler.OneCycleLR with its defaults: momentum moves the other way, from
    0.95 down to 0.85 and up again, unless `cycle_momentum` is off and the optimizer's own stays.
    """

    max_lr: float
    cycle_momentum: bool = True


@dataclass(frozen=True)
class Normalization:
    """Pixels in [0, 1] become (pixel - mean) / sd."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, besides the network and the seed.

    schedule: None is a constant learning rate
    initialization: one of INITIALIZATIONS; None is what PyTorch's layers draw by themselves
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
    schedule: OneCycle | None
    initialization: str | None = None
    test_shifts: int = 0
    shifted_epochs: int = 1

    loss: ClassVar[str] = "negative log-likelihood"  # of the network's log-softmax

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON; each part carries the name of its class, and its settings.

        A setting that has a default stands there only when it is another. So a recipe may get a
        new one: recipes that do not use it are described as before, and the digests of runs that
        were made before stay what they are.
        """
        data = asdict(self) | {"loss": self.loss}
        for name in unused(self):
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
        del parts["loss"]
        parts["augmentation"] = tuple(_part(part) for part in data["augmentation"])
        for name in ("optimizer", "schedule"):
            parts[name] = data[name] and _part(data[name])
        for name in ("normalize_train", "normalize_test"):
            parts[name] = Normalization(**data[name])
        return cls(**parts)


INITIALIZATIONS = ("kaiming",)

# What a recipe's description may name.
PARTS = {
    part.__name__: part
    for part in (
        SGD, OneCycle, RandomCenterCrop, RandomResizedCrop, RandomRotation, RandomTranslation,
    )
}  # fmt: skip


def settings(part: Any) -> dict[str, Any]:
    """A part's settings by name, without those that are at their default."""
    return {
        field.name: getattr(part, field.name)
        for field in fields(part)
        if field.name not in unused(part)
    }


def unused(part: Any) -> set[str]:
    """The settings of a part, or of a recipe, that are at their default."""
    return {field.name for field in fields(part) if getattr(part, field.name) == field.default}


def _described(part: Any) -> dict[str, Any]:
    return {"name": type(part).__name__, **settings(part)}


def _part(described: dict[str, Any]) -> Any:
    arguments = dict(described)
    name = arguments.pop("name")
    if name not in PARTS:
        raise MnistStepsError(
            f"a recipe names {name!r}: expected one of {', '.join(PARTS)}. "
            "A new part of recipes belongs into recipes.PARTS."
        )
    return PARTS[name](**arguments)


# The original normalizes test images by other constants than training images. The first pair
# is the mean and standard deviation of the training pixels, the second those of the test pixels.
TRAIN_PIXELS = Normalization(mean=0.1307, sd=0.3081)
TEST_PIXELS = Normalization(mean=0.1325, sd=0.3104)

SETUP = Recipe(
    batch_size=512,
    epochs=EPOCHS,
    optimizer=SGD(lr=0.01, momentum=0.9),
    augmentation=(RandomCenterCrop(size=22, probability=0.1), RandomRotation(degrees=15)),
    normalize_train=TRAIN_PIXELS,
    normalize_test=TEST_PIXELS,
    schedule=None,
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

RELIABLE = replace(
    LR_SCHEDULER,
    optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4),
    schedule=OneCycle(max_lr=0.3),
    augmentation=(
        RandomResizedCrop(0.92, 1.0), RandomRotation(degrees=8), RandomTranslation(share=0.03),
    ),
    normalize_test=TRAIN_PIXELS,
    test_shifts=1,
    shifted_epochs=3,
)  # fmt: skip
SMALLER = RELIABLE
FASTER = replace(
    SMALLER,
    batch_size=128,
    epochs=6,
    optimizer=LR_SCHEDULER.optimizer,
    augmentation=(RandomRotation(degrees=7), RandomTranslation(share=0.03)),
    shifted_epochs=1,
)
