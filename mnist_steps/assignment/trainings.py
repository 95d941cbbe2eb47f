"""Trainings of submissions: plain data in, plain data out, so that any worker can make one.

What is trained is the network that the description says, with the grader's own loop, images and
seed. No code of a submission is anywhere near. Each training has a process of its own (`trainer`),
which is ended at its limits of time and memory: what it costs is known before it begins, but only
nearly. Then, and when a training fails that another network's survives, that is the outcome.
"""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from mnist_steps import data, graph, runs, training
from mnist_steps.assignment import rebuild
from mnist_steps.assignment.findings import one_line
from mnist_steps.assignment.journal import Journal
from mnist_steps.assignment.rebuild import Network
from mnist_steps.assignment.rules import Assignment
from mnist_steps.engine import choose
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Recipe
from mnist_steps.stages import Stage
from mnist_steps.training import Loss, Percent, Training

# On top of what Python and torch take. A batch of nearly as many values as the check admits took
# 1.9 GB in all.
MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class TrainingTask:
    """One run to make; every field is plain data.

    name: for messages; it does not tell the seed
    graph: the rebuilt network's description, JSON
    recipe: as `Recipe.as_data` gives it
    train_images: train on the first so many images only; None is all
    device: as for `training.fit`
    engine: 'torch' or 'engine', decided where the grading starts
    key: digest of all that decides the run
    seconds: wall time after which it is ended
    """

    name: str
    graph: str
    recipe: dict[str, Any]
    seed: int
    train_images: int | None
    device: str
    key: str
    engine: str = "torch"
    seconds: float = 60 * Assignment.minutes


@dataclass(frozen=True)
class TrainingOutcome:
    """What is kept of a run.

    test_accuracies, train_accuracies: percent after each epoch
    losses: of the test images, after each epoch; None when it was not finite
    seconds: wall time of all epochs; of one that was stopped, when at the latest
    environment: as `training.Environment`
    stopped: why it did not come to its end, in words for its author; it then has no figures
    """

    key: str
    seed: int
    test_accuracies: list[Percent]
    train_accuracies: list[Percent]
    losses: list[Loss | None]
    seconds: float
    environment: dict[str, Any]
    stopped: str | None = None

    @property
    def headline(self) -> str:
        if self.stopped is not None:
            return self.stopped
        return f"{self.test_accuracies[-1]:.2f} %, {self.seconds:.0f} s"

    def proven(self) -> None:
        """Raises ValueError for figures that no training gives."""
        if not len(self.losses) == len(self.test_accuracies) == len(self.train_accuracies):
            raise ValueError("its figures are of different numbers of epochs")
        if (not self.losses) != (self.stopped is not None):
            raise ValueError("it has neither figures nor a reason why there are none, or both")


