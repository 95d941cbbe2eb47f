"""Many tasks on an executor: each outcome is saved when it ends, a failure is tried again.

A store knows which tasks are done. So a batch can stop at any moment, and a second start
performs only what is missing. A task that fails, or whose worker dies, costs only itself.
"""

import queue
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from mnist_steps.errors import MnistStepsError

ATTEMPTS = 3


class Task(Protocol):
    """name: what messages call it"""

    @property
    def name(self) -> str: ...


class Outcome(Protocol):
    """headline: what came out, in a few words"""

    @property
    def headline(self) -> str: ...


T = TypeVar("T", bound=Task)
O = TypeVar("O", bound=Outcome)  # noqa: E741
Stored = TypeVar("Stored", bound=Task, contravariant=True)


class Store(Protocol[Stored, O]):
    """Where outcomes are kept, one file a task."""

    def path(self, of: Stored, /) -> Path: ...

    def get(self, task: Stored, /) -> O | None: ...

    def put(self, outcome: O, /) -> None: ...

    def check_writable(self) -> None: ...


@dataclass(frozen=True)
class Failure:
    """A task that failed in every attempt; error: of the last one."""

    task: Task
    attempts: int
    error: BaseException

    def __str__(self) -> str:
        return f"{self.task.name}: failed {self.attempts} times, last with {_brief(self.error)}"


@dataclass(frozen=True)
class Report:
    """found: outcomes that the store had before; made: those made now."""

    found: int
    made: int
    failures: tuple[Failure, ...]


def perform_all(
    tasks: Sequence[T],
    executor: Executor,
    store: Store[T, O],
    perform: Callable[[T], O],
    *,
    title: str,
    attempts: int = ATTEMPTS,
    progress: bool = True,
) -> Report:
    """Perform the tasks that the store does not have, and save each outcome as soon as it ends.

    executor: where; `executors.Processes(workers)` here, `executors.dask_cluster(address)` there
    perform: does one task; importable, for it runs in another process
    title: what the progress bar is called
    attempts: how often a task may fail, by an error or by its worker's death, before it is given
        up; other tasks go on
    progress: a bar in a terminal, and a line on stderr for every task
    An exception here, Ctrl-C among them, cancels what has not begun, saves what has ended, and
    goes on to the caller, whose executor then ends what is under way.
    Raises MnistStepsError when the store cannot be written or two tasks would share a file.
    """
    _refuse_shared_files(tasks, store)
    store.check_writable()
    missing = [task for task in tasks if store.get(task) is None]
    failures: list[Failure] = []
    under_way: dict[Future[O], tuple[T, int]] = {}
    ended: queue.SimpleQueue[Future[O]] = queue.SimpleQueue()

    def start(task: T, attempt: int) -> None:
        future: Future[O]
        try:
            future = executor.submit(perform, task)
        except Exception as error:  # the executor itself is broken: a failed attempt like others
            future = Future()
            future.set_exception(error)
        under_way[future] = task, attempt
        future.add_done_callback(ended.put)

    display = _Display(title, len(tasks), len(tasks) - len(missing), progress)
    try:
        for task in missing:
            start(task, 1)
        while under_way:
            try:
                future = ended.get(timeout=1)  # seconds
            except queue.Empty:
                display.bar.refresh()
                continue
            task, attempt = under_way[future]
            try:
                outcome = future.result()
            except Exception as error:
                if attempt < attempts:
                    display.trying_again(task, attempt, attempts, error)
                    start(task, attempt + 1)
                else:
                    failures.append(Failure(task, attempt, error))
                    display.given_up(failures[-1])
            else:
                store.put(outcome)
                display.made(task, outcome)
            del under_way[future]
    except BaseException:
        _save_what_has_ended(under_way, store)
        raise
    finally:
        display.bar.close()
    return Report(len(tasks) - len(missing), len(missing) - len(failures), tuple(failures))


def _refuse_shared_files(tasks: Sequence[T], store: Store[T, Any]) -> None:
    names: dict[Path, str] = {}
    for task in tasks:
        path = store.path(task)
        if path in names:
            raise MnistStepsError(f"{task.name} is there twice: give variations an arm's name.")
        names[path] = task.name


def _save_what_has_ended(under_way: Mapping[Future[O], object], store: Store[Any, O]) -> None:
    for future in under_way:
        if not future.cancel() and future.done() and future.exception() is None:
            store.put(future.result())


def _brief(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


class _Display:
    """Tasks done, failures and time left: a bar in a terminal, lines in a log."""

    def __init__(self, title: str, total: int, found: int, shown: bool) -> None:
        self.total, self.found, self.ended, self.failed = total, found, 0, 0
        self.shown, self.start = shown, time.monotonic()
        # smoothing=0: the time left follows from the mean over all tasks so far, since
        # several workers end theirs in bursts. disable=None: no bar where nobody sees it move.
        self.bar = tqdm(
            total=total, initial=found, unit="run", desc=title, smoothing=0,
            disable=None if shown else True, postfix="0 failed",
        )  # fmt: skip

    def made(self, task: Task, outcome: Outcome) -> None:
        self._advance()
        self._line(f"{task.name}: {outcome.headline}")

    def trying_again(self, task: Task, attempt: int, attempts: int, error: Exception) -> None:
        self._line(f"{task.name}: attempt {attempt} of {attempts} failed with {_brief(error)}")

    def given_up(self, failure: Failure) -> None:
        self.failed += 1
        self.bar.set_postfix_str(f"{self.failed} failed", refresh=False)
        self._advance()
        self._line(str(failure))

    def _advance(self) -> None:
        self.ended += 1
        self.bar.update()

    def _line(self, text: str) -> None:
        if not self.shown:
            return
        if self.bar.disable:  # a log: each line also says what the bar would show
            done = self.found + self.ended - self.failed
            text += f" ({done} of {self.total} runs done, {self.failed} failed{self._time_left()})"
        tqdm.write(text, file=sys.stderr)

    def _time_left(self) -> str:
        left = self.total - self.found - self.ended
        if not (left and self.ended):
            return ""
        seconds = left * (time.monotonic() - self.start) / self.ended
        return f", about {tqdm.format_interval(seconds)} left"
