"""Trainings of submissions: plain data in, plain data out, so that any worker can make one.

What is trained is the network that the description says, with the grader's own loop, images and
seed. No code of a submission is anywhere near.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_steps import data, runs, training
from mnist_steps.assignment import rebuild
from mnist_steps.assignment.rebuild import Network
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Recipe
from mnist_steps.stages import Stage
from mnist_steps.training import Training


@dataclass(frozen=True)
class TrainingTask:
    """One run to make; every field is plain data.

    name: for messages; it does not tell the seed
    graph: the rebuilt network's description, JSON
    recipe: as `Recipe.as_data` gives it
    train_images: train on the first so many images only; None is all
    device, fast: as for `training.fit`
    key: digest of all that decides the run
    """

    name: str
    graph: str
    recipe: dict[str, Any]
    seed: int
    train_images: int | None
    device: str
    key: str
    fast: bool = False


@dataclass(frozen=True)
class TrainingOutcome:
    """What is kept of a run.

    test_accuracies, train_accuracies: percent after each epoch
    losses: of the test images, after each epoch; None when it was not finite
    seconds: wall time of all epochs
    environment: as `training.Environment`
    """

    key: str
    seed: int
    test_accuracies: list[float]
    train_accuracies: list[float]
    losses: list[float | None]
    seconds: float
    environment: dict[str, Any]

    @property
    def headline(self) -> str:
        return f"{self.test_accuracies[-1]:.2f} %, {self.seconds:.0f} s"


def task_for(
    name: str,
    network: Network,
    recipe: Recipe,
    seed: int,
    train_images: int | None = None,
    device: str = "cpu",
    fast: bool = False,
) -> TrainingTask:
    graph = network.graph.as_data()
    decided: dict[str, Any] = {
        "graph": graph,
        "recipe": recipe.as_data() | {"seed": seed},
        "data": data.CHECKSUMS,
        "train_images": train_images,
    }
    if fast:  # other rounding: a class is graded all the one way or all the other
        decided["fast"] = True
    return TrainingTask(
        name=name,
        graph=json.dumps(graph),
        recipe=recipe.as_data(),
        seed=seed,
        train_images=train_images,
        device=device,
        key=runs.digest(decided),
        fast=fast,
    )


def perform(task: TrainingTask) -> TrainingOutcome:
    """Make a task's run, here and now, with one CPU thread.

    Raises MnistStepsError when this installation of mnist_steps would make another run.
    """
    network, recipe = rebuild.read(task.graph), Recipe.from_data(task.recipe)
    here = task_for(
        task.name, network, recipe, task.seed, task.train_images, task.device, task.fast
    )
    if here.key != task.key:
        raise MnistStepsError(
            f"{task.name}: the mnist_steps on this worker has other networks, recipes or data than "
            "where the grading was started. Install the same version on both."
        )
    with training.one_at_a_time():
        under_way = start(network, recipe, task.seed, task.train_images, task.device, task.fast)
        training.run_to_end(under_way, progress=False)
        environment = asdict(
            training.describe_environment(under_way.device, tuple(under_way.seconds))
        )
    del environment["seconds"]
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
    fast: bool = False,
) -> Training:
    """A training that has not begun. train_images: only the first so many; None is all."""
    stage = Stage(
        number=0,
        slug="submission",
        title="Submission",
        model=network.build_for_speed if fast else network.build,
        recipe=recipe,
    )
    images = data.mnist().full_train[:train_images]
    return Training(stage, seed, training.pick_device(device), images, fast=fast)


def screening(recipe: Recipe, seeds: int) -> Recipe:
    """The recipe of a run that costs a tenth of a full grading with so many seeds.

    One seed instead of all, and so many epochs that the tenth is used: 4 of 15 with 3 seeds. A
    schedule is compressed into them. All images are seen, so that an epoch means the same.
    """
    return dataclasses.replace(recipe, epochs=max(1, seeds * recipe.epochs // 10))


def worst_final(outcomes: Sequence[TrainingOutcome]) -> float:
    """The final accuracy of the worst seed, in percent."""
    return min(outcome.test_accuracies[-1] for outcome in outcomes)
