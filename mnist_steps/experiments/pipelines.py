"""The pipelines that the benchmark compares: ours, the original's, and others that people use."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.optim import Adadelta, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torchvision import transforms

from mnist_steps import data, engine, training
from mnist_steps.augment import (
    SIZE,
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    Transform,
)
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import TRAIN_PIXELS, Normalization, make_schedule
from mnist_steps.stages import SEED, Stage
from mnist_steps.training import Training

CPU = torch.device("cpu")

ORIGINAL, ORIGINAL_WITH_WORKERS = "original", "original-2-workers"
IN_MEMORY = "pytorch-in-memory"
OURS, OURS_BY_TORCH = "mnist_steps", "mnist_steps-torch"


class Pipeline(Protocol):
    """One way from the files to a trained network, ready to go."""

    def train(self, steps: int) -> int:
        """Train on so many batches. Returns how many images that were."""
        ...

    def evaluate(self, images: int) -> int:
        """Classify at least so many test images. Returns how many it were."""
        ...


@dataclass(frozen=True)
class Kind:
    """What `--pipelines` can name.

    about: one clause that says what it is
    same_recipe: whether it trains by the stage's recipe, so that it needs as many epochs
    lead: steps before the clock starts
    optional: whether it may be missing here; `make` then raises MnistStepsError
    """

    make: Callable[[Stage], Pipeline]
    about: str
    same_recipe: bool = True
    lead: int = 1
    optional: bool = False


def kinds() -> dict[str, Kind]:
    """The pipelines that there are, by name."""
    return {
        ORIGINAL: Kind(
            Original,
            "torchvision's transforms, image by image, in a DataLoader; PyTorch's default layout",
        ),
        ORIGINAL_WITH_WORKERS: Kind(
            functools.partial(Original, workers=2),
            "the same with two worker processes beside the one that trains",
            lead=3,  # the workers' first batches, prepared while nothing was trained
        ),
        "pytorch-examples": Kind(
            Examples,
            "the loader, normalization and Adadelta of the MNIST example in pytorch/examples, "
            "without augmentation, on the stage's network and batch size",
            same_recipe=False,
        ),
        "kornia": Kind(
            Kornia,
            "our loop with Kornia's augmentation of whole batches",
            optional=True,
        ),
        IN_MEMORY: Kind(
            InMemory,
            "PyTorch with batches cut from memory, one resampling a batch; its default layout",
        ),
        OURS_BY_TORCH: Kind(
            functools.partial(Ours, engine="torch"),
            "the same in our layout, as records are made: `--engine torch`",
        ),
        OURS: Kind(
            Ours,
            "what you get without asking: small networks by the engine, sixteen images at a time, "
            "others by PyTorch",
        ),
    }


# --- The pipelines --------------------------------------------------------------------------


class Loader:
    """The way of most tutorials: a data set, a transform for one image, a DataLoader."""

    def __init__(
        self,
        stage: Stage,
        for_training: transforms.Compose,
        for_testing: transforms.Compose,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        workers: int = 0,
    ) -> None:
        data.unpack()
        self.recipe, self.workers, self.for_testing = stage.recipe, workers, for_testing
        self.model = stage.build()
        self.optimizer = optimizer(self.model.parameters())
        self.schedule: LRScheduler | None = None
        loader = self._loader(for_training, train=True)
        self.steps_per_epoch = len(loader)
        self.batches = _endless(loader)
        self.test_batches: Iterator[tuple[Tensor, Tensor]] | None = None

    def _loader(self, transform: transforms.Compose, train: bool) -> DataLoader[Any]:
        images = torchvision.datasets.MNIST(data.root(), train=train, transform=transform)
        return DataLoader(
            images, batch_size=self.recipe.batch_size, shuffle=train, num_workers=self.workers
        )

    def train(self, steps: int) -> int:
        self.model.train()
        correct = seen = 0
        for _ in range(steps):
            images, labels = next(self.batches)
            self.optimizer.zero_grad()
            log_probabilities = self.model(images)
            loss = F.nll_loss(log_probabilities, labels)
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            correct += (log_probabilities.argmax(dim=1) == labels).sum().item()
            seen += len(labels)
        return seen

    @torch.inference_mode()
    def evaluate(self, images: int) -> int:
        if self.test_batches is None:
            self.batches.close()  # ends its workers, which would go on preparing batches
            self.test_batches = _endless(self._loader(self.for_testing, train=False))
        self.model.eval()
        correct = seen = 0
        while seen < images:
            batch, labels = next(self.test_batches)
            correct += (self.model(batch).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
        return seen


def _endless(loader: DataLoader[Any]) -> Any:
    while True:
        yield from loader


class Original(Loader):
    """The original's pipeline: the stage's network and recipe as most people would write them."""

    def __init__(self, stage: Stage, workers: int = 0) -> None:
        recipe = stage.recipe
        super().__init__(
            stage,
            per_image(recipe.augmentation, recipe.normalize_train),
            per_image((), recipe.normalize_test),
            recipe.optimizer.make,
            workers,
        )
        self.schedule = make_schedule(recipe, self.optimizer, self.steps_per_epoch)


class Examples(Loader):
    """As the MNIST example in github.com/pytorch/examples trains: no augmentation, Adadelta.

    That example has a network of its own, whose time would say nothing about the pipeline. So the
    stage's network and batch size take its place, and what differs from the original is the
    optimizer and that nothing is augmented.
    """

    def __init__(self, stage: Stage) -> None:
        transform = per_image((), TRAIN_PIXELS)
        super().__init__(stage, transform, transform, functools.partial(Adadelta, lr=1.0))


class Ours:
    """training.Training with its own loop, as `mnist-steps train` runs it."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.training = Training(stage, SEED, CPU, **options)

    def train(self, steps: int) -> int:
        self.training.train_epoch(max_steps=steps)
        return _images(self.training, steps)

    def evaluate(self, images: int) -> int:
        split = self.training.test_split[:images]
        self.training.evaluate(split)
        return len(split)


