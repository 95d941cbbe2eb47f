"""Where a training runs: its device and CPU threads, and what is noted of them."""

import platform
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta

from mnist_steps.errors import MnistStepsError

# What these can be, for whoever reads them from a file.
Threads = Annotated[int, Meta(ge=1, le=1024)]
Seconds = Annotated[float, Meta(gt=0)]
EngineName = Annotated[str, Meta(pattern="^(torch|engine)$")]


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

    def as_data(self) -> dict[str, Any]:
        """What is kept of it where no epoch's seconds are."""
        return {name: value for name, value in vars(self).items() if name != "seconds"}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Environment":
        """What `as_data` described. Raises msgspec.ValidationError when it is not that."""
        return msgspec.convert({"seconds": ()} | data, cls)


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
    """This machine as it is now, with the wall time of each epoch in seconds."""
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
    checkout = Path(__file__).parents[2]
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