class Trainings(Journal[TrainingOutcome]):
    """The journal of trainings. One that was stopped counts until it is given more time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, TrainingOutcome)

    def get(self, task: TrainingTask) -> TrainingOutcome | None:  # type: ignore[override]
        outcome = super().get(task)
        if outcome is not None and outcome.stopped is not None and outcome.seconds < task.seconds:
            return None
        return outcome


def task_for(
    name: str,
    network: Network,
    recipe: Recipe,
    seed: int,
    train_images: int | None = None,
    device: str = "cpu",
    engine: str = "auto",
    seconds: float = 60 * Assignment.minutes,
) -> TrainingTask:
    """engine: as for `mnist_steps.engine.choose`"""
    choice = choose(network.build_for_speed(), recipe, engine, training.pick_device(device).type)
    graph = network.graph.as_data()
    decided: dict[str, Any] = {
        "graph": graph,
        "recipe": recipe.as_data() | {"seed": seed},
        "data": data.CHECKSUMS,
        "train_images": train_images,
    }
    if choice.engine != "torch":  # other rounding
        decided["engine"] = choice.engine
    return TrainingTask(
        name=name,
        graph=json.dumps(graph, separators=(",", ":")),
        recipe=recipe.as_data(),
        seed=seed,
        train_images=train_images,
        device=device,
        key=runs.digest(decided),
        engine=choice.engine,
        seconds=seconds,
    )


class TrainingFailed(MnistStepsError):
    """A training that did not come to its end."""


def perform(task: TrainingTask) -> TrainingOutcome:
    """Make a task's run in a process of its own, up to its limits.

    Whether a failure is the network's or this machine's is found out by a twin: a network that is
    known to train. Raises TrainingFailed when that fails too.
    """
    try:
        return apart(task)
    except subprocess.TimeoutExpired:
        return stopped(task, f"it took longer than {task.seconds / 60:g} minutes")
    except TrainingFailed as error:
        apart(twin(task))
        return stopped(task, str(error))


def apart(task: TrainingTask) -> TrainingOutcome:
    """`make`, in a process of its own. Raises TrainingFailed, and subprocess.TimeoutExpired."""
    ended = subprocess.run(
        [sys.executable, "-m", "mnist_steps.assignment.trainer"],
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        timeout=task.seconds,
    )
    kind, _, text = ended.stdout.partition(" ")
    if kind == "made":
        return msgspec.json.decode(text, type=TrainingOutcome)
    if kind == "failed":
        raise TrainingFailed(one_line(text))
    raise TrainingFailed(
        f"its process ended with status {ended.returncode} and said: "
        f"{one_line(ended.stderr[-300:]) or 'nothing'}"
    )


def twin(task: TrainingTask) -> TrainingTask:
    """A training of one epoch of few images, made as the task is, that is known to succeed.

    Raises MnistStepsError where it cannot be made so: here is no compiler.
    """
    model = nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten(), nn.LogSoftmax(1))
    description = json.dumps(graph.trace(model, data.INPUT_SHAPE).as_data())
    recipe = Recipe.from_data(task.recipe)
    small = dataclasses.replace(recipe, epochs=1, schedule=None, batch_size=64)
    network = rebuild.read(description)
    return task_for(f"{task.name}, its twin", network, small, 1, 64, task.device, task.engine)


def stopped(task: TrainingTask, why: str) -> TrainingOutcome:
    return TrainingOutcome(task.key, task.seed, [], [], [], task.seconds, {}, why)


def make(task: TrainingTask) -> TrainingOutcome:
    """Make a task's run, here and now, with one CPU thread.

    Raises MnistStepsError when this installation of mnist_steps would make another run.
    """
    network, recipe = rebuild.read(task.graph), Recipe.from_data(task.recipe)
    here = task_for(
        task.name, network, recipe, task.seed, task.train_images, task.device, task.engine
    )
    if here.key != task.key:
        raise MnistStepsError(
            f"{task.name}: the mnist_steps on this worker has other networks, recipes or data than "
            "where the grading was started. Install the same version on both."
        )
    with training.one_at_a_time():
        under_way = start(network, recipe, task.seed, task.train_images, task.device, task.engine)
        training.run_to_end(under_way, progress=False)
        by = under_way.choice.engine
        environment = training.describe_environment(under_way.device, (), by).as_data()
    epochs = under_way.epochs
    return TrainingOutcome(
        key=task.key,
        seed=task.seed,
        test_accuracies=[round(epoch.test_accuracy, 4) for epoch in epochs],
        train_accuracies=[round(epoch.train_accuracy, 4) for epoch in epochs],
        losses=[
            round(epoch.test_loss, 6) if math.isfinite(epoch.test_loss) else None
            for epoch in epochs
        ],
        seconds=round(sum(under_way.seconds), 1),
        environment=environment,
    )


def start(
    network: Network,
    recipe: Recipe,
    seed: int,
    train_images: int | None = None,
    device: str = "cpu",
    engine: str = "auto",
) -> Training:
    """A training that has not begun. train_images: only the first so many; None is all."""
    stage = Stage(
        number=0,
        slug="submission",
        title="Submission",
        model=network.build if engine == "torch" else network.build_for_speed,
        recipe=recipe,
    )
    images = data.mnist().full_train[:train_images]
    return Training(stage, seed, training.pick_device(device), images, engine=engine)


def screening(recipe: Recipe, seeds: int) -> Recipe:
    """The recipe of a run that costs a tenth of a full grading with so many seeds.

    One seed instead of all, and so many epochs that the tenth is used: 4 of 15 with 3 seeds. A
    schedule is compressed into them. All images are seen, so that an epoch means the same.
    """
    epochs = max(1, seeds * recipe.epochs // 10)
    schedule = recipe.schedule
    if schedule is not None:

        def shortened(count: int) -> int:
            return max(1, round(count * epochs / recipe.epochs)) if count else 0

        counted = {
            name: tuple(map(shortened, value)) if name == "milestones" else shortened(value)
            for name, value in schedule.arguments
            if name in ("step_size", "milestones", "patience", "cooldown")
        }
        schedule = schedule.replace(**counted)
    return dataclasses.replace(recipe, epochs=epochs, schedule=schedule)


def worst_final(outcomes: Sequence[TrainingOutcome]) -> float:
    """The final accuracy of the worst seed, in percent."""
    return min(outcome.test_accuracies[-1] for outcome in outcomes)