class InMemory(Ours):
    """The same loop on PyTorch's own layers, as they lie in memory by default."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, engine="torch")
        ours = self.training
        ours.model = stage.build()
        ours.optimizer = stage.recipe.optimizer.make(ours.model.parameters())
        ours.schedule = make_schedule(stage.recipe, ours.optimizer, ours.steps_per_epoch)


class Kornia(Ours):
    """Our loop, with the augmentation of the library Kornia in place of ours."""

    def __init__(self, stage: Stage) -> None:
        try:
            import kornia.augmentation as kornia
        except ImportError as error:
            raise MnistStepsError(
                "kornia is not installed: pip install 'mnist-steps[bench]' brings it."
            ) from error
        super().__init__(stage, engine="torch")
        self.augmentation = nn.Sequential(
            *(_kornia(kornia, transform) for transform in stage.recipe.augmentation)
        )

    def train(self, steps: int) -> int:
        ours, recipe = self.training, self.training.stage.recipe
        trainer = engine.Trainer(
            ours.model, ours.optimizer, ours.train_split, recipe.normalize_train,
            native=False, move=lambda images, maps: self.augmentation(images),
        )  # fmt: skip
        training.train_epoch_in_steps(
            trainer, replace(recipe, augmentation=()), ours.batch_schedule, ours.generator, steps
        )
        return _images(ours, steps)


def _images(trained: Training, steps: int) -> int:
    return min(steps * trained.stage.recipe.batch_size, len(trained.train_split))


def per_image(
    augmentation: Sequence[Transform], normalization: Normalization
) -> transforms.Compose:
    """A recipe's augmentation and normalization as torchvision's transforms of one PIL image.

    Raises MnistStepsError for a transform that torchvision has no counterpart of here.
    """
    return transforms.Compose(
        [
            *(step for transform in augmentation for step in _torchvision(transform)),
            transforms.ToTensor(),
            transforms.Normalize((normalization.mean,), (normalization.sd,)),
        ]
    )


def _torchvision(transform: Transform) -> list[Any]:
    match transform:
        case RandomCenterCrop(size, probability):
            crop = transforms.RandomApply([transforms.CenterCrop(size)], p=probability)
            return [crop, transforms.Resize((SIZE, SIZE))]
        case RandomResizedCrop(smallest, largest):
            return [transforms.RandomResizedCrop(SIZE, scale=(smallest, largest))]
        case RandomRotation(degrees, fill):
            return [transforms.RandomRotation(degrees, fill=fill)]
        case RandomTranslation(share):
            return [transforms.RandomAffine(0, translate=(share, share))]
    raise _unknown(transform)


def _kornia(kornia: Any, transform: Transform) -> nn.Module:
    """kornia: the module kornia.augmentation, with the faster of its two ways to crop."""
    match transform:
        case RandomCenterCrop(size, probability):  # its own CenterCrop cannot enlarge
            enlarge = (SIZE / size, SIZE / size)
            return kornia.RandomAffine(0.0, scale=enlarge, p=probability)
        case RandomResizedCrop(smallest, largest):
            return kornia.RandomResizedCrop(
                (SIZE, SIZE), scale=(smallest, largest), cropping_mode="resample"
            )
        case RandomRotation(degrees):
            return kornia.RandomRotation(degrees, p=1.0)
        case RandomTranslation(share):
            return kornia.RandomAffine(0.0, translate=(share, share), p=1.0)
    raise _unknown(transform)


def _unknown(transform: object) -> MnistStepsError:
    return MnistStepsError(
        f"found the transform {transform}: the benchmark does not know what other libraries call "
        "it. Say so in mnist_steps/experiments/pipelines.py, or leave the stage out with --stages."
    )
