"""A training under way.

`Training` holds everything that changes while training (weights, optimizer, schedule,
randomness), so that it can stop after any epoch and go on to the same result.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from mnist_steps import data, evaluation
from mnist_steps import engine as c_engine
from mnist_steps.data import Split
from mnist_steps.engine import winograd
from mnist_steps.errors import MnistStepsError
from mnist_steps.evaluation import Evaluation
from mnist_steps.recipes import INITIALIZATIONS, make_schedule, move_after_epoch
from mnist_steps.stages import SEED, Stage
from mnist_steps.training.loop import (
    TrainedEpoch,
    mean_over_images,
    train_epoch,
    train_epoch_in_steps,
)
from mnist_steps.training.machine import describe_environment, pick_device
from mnist_steps.training.outcome import Epoch, Run, Step

T = TypeVar("T")


class Resumable:
    """What every training moves with each step, so that it can stop after an epoch and go on."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    generator: Generator

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a stop, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule and self.schedule.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])


def save_state(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data, such as a training's state; the file appears only complete."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data.write_atomically(path, buffer.getvalue())


def load_state(path: Path, kind: type[T]) -> T:
    """What `save_state` wrote, as what it should be. Raises MnistStepsError when it is not that."""
    try:
        return msgspec.convert(torch.load(path, weights_only=True), kind)  # no code
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise MnistStepsError(
            f"what was kept of a training in {path} cannot be read ({type(error).__name__}). "
            "Delete it to start anew."
        ) from error


class Training(Resumable):
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
        self.model = untrained(stage, seed)
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
        return self.stage.recipe.steps_per_epoch(len(self.train_split))

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.stage.recipe.epochs

    @property
    def batch_schedule(self) -> LRScheduler | None:
        """The schedule, if it moves after each batch and not after each epoch."""
        return self.schedule if isinstance(self.schedule, OneCycleLR) else None

    def train_epoch(self, **options: Any) -> TrainedEpoch:
        """One pass over the training images, by PyTorch or by the engine as it was chosen.

        options: `max_steps` and `on_step`, as for `loop.train_epoch`
        """
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
        start, recipe, images = time.perf_counter(), self.stage.recipe, len(self.train_split)
        trained = self.train_epoch(on_step=on_step)
        judged = self.evaluate(final=recipe.judges_by_shifts(len(self.epochs) + 1))
        epoch = Epoch(
            train_loss=mean_over_images(trained.losses, recipe.batch_size, images).item(),
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
        return super().state() | {
            "epochs": [vars(epoch) for epoch in self.epochs],
            "losses": self.losses,
            "learning_rates": self.learning_rates,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.losses = list(state["losses"])
        self.learning_rates = list(state["learning_rates"])
        self.seconds = list(state["seconds"])
        self.last_evaluation = None

    def result(self) -> Run:
        """The outcome so far."""
        final = self.stage.recipe.judges_by_shifts(len(self.epochs))
        judged = self.last_evaluation or self.evaluate(final=final)
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


def untrained(stage: Stage, seed: int) -> nn.Module:
    """A stage's network before its first step, with the weights that a seed draws."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        model = stage.build()
        initialize(model, stage.recipe.initialization)
    return model


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
    engine: as for Training; with `progress`, a line on stderr says which one it became
    """
    seed = SEED if seed is None else seed
    training = Training(stage, seed, pick_device(device), train_split, engine=engine)
    if engine == "auto" and progress and not os.environ.get("CI"):
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


def _to_device(split: Split, device: torch.device) -> Split:
    return Split(split.images.to(device), split.labels.to(device))
