"""Where the runs of a study are made: processes on this machine, or a Dask cluster.

Both are executors in the sense of `concurrent.futures`: `submit` takes a function and gives a
future. In both, the death of a worker costs only the task that it was working on.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mnist_steps.errors import MnistStepsError

if TYPE_CHECKING:
    from distributed import Client

# A new interpreter for every worker: a copy of this process, as Linux makes by default, would
# inherit torch's threads and locks in whatever state they are.
SPAWN = multiprocessing.get_context("spawn")


class WorkerDied(Exception):
    """A worker process ended before its task did, perhaps killed for want of memory."""


class Processes(ThreadPoolExecutor):
    """Worker processes on this machine, each looked after by a thread of its own.

    A `ProcessPoolExecutor` fails every task it has when one worker dies. Here only that
    worker's task fails, with WorkerDied, and the thread's next task gets a new worker.
    As a context manager it waits for what is under way, unless it is left by an exception,
    such as Ctrl-C: then the workers are ended.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, initializer=_leave_interrupts_to_the_main_thread)
        self._of_this_thread = threading.local()
        self._workers: list[_Worker] = []
        self._changing = threading.Lock()
        self._ended = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """`function` must be importable by name, and all that it takes and gives picklable."""
        return super().submit(self._hand_over, function, args, kwargs)

    def _hand_over(self, *call: Any) -> Any:
        worker = getattr(self._of_this_thread, "worker", None)
        if worker is None or not worker.process.is_alive():
            worker = self._of_this_thread.worker = self._start_worker()
        return worker.run(*call)

    def _start_worker(self) -> "_Worker":
        with self._changing:
            if self._ended:
                raise WorkerDied("the executor was shut down")
            self._workers = [worker for worker in self._workers if worker.process.is_alive()]
            self._workers.append(_Worker())
            return self._workers[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As every executor's; with `cancel_futures`, also end tasks that are under way."""
        if cancel_futures:
            super().shutdown(wait=False, cancel_futures=True)
            with self._changing:
                self._ended = True
                for worker in self._workers:
                    worker.process.terminate()
        super().shutdown(wait)
        if wait:
            for worker in self._workers:
                worker.end()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


class _Worker:
    """A process, and the connection over which it gets calls and gives answers."""

    def __init__(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # with the worker's copy the only one left, its death ends our waiting

    def run(self, *call: Any) -> Any:
        try:
            self.connection.send(call)
            succeeded, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerDied(
                f"the worker process ended with {_describe_exit(self.process.exitcode)}"
            ) from None
        if succeeded:
            return answer
        raise answer

    def end(self) -> None:
        self.connection.close()
        self.process.join()


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def _leave_interrupts_to_the_main_thread() -> None:
    """Block SIGINT in this thread and, by inheritance, in the processes that it starts.

    Ctrl-C in a terminal goes to every process; only the study itself is to act on it.
    """
    if sys.platform != "win32":
        # Python starts this helper with the first process and then unblocks SIGINT: start it now.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _serve(connection: Connection) -> None:
    """A worker's life: take a call, answer, until the other end closes."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    while True:
        answer: tuple[bool, Any]
        try:
            function, args, kwargs = connection.recv()
            answer = True, function(*args, **kwargs)
        except EOFError:
            return
        except Exception as error:
            error.add_note(f"In the worker process:\n{traceback.format_exc()}")
            answer = False, error
        try:
            connection.send(answer)
        except (TypeError, AttributeError, ValueError) as error:  # pickle's ways to refuse
            connection.send((False, TypeError(f"the answer cannot be sent back: {error}")))


def _end_with_the_parent() -> None:
    """A study that was killed leaves no worker behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only ever called in a worker process"
    parent.join()
    os._exit(1)


class DaskCluster(Executor):
    """A Dask client's own executor, except that it refuses tasks once the scheduler is gone.

    A client that has lost its scheduler takes tasks all the same, and their futures never end.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        # pure=False: a task that is tried again must run again, not get its old answer.
        self._executor = client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if self._client.status != "running":
            raise ConnectionError("the connection to the Dask scheduler was lost")
        return self._executor.submit(function, *args, **kwargs)


@contextmanager
def chosen(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """A Dask scheduler's workers, else processes here; workers: None for one a CPU core."""
    if scheduler is None:
        with Processes(workers or os.cpu_count() or 1) as processes:
            yield processes
    else:
        with dask_cluster(scheduler) as cluster:
            yield cluster


@contextmanager
def dask_cluster(scheduler: str, timeout_seconds: float = 10) -> Iterator[Executor]:
    """The workers of a Dask scheduler, such as 'tcp://192.168.0.5:8786', as an executor.

    A task whose worker dies is started again elsewhere by the scheduler itself, three times by
    default. Raises MnistStepsError when the extra is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MnistStepsError(
            "--scheduler needs Dask, which is not installed. "
            'Install it with: pip install "mnist_steps[dask]"'
        ) from error
    try:
        client = Client(scheduler, timeout=timeout_seconds, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise MnistStepsError(
            f"no Dask scheduler answers at {scheduler!r} within {timeout_seconds:.0f} s "
            f"({str(error).splitlines()[0]}). Start one with: dask scheduler"
        ) from error
    with client:
        if not client.nthreads():
            print(
                f"The scheduler at {scheduler} has no workers yet; the study waits for them. "
                f"Start one with: dask worker {scheduler} --nthreads 1",
                file=sys.stderr,
            )
        yield DaskCluster(client)
