"""Stand-ins for training that the tests of studies send to worker processes by name."""

import os
import signal
import time
from pathlib import Path

from torch import nn

from mnist_steps.experiments import study
from mnist_steps.experiments.study import Outcome, Task


class TinyNet(nn.Sequential):
    """A network that trains in no time."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(
            nn.Conv2d(1, width, 4, stride=4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(49 * width, 10),
            nn.LogSoftmax(dim=1),
        )


# Where stand-ins note their calls; worker processes inherit it.
NOTES = "SIMULATED_NOTES"


ENVIRONMENT = {
    "date": "2026-11-30", "commit": None, "python": "3", "torch": "2", "device": "cpu",
    "processor": "none", "threads": 1,
}  # fmt: skip


def simulate(task: Task) -> Outcome:
    """At once: an outcome that follows from the seed."""
    return made_up(task, [98.0, 99.4, round(99.5 - task.seed % 30 / 100, 6)])


def made_up(task: Task, accuracies: list[float], loss: float = 0.03) -> Outcome:
    """An outcome with these test accuracies in its last epochs, and nothing that contradicts them.

    loss: of the test, after each epoch but the last but one, where it was not finite
    """
    images = 5_000 if task.judged_on == "validation" else 10_000
    epochs = task.recipe["epochs"]
    accuracies = [accuracies[0]] * (epochs - len(accuracies)) + accuracies[-epochs:]
    losses: list[float | None] = [loss] * epochs
    if epochs > 1:
        losses[-2] = None
    mistakes = round(images * (100 - accuracies[-1]) / 100)
    wrong = {position: task.seed % 10 for position in range(mistakes)}
    return Outcome(
        number=task.number,
        arm=task.arm,
        seed=task.seed,
        digest=task.digest,
        model=task.model,
        arguments=task.arguments,
        recipe=task.recipe,
        train_images=task.train_images,
        judged_on=task.judged_on,
        epochs={
            "train_loss": [0.1] * epochs,
            "train_accuracy": [98.0] * epochs,
            "test_loss": losses,
            "test_accuracy": accuracies,
        },
        images=images,
        wrong=wrong,
        seconds=1.0,
        environment=ENVIRONMENT,
    )


def note(task: Task) -> int:
    """Note a call with its process; returns how many calls this seed has had, this one too."""
    path = Path(os.environ[NOTES]) / f"seed-{task.seed}"
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())


def fail_for_seed_2(task: Task) -> Outcome:
    note(task)
    if task.seed == 2:
        raise ValueError("seed 2 never works\nand this line is too much")
    return simulate(task)


def fail_for_seed_2_quietly(task: Task) -> Outcome:
    if task.seed == 2:
        raise ValueError("seed 2 never works")
    return simulate(task)


def die_for_seeds_1_and_2(task: Task) -> Outcome:
    """Seed 1 kills its process in the first attempt, seed 2 in every one."""
    calls = note(task)
    if (task.seed == 1 and calls == 1) or task.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return simulate(task)


def seeds_from_2_take_forever(task: Task) -> Outcome:
    note(task)
    if task.seed >= 2:
        time.sleep(600)
    return simulate(task)


def wait_for_death_the_first_time(task: Task) -> Outcome:
    """Seed 1's first attempt waits to be killed from outside; all else is real training."""
    if note(task) == 1 and task.seed == 1:
        time.sleep(600)
    return study.train(task)
