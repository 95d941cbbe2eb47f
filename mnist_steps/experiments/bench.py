"""How long training takes here, beside the pipelines that others use.

A machine is never twice as fast as it was a minute ago, so the pipelines take turns: in each
round every one trains a few steps and evaluates a few images, and each round gives one sample of
each. What is compared are medians over rounds. A turn starts its pipeline anew and ends it, so that
nothing of it runs on into another's turn: a loader's worker processes would. Starting (processes,
the first steps) is not counted.
"""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
import torchvision
from torch import Generator, Tensor, nn
from torch.optim import SGD, Adadelta, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader
from torchvision import transforms

from mnist_steps import data, evaluation, runs, summary, training
from mnist_steps import engine as fast_way
from mnist_steps.augment import (
    SIZE,
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    Transform,
    augment,
)
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence
from mnist_steps.original import SEED
from mnist_steps.recipes import TRAIN_PIXELS, Normalization, settings
from mnist_steps.stages import Stage
from mnist_steps.training import Training

ROUNDS = 5
IMAGES_A_TURN = 2048  # trained on in one turn, unless a number of steps is given
EVALUATED = 1000  # images a turn, for 10,000 after each epoch
CPU = torch.device("cpu")

ORIGINAL, ORIGINAL_WITH_WORKERS = "original", "original-2-workers"
OURS, OURS_FAST = "mnist_steps", "mnist_steps-fast"


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
    found = {
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
        OURS: Kind(Ours, "batches cut from memory, one resampling a batch"),
        OURS_FAST: Kind(
            functools.partial(Ours, fast=True),
            "the same with `--fast`, which computes small networks 16 images at a time",
            optional=True,
        ),
    }
    return found


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
            functools.partial(SGD, **settings(recipe.optimizer)),
            workers,
        )
        if recipe.schedule is not None:
            self.schedule = OneCycleLR(
                self.optimizer,
                max_lr=recipe.schedule.max_lr,
                total_steps=recipe.epochs * self.steps_per_epoch,
            )


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


class Kornia(Ours):
    """Our loop, with the augmentation of the library Kornia in place of ours."""

    def __init__(self, stage: Stage) -> None:
        try:
            import kornia.augmentation as kornia
        except ImportError as error:
            raise MnistStepsError(
                "kornia is not installed: pip install 'mnist-steps[bench]' brings it."
            ) from error
        super().__init__(stage)
        self.augmentation = nn.Sequential(
            *(_kornia(kornia, transform) for transform in stage.recipe.augmentation)
        )

    def train(self, steps: int) -> int:
        timed_steps(self.training, steps, lambda images, *_: self.augmentation(images))
        return _images(self.training, steps)


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
        "it. Say so in mnist_steps/experiments/bench.py, or leave the stage out with --stages."
    )


# --- Measuring ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One pipeline on one stage.

    seconds_per_epoch: median over rounds, for 60,000 training images and 10,000 test images
    seconds_per_epoch_least, _most: the spread over rounds
    ratio_to_original: how many times as fast as the original without workers; None when that was
        not measured
    ratio_to_better_original: likewise, as the better of the original's rows
    seconds_to_target: seconds per epoch times the epochs after which the stage's record first
        reached 99.4 %; None where it never did, or where the recipe is another one
    breakdown: of a step of ours, plain or fast; None for others
    steps: trained in each round
    """

    stage: int
    pipeline: str
    seconds_per_epoch: float
    ratio_to_original: float | None
    ratio_to_better_original: float | None
    seconds_per_epoch_least: float
    seconds_per_epoch_most: float
    seconds_to_target: float | None
    breakdown: "Breakdown | None"
    rounds: int
    steps: int
    date: str
    processor: str
    threads: int
    torch: str

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON, with five digits of each number."""
        return _five_digits(asdict(self))


def _five_digits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _five_digits(part) for name, part in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def run(
    stages: Sequence[Stage],
    names: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    steps: int | None = None,
    threads: int | None = None,
    on_turn: Callable[[Stage, str], None] = lambda stage, name: None,
    on_missing: Callable[[str], None] = lambda problem: None,
) -> list[Row]:
    """Measure pipelines on stages.

    names: of pipelines; all that can run here when None
    steps: of training in a turn; as many as make 2,048 images when None
    threads: of the processor; as torch is set when None
    on_turn: called before each turn, with its stage and pipeline
    on_missing: called with one line for each pipeline that cannot run here
    Raises MnistStepsError for an unknown name, and when a named pipeline cannot run here.
    """
    check_names(names)
    told: set[str] = set()
    rows: list[Row] = []
    with training.cpu_threads(threads or torch.get_num_threads()):
        for stage in stages:
            chosen, problems = _available(stage, names)
            for problem in problems - told:
                on_missing(problem)
            told |= problems
            rows += _rows(stage, chosen, rounds, steps, on_turn)
    return rows


