"""The training loop, and what comes out of it: a Run.

`train_epoch` is the loop that every tutorial shows, on tensors in memory.
`Training` holds everything that changes while training (weights, optimizer, schedule,
randomness), so that it can stop after any epoch and go on to the same result.
"""

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from tqdm import tqdm

from mnist_steps import data, evaluation
from mnist_steps import engine as c_engine
from mnist_steps.augment import Affine, augment, draw
from mnist_steps.data import Split
from mnist_steps.engine import winograd
from mnist_steps.errors import MnistStepsError
from mnist_steps.evaluation import Evaluation, normalize
from mnist_steps.original import SEED
from mnist_steps.recipes import INITIALIZATIONS, Recipe, make_schedule
from mnist_steps.stages import Stage

DRAWN_AT_ONCE = 64  # batches; a few megabytes of random numbers


def train_epoch(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    optimizer: Optimizer,
    schedule: LRScheduler | None,
    generator: Generator,
    max_steps: int | None = None,
    on_step: Callable[[Tensor], None] = lambda loss: None,
) -> "TrainedEpoch":
    """One pass over the training images, in a random order, each augmented afresh.

    schedule: one that moves after each batch
    generator: CPU generator that draws the order and the augmentation
    max_steps: stop after this many batches
    """
    model.train()
    losses: list[Tensor] = []
    learning_rates, correct, seen = [], torch.tensor(0, device=split.labels.device), 0
    order = torch.randperm(len(split), generator=generator)
    for chosen in order.split(recipe.batch_size)[:max_steps]:
        chosen = chosen.to(split.labels.device)
        images, labels = split.images[chosen].float() / 255, split.labels[chosen]
        images = augment(images, recipe.augmentation, generator)

        optimizer.zero_grad()
        log_probabilities = model(normalize(images, recipe.normalize_train))  # (N, 10)
        if not losses:  # the first batch shows what the network returns
            demand_log_probabilities(log_probabilities, len(labels), type(model).__name__)
        loss = F.nll_loss(log_probabilities, labels)
        if recipe.l1 or recipe.label_smoothing:
            loss = regularize(loss, log_probabilities, model, recipe)
        loss.backward()
        learning_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()

        losses.append(loss.detach())
        correct += (log_probabilities.argmax(dim=1) == labels).sum()
        seen += len(labels)
        on_step(losses[-1])
    return TrainedEpoch(torch.stack(losses).cpu(), learning_rates, 100 * correct.item() / seen)


def demand_log_probabilities(outputs: Any, images: int, network: str) -> None:
    """Raises MnistStepsError when a network's outputs for so many images are something else.

    The loss would fall all the same, below 0, and the network learn nothing. Not a number is what
    a training that diverged gives, and none of this function's business.
    """
    mend = "end its forward() with `return F.log_softmax(x, dim=1)`"
    if not isinstance(outputs, Tensor):
        found, mend = f"a {type(outputs).__name__}", "return one tensor from its forward()"
    elif outputs.shape != (images, 10):
        found = f"a tensor of shape {tuple(outputs.shape)}"
        mend = f"{mend}, of ten scores for each image"
    elif (outputs.exp().sum(dim=1) - 1).abs().max() > 1e-3:
        found = "other numbers"
        if (outputs.sum(dim=1) - 1).abs().max() < 1e-3 and outputs.min() >= 0:
            found, mend = "probabilities", f"{mend} in place of softmax"
    else:
        return
    raise MnistStepsError(
        f"{network} returns {found}, expected log-probabilities of shape ({images}, 10), whose "
        f"exponentials sum to 1 for each image: {mend}."
    )


def regularize(loss: Tensor, log_probabilities: Tensor, model: nn.Module, recipe: Recipe) -> Tensor:
    """The loss with the recipe's label smoothing and L1 penalty.

    Smoothed labels are those of torch's cross_entropy: a share is spread over all digits.
    """
    share = recipe.label_smoothing
    loss = (1 - share) * loss - share * log_probabilities.mean()
    weights: Any = sum(weight.abs().sum() for weight in model.parameters())
    return loss + recipe.l1 * weights


