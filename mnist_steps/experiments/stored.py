"""Outcomes as files: one small file a task, marked with the digest of all that decided the run."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
from torch import Tensor

from mnist_steps import data, runs
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import executors, tasks

FORMAT = 1


class Task(tasks.Task, Protocol):
    """digest: of all that decides the run"""

    @property
    def digest(self) -> str: ...


class Outcome(tasks.Outcome, Protocol):
    """digest: of its task"""

    @property
    def digest(self) -> str: ...


T = TypeVar("T", bound=Task)
O = TypeVar("O", bound=Outcome)  # noqa: E741


def make(
    wanted: Sequence[T],
    store: "Store[T, O]",
    perform: Callable[[T], O],
    title: str,
    workers: int | None = None,
    scheduler: str | None = None,
    dry_run: bool = False,
) -> tasks.Report:
    """As `tasks.perform_all`, in processes here or on a Dask cluster.

    workers: how many processes; None for one a CPU core
    scheduler: the address of a Dask scheduler, for its workers instead
    dry_run: only count what is there
    """
    missing = store.left(wanted)
    if dry_run or not missing:
        return tasks.Report(found=len(wanted) - len(missing), made=0, failures=())
    with executors.chosen(workers, scheduler) as executor:
        return tasks.perform_all(wanted, executor, store, perform, title=title)


def predictions(labels: Tensor, wrong: Mapping[int, int]) -> Tensor:
    """The digit predicted for each image, (N,): the right one, but where `wrong` has another."""
    predicted = labels.clone()
    for position, digit in wrong.items():
        predicted[position] = digit
    return predicted


def misjudged(
    images: int, wrong: Mapping[int, int], accuracy: float, judged_on: str
) -> Iterator[str]:
    """What an outcome cannot have been, as to the images that it was judged on, in words.

    images, accuracy: how many there were, and the percent recognised, as the outcome notes it
    wrong: positions of those not recognised
    """
    _, expected = data.sizes(judged_on)
    if images != expected or any(place >= expected for place in wrong):
        yield f"it was judged on other images than the {expected} that there are"
    right = 100 - 100 * len(wrong) / expected
    if abs(right - accuracy) > 1e-5:  # percents are rounded to six digits
        yield f"the images say {right:.2f} %"


class Store(Generic[T, O]):
    """Outcomes of one kind in a folder, a dataclass each.

    A run is 'done', 'missing', or 'stale' when its file belongs to another run than the task's.
    A kind of outcome has a subclass, which says where each lies and what it cannot have been.
    """

    def __init__(self, folder: Path, kind: type[O]) -> None:
        self.folder, self.kind = folder, kind

    def path(self, of: T | O) -> Path:
        raise NotImplementedError

    def problems(self, outcome: O, task: T) -> Iterator[str]:
        """What an outcome says that the task's run cannot have been, in words."""
        raise NotImplementedError

    def get(self, task: T) -> O | None:
        """The task's outcome, None unless it is done. Raises MnistStepsError when damaged."""
        outcome = self._read(task)
        return outcome if outcome and outcome.digest == task.digest else None

    def state(self, task: T) -> str:
        outcome = self._read(task)
        if outcome is None:
            return "missing"
        return "done" if outcome.digest == task.digest else "stale"

    def left(self, tasks: Iterable[T]) -> dict[str, str]:
        """What is to be made: the names of tasks, each with its state, 'missing' or 'stale'."""
        states = {task.name: self.state(task) for task in tasks}
        return {name: state for name, state in states.items() if state != "done"}

    def put(self, outcome: O) -> None:
        # One line for each field: compact, and a difference between two versions can be read.
        fields = {"format": FORMAT, **asdict(outcome)}  # type: ignore[call-overload]
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        content = "{\n" + ",\n".join(lines) + "\n}\n"
        data.write_atomically(self.path(outcome), content.encode())

    def check_writable(self) -> None:
        """Raises MnistStepsError when outcomes could not be saved."""
        data.check_writable(self.folder)

    def _read(self, task: T) -> O | None:
        """The file's outcome, proven when it is the task's; None where there is no file."""
        path = self.path(task)
        try:
            text = path.read_bytes()
            version = msgspec.json.decode(text, type=runs.Format).format
            if version > FORMAT:
                raise MnistStepsError(
                    f"{path} has format {version}, this version of mnist_steps reads up to "
                    f"{FORMAT}. Update mnist_steps."
                )
            outcome = msgspec.json.decode(text, type=self.kind)
            if outcome.digest == task.digest:
                for problem in self.problems(outcome, task):
                    raise ValueError(problem)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise MnistStepsError(
                f"{path} cannot be read as a run ({error!r}). Delete it to make the run again."
            ) from error
        return outcome