def check_names(names: Sequence[str] | None) -> None:
    """Raises MnistStepsError when there is no pipeline of such a name."""
    for name in names or ():
        if name not in kinds():
            raise MnistStepsError(
                f"there is no pipeline {name!r}: the pipelines are {', '.join(kinds())}."
            )


def _available(stage: Stage, names: Sequence[str] | None) -> tuple[dict[str, Kind], set[str]]:
    """The pipelines to measure, and why others that might be here are not.

    A pipeline that was asked for by name has to be here: raises MnistStepsError otherwise.
    """
    chosen, problems = {}, set()
    for name, kind in kinds().items():
        if names is not None and name not in names:
            continue
        if kind.optional:
            try:
                kind.make(stage)
            except MnistStepsError as error:
                if names is not None:
                    raise
                problems.add(f"{name} is left out: {error}")
                continue
        chosen[name] = kind
    return chosen, problems


def _rows(
    stage: Stage,
    chosen: Mapping[str, Kind],
    rounds: int,
    steps: int | None,
    on_turn: Callable[[Stage, str], None],
) -> list[Row]:
    batch_size = stage.recipe.batch_size
    steps_per_epoch = -(-len(data.mnist().full_train) // batch_size)  # rounded up
    steps = min(steps or max(2, IMAGES_A_TURN // batch_size), steps_per_epoch)
    turns = {
        name: functools.partial(seconds_per_epoch, kind, stage, steps)
        for name, kind in chosen.items()
    }
    samples = interleave(turns, rounds, lambda name: on_turn(stage, name))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    original = medians.get(ORIGINAL)
    better = min(
        (medians[name] for name in (ORIGINAL, ORIGINAL_WITH_WORKERS) if name in medians),
        default=None,
    )
    epochs = epochs_to_target(stage)
    machine = training.describe_environment(CPU, ())
    return [
        Row(
            stage=stage.number,
            pipeline=name,
            seconds_per_epoch=seconds,
            ratio_to_original=original and original / seconds,
            ratio_to_better_original=better and better / seconds,
            seconds_per_epoch_least=min(samples[name]),
            seconds_per_epoch_most=max(samples[name]),
            seconds_to_target=seconds * epochs if epochs and chosen[name].same_recipe else None,
            breakdown=(
                breakdown(stage, steps, fast=name == OURS_FAST)
                if name in (OURS, OURS_FAST)
                else None
            ),
            rounds=rounds,
            steps=steps,
            date=machine.date,
            processor=machine.processor,
            threads=machine.threads,
            torch=machine.torch,
        )
        for name, seconds in medians.items()
    ]


def interleave(
    turns: Mapping[str, Callable[[], float]],
    rounds: int,
    on_turn: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Let each take its turn, in each round again, and note what it returns."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            on_turn(name)
            samples[name].append(turn())
    return samples


def seconds_per_epoch(kind: Kind, stage: Stage, steps: int) -> float:
    """One turn: start a pipeline, train `steps` batches, evaluate some images, end it.

    Returns what 60,000 images of training and 10,000 of evaluation take at that speed.
    """
    pipeline = kind.make(stage)
    pipeline.train(kind.lead)
    train = _seconds_an_image(pipeline.train, steps)
    for _ in range(kind.lead):
        pipeline.evaluate(1)
    evaluate = _seconds_an_image(pipeline.evaluate, EVALUATED)
    mnist = data.mnist()
    return train * len(mnist.full_train) + evaluate * len(mnist.test)


def _seconds_an_image(work: Callable[[int], int], amount: int) -> float:
    start = time.perf_counter()
    images = work(amount)
    return (time.perf_counter() - start) / images


def epochs_to_target(stage: Stage) -> int | None:
    """After how many epochs the stage's record first reached 99.4 %; None without such."""
    if not runs.has_record(stage):
        return None
    recorded = runs.load(stage.number)
    for number, epoch in enumerate(recorded.epochs, start=1):
        if epoch.test_accuracy >= evidence.TARGET:
            return number
    return None


# --- Where a step's time goes ---------------------------------------------------------------

PARTS = ("batch", "augmentation", "forward", "backward", "optimizer", "accuracy")


@dataclass(frozen=True)
class Breakdown:
    """A training step of ours, part by part, and how much of the machine it uses.

    seconds: median over steps for each of PARTS
    multiplications: multiply-accumulates of a step. The backward pass counts twice the forward
        one, for gradients by weights and by inputs (the first layer needs none by its input, which
        is neglected). A convolution counts as if computed the ordinary way.
    matrix_rate: multiply-accumulates a second in a product of large matrices, on this machine
    """

    seconds: dict[str, float]
    batch_size: int
    multiplications: int
    matrix_rate: float

    @property
    def step(self) -> float:
        """In seconds."""
        return sum(self.seconds.values())

    @property
    def share_of_matrix_rate(self) -> float:
        """The rate of the whole step's arithmetic, as a share of `matrix_rate`."""
        return self.multiplications / self.step / self.matrix_rate

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {1000 * took:.1f}" for part, took in self.seconds.items())
        return (
            f"a step of {self.batch_size} images: {1000 * self.step:.1f} ms ({parts}). "
            f"{self.multiplications / 1e6:,.0f} million multiply-accumulates at "
            f"{self.multiplications / self.step / 1e9:.1f} billion a second; a product of large "
            f"matrices reaches {self.matrix_rate / 1e9:.1f} billion: a share of "
            f"{self.share_of_matrix_rate:.0%}."
        )


def breakdown(stage: Stage, steps: int, fast: bool = False) -> Breakdown:
    """Train that many steps (and one before) with a look at the clock between a step's parts.

    fast: as for `training.Training`
    """
    trained = Training(stage, SEED, CPU, fast=fast)
    timed = timed_steps_fast if trained.fast else timed_steps
    timed(trained, 1)
    _, seconds = timed(trained, steps)
    batch_size = stage.recipe.batch_size
    return Breakdown(
        seconds={part: statistics.median(values) for part, values in seconds.items()},
        batch_size=batch_size,
        multiplications=multiplications(stage),
        matrix_rate=matrix_rate(),
    )


def multiplications(stage: Stage) -> int:
    """Multiply-accumulates of a training step, as Breakdown describes them."""
    forward = summary.summarize(stage.build(), runs.INPUT_SHAPE).total_macs
    return 3 * forward * stage.recipe.batch_size


def matrix_rate(size: int = 1024, repeats: int = 5) -> float:
    """Multiply-accumulates a second in the best of several products of size × size float32."""
    first, second = torch.rand(size, size), torch.rand(size, size)
    torch.mm(first, second)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(first, second)
        seconds.append(time.perf_counter() - start)
    return size**3 / min(seconds)


def timed_steps(
    trained: Training,
    steps: int,
    move: Callable[[Tensor, Sequence[Transform], Generator], Tensor] = augment,
) -> tuple[Tensor, dict[str, list[float]]]:
    """training.train_epoch with a look at the clock between its parts. A test holds them together.

    move: augments a batch, as augment.augment does
    Returns the losses, float tensor (steps,), and the seconds of each of PARTS in each step.
    """
    recipe, split = trained.stage.recipe, trained.train_split
    trained.model.train()
    losses, correct = [], torch.tensor(0)
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    order = torch.randperm(len(split), generator=trained.generator)
    for chosen in order.split(recipe.batch_size)[:steps]:
        marks = [time.perf_counter()]
        images, labels = split.images[chosen].float() / 255, split.labels[chosen]
        marks.append(time.perf_counter())

        images = move(images, recipe.augmentation, trained.generator)
        marks.append(time.perf_counter())

        log_probabilities = trained.model(evaluation.normalize(images, recipe.normalize_train))
        loss = F.nll_loss(log_probabilities, labels)
        marks.append(time.perf_counter())

        trained.optimizer.zero_grad()
        loss.backward()
        marks.append(time.perf_counter())

        trained.optimizer.step()
        if trained.schedule is not None:
            trained.schedule.step()
        marks.append(time.perf_counter())

        losses.append(loss.detach())
        correct += (log_probabilities.argmax(dim=1) == labels).sum()
        marks.append(time.perf_counter())
        for part, (start, end) in zip(PARTS, itertools.pairwise(marks), strict=True):
            seconds[part].append(end - start)
    return torch.stack(losses), seconds


def timed_steps_fast(trained: Training, steps: int) -> tuple[Tensor, dict[str, list[float]]]:
    """The same for training.train_epoch_fast.

    The batch is cut while it is augmented, and the forward pass has its loss and accuracy.
    """
    recipe, split = trained.stage.recipe, trained.train_split
    trainer = fast_way.Trainer(trained.model, trained.optimizer, split, recipe.normalize_train)
    losses = []
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    order = torch.randperm(len(split), generator=trained.generator)
    batches = order.split(recipe.batch_size)[:steps]
    moves = training.moves(batches, recipe, trained.generator)
    for chosen in batches:
        network, parameters = trainer.network(len(chosen))
        marks = [time.perf_counter()] * 2
        network.prepare(split.images, chosen, next(moves), recipe.normalize_train)
        marks.append(time.perf_counter())

        network.forward()
        loss, _ = trainer.loss(network, chosen)
        marks.append(time.perf_counter())

        network.backward()
        marks.append(time.perf_counter())

        trainer.update(parameters)
        if trained.schedule is not None:
            trained.schedule.step()
        marks += [time.perf_counter()] * 2

        losses.append(loss)
        for part, (start, end) in zip(PARTS, itertools.pairwise(marks), strict=True):
            seconds[part].append(end - start)
    return torch.tensor(losses), seconds