def train_epoch_in_steps(
    trainer: c_engine.Trainer,
    recipe: Recipe,
    schedule: LRScheduler | None,
    generator: Generator,
    max_steps: int | None = None,
    on_step: Callable[[Tensor], None] = lambda loss: None,
    mark: Callable[[str], None] = lambda part: None,
) -> "TrainedEpoch":
    """The same as `train_epoch`, with the same random numbers, by the steps of a Trainer.

    mark: as for Trainer.step
    """
    losses, learning_rates, correct, seen = [], [], 0, 0
    order = torch.randperm(len(trainer.split), generator=generator)
    batches = order.split(recipe.batch_size)[:max_steps]
    drawn = moves(batches, recipe, generator)
    for chosen in batches:
        maps = next(drawn)
        mark("augmentation")
        learning_rates.append(trainer.settings["lr"])
        loss, recognized = trainer.step(chosen, maps, mark)
        if schedule is not None:
            schedule.step()
        mark("optimizer")

        losses.append(torch.tensor(loss))
        correct += recognized
        seen += len(chosen)
        on_step(losses[-1])
    return TrainedEpoch(torch.stack(losses), learning_rates, 100 * correct / seen)


def moves(
    batches: Sequence[Tensor], recipe: Recipe, generator: Generator
) -> Iterator[Tensor | None]:
    """How the images of each batch move, drawn for many batches at once: that is quicker."""
    if not recipe.augmentation:
        yield from [None] * len(batches)
        return
    transforms = cast(Sequence[Affine], recipe.augmentation)  # as `engine.choose` says
    for start in range(0, len(batches), DRAWN_AT_ONCE):
        group = batches[start : start + DRAWN_AT_ONCE]
        full = sum(len(chosen) == len(group[0]) for chosen in group)  # an epoch's last is smaller
        maps = draw(transforms, len(group[0]), generator, full)
        yield from maps.split(len(group[0]))
        if full < len(group):
            yield draw(transforms, len(group[-1]), generator)


@dataclass(frozen=True)
class TrainedEpoch:
    """losses: float tensor (steps,); learning_rates: one a step; accuracy in percent."""

    losses: Tensor
    learning_rates: list[float]
    accuracy: float


# What these can be, for whoever reads them from a file.
Loss = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seconds = Annotated[float, Meta(gt=0)]
EngineName = Annotated[str, Meta(pattern="^(torch|engine)$")]


