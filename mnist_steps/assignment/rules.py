"""What is asked for: an assignment's numbers, as an instructor sets them in assignment.toml."""

import dataclasses
import tomllib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mnist_steps import recipes, stages
from mnist_steps.assignment.findings import one_line, shown
from mnist_steps.errors import MnistStepsError

FILE = "assignment.toml"


@dataclass(frozen=True)
class Weights:
    """How many points each part of the rubric is worth; docs/assignment/rubric.md explains them."""

    contract: float = 10
    parameters: float = 15
    accuracy: float = 30
    consistency: float = 15
    fields: float = 10
    report: float = 20

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Assignment:
    """What is asked for; what a file leaves out has these defaults.

    parameters: the network must have fewer than these
    epochs: the recipe may have at most these
    accuracy: of the test, in percent, to be reached in each of the last `last_epochs` epochs
    accuracy_from: percent; from here on there are points for the accuracy. None: 0.4 below
    seeds: how many runs, each with a seed that the students do not know
    macs: multiply-accumulate operations for one image, or as much other work, at most; bounds
        what grading costs
    minutes: wall time after which one run is stopped, wherever it is
    pass_mark: percent of the points from which on a submission has passed
    due: when it has to be handed in; only stated, never a change of the mark
    """

    parameters: int = stages.BUDGET
    epochs: int = recipes.EPOCHS
    accuracy: float = stages.TARGET
    accuracy_from: float | None = None
    last_epochs: int = 3
    seeds: int = 3
    macs: int = 20_000_000
    minutes: float = 240
    pass_mark: float = 60
    due: datetime | None = None
    rubric: Weights = dataclasses.field(default_factory=Weights)

    @property
    def first_accuracy(self) -> float:
        """Percent; up to here the accuracy gives no points."""
        return self.accuracy - 0.4 if self.accuracy_from is None else self.accuracy_from

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = asdict(self) | {"accuracy_from": round(self.first_accuracy, 6)}
        return found | {"due": self.due and self.due.isoformat()}


@dataclass(frozen=True)
class Bounds:
    """A number that a file may choose. whole: 64, not 64.5"""

    low: float
    high: float
    why: str
    whole: bool = False

    def admit(self, value: Any) -> bool:
        return type(value) in ((int,) if self.whole else (int, float)) and (
            self.low <= value <= self.high
        )

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"


NUMBERS = {
    "parameters": Bounds(100, 10_000_000, "the network's budget", whole=True),
    "epochs": Bounds(1, 100, "the training's budget", whole=True),
    "accuracy": Bounds(50, 100, "the target, in percent"),
    "accuracy_from": Bounds(0, 100, "where points for the accuracy begin, in percent"),
    "last_epochs": Bounds(1, 100, "how long the target must hold", whole=True),
    "seeds": Bounds(1, 20, "how many runs are judged", whole=True),
    "macs": Bounds(1000, 1_000_000_000, "what one image may cost", whole=True),
    "minutes": Bounds(1, 10_000, "how long one run may take"),
    "pass_mark": Bounds(0, 100, "percent of the points"),
}
POINTS = Bounds(0, 1000, "points")


def load(file: Path) -> Assignment:
    """Read assignment.toml; what it leaves out has its default, and so has all without a file.

    Raises MnistStepsError, in one line, for what it cannot be.
    """
    if not file.is_file():
        return Assignment()
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise MnistStepsError(f"{file.name} cannot be read: {one_line(error)}.") from error
    rubric = found.pop("rubric", {})
    if not isinstance(rubric, dict):
        raise MnistStepsError(
            f"{file.name}: expected a table [rubric] with the points of its parts."
        )
    weights = {field.name: POINTS for field in dataclasses.fields(Weights)}
    due = found.pop("due", None)
    if due is not None and not (isinstance(due, datetime) and due.tzinfo is not None):
        raise MnistStepsError(
            f"{file.name}, due: found {one_line(due)}, expected a date with time and zone, "
            "such as 2030-01-31T23:59:00+01:00."
        )
    _check(file.name, found, NUMBERS | {"due": POINTS, "[rubric]": POINTS})
    _check(f"{file.name}, [rubric]", rubric, weights)
    assignment = Assignment(**found, due=due, rubric=Weights(**rubric))
    if assignment.last_epochs > assignment.epochs:
        raise MnistStepsError(
            f"{file.name}: found last_epochs {assignment.last_epochs}, expected at most epochs, "
            f"{assignment.epochs}."
        )
    if assignment.first_accuracy >= assignment.accuracy:
        raise MnistStepsError(
            f"{file.name}: found accuracy_from {assignment.first_accuracy:g}, expected less than "
            f"accuracy, {assignment.accuracy:g}."
        )
    if assignment.rubric.total <= 0:
        raise MnistStepsError(f"{file.name}: the parts of [rubric] give no points at all.")
    return assignment


def _check(where: str, found: dict[str, Any], known: dict[str, Bounds]) -> None:
    for name, value in found.items():
        if name not in known:
            raise MnistStepsError(
                f"{where}: found {one_line(name)!r}, expected only {', '.join(known)}."
            )
        if not known[name].admit(value):
            raise MnistStepsError(
                f"{where}, {name}: found {shown(value)}, expected {known[name]}: {known[name].why}."
            )
