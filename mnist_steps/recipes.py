"""Recipes: all that decides a training, besides the network and the seed.

Each one below is written as its difference from the stage before, so that what a stage changes
can be read off here; stages 1 to 8 follow the original, its quirks included.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from mnist_steps import augment
from mnist_steps.augment import (
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    Transform,
)
from mnist_steps.errors import MnistStepsError

# Optimizers and schedules are torch's own, by the names under which recipes describe them.
OPTIMIZERS: dict[str, type] = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}
SCHEDULES: dict[str, type] = {
    "OneCycle": OneCycleLR,
    "StepLR": StepLR,
    "MultiStepLR": MultiStepLR,
    "ReduceLROnPlateau": ReduceLROnPlateau,
}
TORCH = OPTIMIZERS | SCHEDULES


@dataclass(frozen=True)
class Part:
    """An optimizer or schedule of torch: its name, and the arguments to make it with.

    `Part.of("SGD", lr=0.01, momentum=0.9)` has the attributes `lr`, `momentum`, and all others
    that torch's class takes, at their defaults.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...]  # those that are not at their defaults

    @classmethod
    def of(cls, name: str, **arguments: Any) -> "Part":
        """Raises MnistStepsError for arguments that torch's class does not have."""
        known = defaults_of(name)
        for argument in arguments:
            if argument not in known:
                raise MnistStepsError(
                    f"{name} has no argument {argument!r}: torch's class has {', '.join(known)}."
                )
        given = {key: arguments[key] for key in known if key in arguments}
        return cls(name, tuple((key, one) for key, one in given.items() if one != known[key]))

    def __getattr__(self, argument: str) -> Any:
        if argument in ("name", "arguments") or argument.startswith("_"):
            raise AttributeError(argument)  # while a copy is made, these are not there yet
        values = defaults_of(self.name) | dict(self.arguments)
        if argument not in values:
            raise AttributeError(f"{self.name} has no argument {argument!r}")
        return values[argument]

    def __str__(self) -> str:
        return shown(self)

    def replace(self, **arguments: Any) -> "Part":
        """The same part with other values for these arguments."""
        return Part.of(self.name, **dict(self.arguments) | arguments)

    def make(self, *first: Any, **more: Any) -> Any:
        """torch's own object. first: the parameters, or the optimizer"""
        return TORCH[self.name](*first, **dict(self.arguments), **more)


@functools.cache
def defaults_of(name: str) -> dict[str, Any]:
    """The arguments of torch's class after the first, with their defaults."""
    parameters = inspect.signature(TORCH[name]).parameters
    return {name: one.default for name, one in list(parameters.items())[1:]}


SGD: Callable[..., Part] = functools.partial(Part.of, "SGD")
OneCycle: Callable[..., Part] = functools.partial(Part.of, "OneCycle")