@dataclass(frozen=True)
class Epoch:
    """Losses are means over images, accuracies in percent.

    The train figures are taken while training, on augmented images and with weights that
    still change; the test figures after the epoch. Where these judge by several views, those of
    the one view without a shift stand beside them, and are None elsewhere.
    """

    train_loss: Loss
    train_accuracy: Percent
    test_loss: Loss
    test_accuracy: Percent
    one_view_loss: Loss | None = None
    one_view_accuracy: Percent | None = None

    def as_data(self) -> dict[str, float]:
        """The figures by name, without those that are not there, for JSON."""
        return {name: round(value, 6) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Step:
    """One batch of a training: its loss, and the learning rate that it was taken with."""

    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Environment:
    """Where and when a run was made.

    commit: of the project, when it ran from a git checkout
    device: 'cpu', or the name of the GPU
    engine: what computed it, 'torch' or 'engine'
    processor: the CPU's name
    threads: CPU threads used; part of the rounding, so a replay uses the same number
    seconds: wall time of each epoch, its evaluation included
    """

    date: str
    commit: str | None
    python: str
    torch: str
    device: str
    processor: str
    threads: Threads
    seconds: tuple[Seconds, ...]
    engine: EngineName = "torch"


@dataclass(frozen=True)
class Run:
    """The outcome of training one stage with one seed.

    predictions: uint8 tensor (10000,), the digit predicted for each test image at the end
    confidences: float tensor (10000,), the probability given to that digit
    weights: the final state dict, or None where it was too large to keep
    """

    stage: Stage
    seed: int
    epochs: tuple[Epoch, ...]
    steps: tuple[Step, ...]
    predictions: Tensor
    confidences: Tensor
    weights: dict[str, Tensor] | None
    environment: Environment

    @property
    def finished(self) -> bool:
        """Whether all epochs of the recipe are there; pages name those that are not."""
        return len(self.epochs) == self.stage.recipe.epochs

    @property
    def final_test_accuracy(self) -> float:
        return self.epochs[-1].test_accuracy

    @property
    def best_test_accuracy(self) -> float:
        return max(epoch.test_accuracy for epoch in self.epochs)

    @property
    def best_train_accuracy(self) -> float:
        return max(epoch.train_accuracy for epoch in self.epochs)

    @property
    def last_three_test_accuracies(self) -> tuple[float, ...]:
        return tuple(epoch.test_accuracy for epoch in self.epochs[-3:])

    def build(self) -> nn.Module:
        """The trained network, in evaluation mode. Raises MnistStepsError without weights."""
        if self.weights is None:
            raise MnistStepsError(
                f"the record of stage {self.stage.number} has no weights: they were too large to "
                f"keep. Train the stage again with: mnist-steps train {self.stage.number}"
            )
        model = self.stage.build()
        model.load_state_dict(self.weights)
        return model.eval()


class Training:
    """A training of one stage under way: everything that the next epoch depends on.

    engine: as for `mnist_steps.engine.choose`, which raises MnistStepsError; the choice changes
        results by rounding only
    """

    def __init__(
        self,
        stage: Stage,
        seed: int,
        device: torch.device,
        train_split: Split | None = None,
        test_split: Split | None = None,
        engine: str = "auto",
    ) -> None:
        demand_stage(stage)
        self.stage, self.seed, self.device = stage, seed, device
        recipe = stage.recipe
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.manual_seed(seed)
            self.model = stage.build()
            initialize(self.model, recipe.initialization)
        # The memory layout that all records were made in: a replay needs it, for batch statistics
        # round otherwise in the other. Which is the faster differs between stages and processors.
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.choice = c_engine.choose(self.model, recipe, engine, device.type)
        if device.type == "cpu":  # a GPU's library chooses among such algorithms by itself
            self.model = winograd.speed_up(self.model)
        self.generator = Generator().manual_seed(seed)
        self.train_split = _to_device(train_split or data.mnist().full_train, device)
        self.test_split = _to_device(test_split or data.mnist().test, device)
        self.optimizer: Optimizer = recipe.optimizer.make(self.model.parameters())
        self.schedule = make_schedule(recipe, self.optimizer, self.steps_per_epoch)
        self.epochs: list[Epoch] = []
        self.losses: list[Tensor] = []
        self.learning_rates: list[float] = []
        self.seconds: list[float] = []
        self.last_evaluation: Evaluation | None = None

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train_split) // self.stage.recipe.batch_size)  # rounded up

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.stage.recipe.epochs

    @property
    def batch_schedule(self) -> LRScheduler | None:
        """The schedule, if it moves after each batch and not after each epoch."""
        return self.schedule if isinstance(self.schedule, OneCycleLR) else None

    def train_epoch(self, **options: Any) -> TrainedEpoch:
        recipe = self.stage.recipe
        if self.choice.engine == "engine":
            trainer = c_engine.Trainer(
                self.model, self.optimizer, self.train_split, recipe.normalize_train
            )
            return train_epoch_in_steps(
                trainer, recipe, self.batch_schedule, self.generator, **options
            )
        return train_epoch(
            self.model, self.train_split, recipe,
            self.optimizer, self.batch_schedule, self.generator, **options,
        )  # fmt: skip

    def evaluate(self, split: Split | None = None, final: bool = False) -> Evaluation:
        """On all test images, or on another split; `final` as after the last epochs."""
        by_engine = self.choice.engine == "engine"
        compute = c_engine.evaluate if by_engine else evaluation.log_probabilities
        return evaluation.evaluate(
            self.model, split or self.test_split, self.stage.recipe, final, compute
        )

    def run_epoch(self, on_step: Callable[[Tensor], None] = lambda loss: None) -> Epoch:
        """Train one epoch, evaluate, and note the figures."""
        start = time.perf_counter()
        trained = self.train_epoch(on_step=on_step)
        left = self.stage.recipe.epochs - len(self.epochs) - 1
        judged = self.evaluate(final=left < self.stage.recipe.shifted_epochs)
        sizes = torch.full((len(trained.losses),), float(self.stage.recipe.batch_size))
        sizes[-1] = len(self.train_split) - sizes[:-1].sum()
        epoch = Epoch(
            train_loss=((trained.losses * sizes).sum() / sizes.sum()).item(),
            train_accuracy=trained.accuracy,
            test_loss=judged.loss,
            test_accuracy=judged.accuracy,
            one_view_loss=judged.one_view.loss if judged.one_view else None,
            one_view_accuracy=judged.one_view.accuracy if judged.one_view else None,
        )
        move_after_epoch(self.schedule, epoch.train_loss)
        self.epochs.append(epoch)
        self.losses.append(trained.losses)
        self.learning_rates.extend(trained.learning_rates)
        self.last_evaluation = judged
        self.seconds.append(time.perf_counter() - start)
        return epoch

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a stop, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule and self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "epochs": [vars(epoch) for epoch in self.epochs],
            "losses": self.losses,
            "learning_rates": self.learning_rates,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.losses = list(state["losses"])
        self.learning_rates = list(state["learning_rates"])
        self.seconds = list(state["seconds"])
        self.last_evaluation = None

    def result(self) -> Run:
        """The outcome so far."""
        judged = self.last_evaluation or self.evaluate(final=self.finished)
        confidences, predictions = judged.log_probabilities.exp().max(dim=1)
        losses = torch.cat(self.losses).tolist()
        return Run(
            stage=self.stage,
            seed=self.seed,
            epochs=tuple(self.epochs),
            steps=tuple(map(Step, losses, self.learning_rates)),
            predictions=predictions.to(torch.uint8),
            confidences=confidences,
            weights={name: value.cpu() for name, value in self.model.state_dict().items()},
            environment=describe_environment(self.device, tuple(self.seconds), self.choice.engine),
        )