@dataclass(frozen=True)
class Normalization:
    """Pixels in [0, 1] become (pixel - mean) / sd."""

    mean: float
    sd: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images with values in [0, 1] as a network takes them; any shape."""
        return (images - self.mean) / self.sd


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, besides the network and the seed.

    schedule: None is a constant learning rate. OneCycle moves it after each batch, spread over all
        of them; the others after each epoch, ReduceLROnPlateau by the training loss
    initialization: one of INITIALIZATIONS; None is what PyTorch's layers draw by themselves
    test_shifts: pixels; after the last epoch each test image is judged by the mean of the
        log-probabilities of its shifts by up to so many in both directions. 0 is itself alone
    shifted_epochs: after so many of the last epochs, not the very last alone
    l1: so many times the sum of all weights' absolute values is added to the loss
    label_smoothing: this share of each label is spread over all ten digits
    """

    batch_size: int
    epochs: int
    optimizer: Part
    augmentation: tuple[Transform, ...]
    normalize_train: Normalization
    normalize_test: Normalization
    schedule: Part | None
    initialization: str | None = None
    test_shifts: int = 0
    shifted_epochs: int = 1
    l1: float = 0.0
    label_smoothing: float = 0.0

    loss: ClassVar[str] = "negative log-likelihood"  # of the network's log-softmax

    def steps_per_epoch(self, images: int) -> int:
        """Batches of an epoch over so many images; the last may be smaller than others."""
        return -(-images // self.batch_size)

    @property
    def views(self) -> int:
        """How many shifts of a test image are judged in the end."""
        return (2 * self.test_shifts + 1) ** 2

    def judges_by_shifts(self, epoch: int) -> bool:
        """Whether test images are judged by their shifts after this epoch, counted from 1."""
        return self.test_shifts > 0 and self.epochs - epoch < self.shifted_epochs

    def __post_init__(self) -> None:
        """Raises MnistStepsError when there would be nothing to train on."""
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise MnistStepsError(
                    f"a recipe has {value!r} as {name}, expected a whole number from 1."
                )

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
        """The recipe that `as_data` described.

        Raises MnistStepsError for an unknown part, or for a text where a number should be.
        """
        parts = dict(data)
        del parts["loss"]
        for field in fields(cls):
            value = parts.get(field.name, 0)
            if field.type in (int, float) and type(value) not in (int, float):
                raise MnistStepsError(f"a recipe has {value!r} as {field.name}, expected a number.")
        parts["augmentation"] = tuple(_part(part) for part in data["augmentation"])
        for name in ("optimizer", "schedule"):
            parts[name] = data[name] and _part(data[name])
        for name in ("normalize_train", "normalize_test"):
            parts[name] = Normalization(**data[name])
        return cls(**parts)


INITIALIZATIONS = ("kaiming",)

# The transforms that a recipe's description may name.
TRANSFORMS: dict[str, type] = {one.__name__: one for one in augment.TRANSFORMS}


def settings(part: Any) -> dict[str, Any]:
    """A part's settings by name, without those that are at their default."""
    if isinstance(part, Part):
        return dict(part.arguments)
    return {
        field.name: getattr(part, field.name)
        for field in fields(part)
        if field.name not in unused(part)
    }


def name_of(part: Any) -> str:
    return part.name if isinstance(part, Part) else type(part).__name__


def shown(part: Any) -> str:
    """A part without what is at its default: 'SGD(lr=0.01, momentum=0.9)'."""
    return (
        f"{name_of(part)}({', '.join(f'{key}={value}' for key, value in settings(part).items())})"
    )


def unused(part: Any) -> set[str]:
    """The settings of a transform, or of a recipe, that are at their default."""
    return {field.name for field in fields(part) if getattr(part, field.name) == field.default}


def _described(part: Any) -> dict[str, Any]:
    return {"name": name_of(part), **settings(part)}


def _part(described: dict[str, Any]) -> Any:
    # JSON has lists where torch takes tuples.
    arguments = {
        name: tuple(one) if isinstance(one, list) else one for name, one in described.items()
    }
    name = arguments.pop("name")
    if name in TRANSFORMS:
        return TRANSFORMS[name](**arguments)
    if name not in TORCH:
        raise MnistStepsError(
            f"a recipe names {name!r}: expected one of "
            f"{', '.join([*TORCH, *TRANSFORMS])}. "
            "A new part of recipes belongs into OPTIMIZERS, SCHEDULES or augment.TRANSFORMS."
        )
    return Part.of(name, **arguments)


def make_schedule(recipe: Recipe, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler | None:
    """How the learning rate moves; None where it stays."""
    if recipe.schedule is None:
        return None
    after_each_batch = {"total_steps": recipe.epochs * steps_per_epoch}
    is_one_cycle = recipe.schedule.name == "OneCycle"
    made: LRScheduler = recipe.schedule.make(
        optimizer, **(after_each_batch if is_one_cycle else {})
    )
    return made


def move_after_epoch(schedule: LRScheduler | None, train_loss: float) -> None:
    """Move a schedule that does not move after each batch."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(train_loss)
    elif schedule is not None and not isinstance(schedule, OneCycleLR):
        schedule.step()


def optimizer_settings(
    recipe: Recipe, steps_per_epoch: int, train_losses: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """With what each step of a training is taken whose epochs had these training losses.

    Each a dictionary by torch's names, such as "lr" and "momentum".
    """
    # torch's own schedule says it; with one weight, a step costs nothing.
    optimizer: Optimizer = recipe.optimizer.make([torch.zeros(1, requires_grad=True)])
    schedule = make_schedule(recipe, optimizer, steps_per_epoch)
    for train_loss in train_losses:
        for _ in range(steps_per_epoch):
            yield dict(optimizer.param_groups[0])
            optimizer.step()
            if isinstance(schedule, OneCycleLR):
                schedule.step()
        move_after_epoch(schedule, train_loss)


# The original normalizes test images by other constants than training images. The first pair
# is the mean and standard deviation of the training pixels, the second those of the test pixels.
TRAIN_PIXELS = Normalization(mean=0.1307, sd=0.3081)
TEST_PIXELS = Normalization(mean=0.1325, sd=0.3104)

EPOCHS = 15  # the most that the original set itself

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