def demand_stage(found: Any) -> None:
    """Raises MnistStepsError for what is no stage, or for one with a network instead of its maker.

    Each run draws its own first weights, so a stage has what builds the network.
    """
    if isinstance(found, Stage) and not isinstance(found.model, nn.Module):
        return
    model = found.model if isinstance(found, Stage) else found
    hint = "fit(stages.get(8))"
    if isinstance(found, int):
        hint = f"fit(stages.get({found}))"
    elif isinstance(model, nn.Module) or isinstance(model, type) and issubclass(model, nn.Module):
        name = model.__name__ if isinstance(model, type) else type(model).__name__
        hint = f"fit(dataclasses.replace(stages.get(8), model={name}))"
    what = "a stage whose model is a network" if isinstance(found, Stage) else repr(found)[:60]
    raise MnistStepsError(
        f"found {what.splitlines()[0]}, expected a stage, whose model is a class or function that "
        f"makes a network: write {hint}."
    )


def move_after_epoch(schedule: LRScheduler | None, train_loss: float) -> None:
    """Move a schedule that does not move after each batch."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(train_loss)
    elif schedule is not None and not isinstance(schedule, OneCycleLR):
        schedule.step()


def learning_rates(
    recipe: Recipe, steps_per_epoch: int, train_losses: Sequence[float]
) -> list[float]:
    """The learning rate of every step of a training whose epochs had these training losses."""
    optimizer: Optimizer = recipe.optimizer.make([nn.Parameter(torch.zeros(1))])
    schedule = make_schedule(recipe, optimizer, steps_per_epoch)
    rates = []
    for train_loss in train_losses:
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if isinstance(schedule, OneCycleLR):
                schedule.step()
        move_after_epoch(schedule, train_loss)
    return rates


def initialize(model: nn.Module, initialization: str | None) -> None:
    """Draw the weights of convolutions and linear layers as a recipe says; None leaves them.

    'kaiming': normal, with the variance 2 / fan-in that keeps a signal's size through layers with
        ReLU, and biases of 0. PyTorch's own draws have a sixth of that variance.
    Source: He and others, Delving Deep into Rectifiers (2015), arXiv:1502.01852.
    Raises MnistStepsError for a name that is not known.
    """
    if initialization is None:
        return
    if initialization not in INITIALIZATIONS:
        raise MnistStepsError(
            f"initialization {initialization!r} is not known: expected None or one of "
            f"{', '.join(INITIALIZATIONS)}."
        )
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def fit(
    stage: Stage,
    seed: int | None = None,
    device: str = "auto",
    progress: bool = True,
    train_split: Split | None = None,
    engine: str = "auto",
) -> Run:
    """Train a stage by its recipe, from the first epoch to the last.

    seed: that of the records when None
    device: 'auto' takes CUDA, else Apple's MPS, else the CPU
    progress: a bar in a terminal or notebook; there is never one under CI
    train_split: other training images than all 60,000
    engine: as for Training; a line says which one it became, where there is a bar
    """
    seed = SEED if seed is None else seed
    training = Training(stage, seed, pick_device(device), train_split, engine=engine)
    if engine == "auto" and progress and _somebody_watches():
        print(f"stage {stage.number}: {training.choice.line}", file=sys.stderr)
    run_to_end(training, progress)
    return training.result()


def run_to_end(
    training: Training,
    progress: bool,
    after_epoch: Callable[[Training], None] = lambda training: None,
) -> None:
    """Train the epochs that are left, with a progress bar, and call `after_epoch` after each."""
    steps, epochs = training.steps_per_epoch, training.stage.recipe.epochs
    with tqdm(
        total=steps * epochs,
        initial=steps * len(training.epochs),
        disable=not (progress and _somebody_watches()),
        unit="batch",
        desc=f"stage {training.stage.number}",
    ) as bar:

        def on_step(loss: Tensor) -> None:
            bar.update()
            if not bar.disable and bar.n % 10 == 0:  # reading a loss makes a GPU wait
                epoch = len(training.epochs) + 1
                bar.set_description(f"stage {training.stage.number}, epoch {epoch}/{epochs}")
                bar.set_postfix_str(f"loss {loss.item():.3f}{_accuracies(training.epochs)}")

        while not training.finished:
            training.run_epoch(on_step)
            after_epoch(training)


def _accuracies(epochs: list[Epoch]) -> str:
    if not epochs:
        return ""
    return f", train {epochs[-1].train_accuracy:.2f} %, test {epochs[-1].test_accuracy:.2f} %"


def _somebody_watches() -> bool:
    return not os.environ.get("CI") and (sys.stderr.isatty() or "ipykernel" in sys.modules)


def pick_device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda' or 'mps' as a torch device. Raises MnistStepsError if not there."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise MnistStepsError(
            f"device {name!r} is not available here: choose auto or {' or '.join(available)}."
        )
    return torch.device(name)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with this many CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_turns = threading.Lock()


@contextmanager
def one_at_a_time(threads: int = 1) -> Iterator[None]:
    """One training in this process at a time, on few CPU threads: for those that have company.

    Seeding a network uses torch's one global generator, so threads of one process, as a Dask
    worker may have, take turns.
    """
    with _turns, cpu_threads(threads):
        yield


def describe_environment(
    device: torch.device, seconds: tuple[float, ...], engine: str = "torch"
) -> Environment:
    return Environment(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=_commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        processor=_processor(),
        threads=torch.get_num_threads(),
        seconds=seconds,
        engine=engine,
    )


def _commit() -> str | None:
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():  # installed, perhaps inside somebody else's checkout
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "--short=10", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _to_device(split: Split, device: torch.device) -> Split:
    return Split(split.images.to(device), split.labels.to(device))
