"""The jail: a submission's `build_model()` runs in it and is traced, and only text comes out.

bubblewrap gives the process a file system of its own, which holds Python and torch, read-only,
and nothing else: no home, no data set, none of the project's records. There is no network, no
other process to be seen, no environment variable, no right beyond an ordinary user's. Limits on
memory, processor time, processes, file sizes, output and wall time end what does not end by
itself. What this keeps out and what not is told in docs/assignment/security.md.
"""

import functools
import importlib.util
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from mnist_steps.assignment import schema
from mnist_steps.assignment.findings import one_line
from mnist_steps.errors import MnistStepsError

PACKAGE = Path(__file__).parents[1]
INNER = Path(__file__).with_name("inner.py")
NEEDED = ("__init__.py", "errors.py", "graph.py")  # of this package, to trace a network
JAIL = Path("/jail")
SECONDS_TO_START = 300  # for `import torch`, which takes 3 s, and on a busy machine many more


class SandboxUnavailable(MnistStepsError):
    """There is no jail on this machine, or it cannot be started: not the submission's fault."""


class TraceFailed(MnistStepsError):
    """The submission's code failed, or went beyond a limit; the message is one line."""


@dataclass(frozen=True)
class Limits:
    """What a submission may use, on top of what `import torch` takes.

    seconds: wall time, from when the jail has imported torch
    cpu_seconds, memory_bytes: of each process
    processes: at a time; an honest trace needs one
    file_bytes: of each file, and all files together
    printed_bytes: on standard output and standard error together
    """

    seconds: float = 120
    cpu_seconds: int = 20
    memory_bytes: int = 1 << 30
    processes: int = 4
    file_bytes: int = 16 << 20
    printed_bytes: int = 1 << 20


@dataclass(frozen=True)
class Traced:
    """What came out of the jail; not one byte of it is to be believed.

    graph: JSON for `schema.parse`
    printed: the first characters of what the submission printed, safe to show
    level: 'bubblewrap', or 'none' when somebody insisted
    """

    graph: bytes
    printed: str
    level: str


def trace(source: str, *, unsafe: bool = False, limits: Limits | None = None) -> Traced:
    """Run the code of a model.py in the jail and trace the network that it builds.

    unsafe: where there is no jail run the code as this user, with all that this user may do;
        only the wall time and the output stay limited
    Raises TraceFailed when the code fails or goes beyond a limit, and SandboxUnavailable.
    """
    limits = limits or Limits()
    found = level()
    if found == "none" and not unsafe:
        raise unavailable()
    reading, writing = os.pipe()
    with open(reading, "rb") as answer, open(writing, "wb") as theirs:
        command = _command(found, theirs.fileno(), limits)
        received = _run(command, source, answer, theirs, limits)
    return Traced(_graph(received, limits), one_line(_text(received.printed)), found)


@functools.cache
def problem() -> str | None:
    """Why there is no jail on this machine; None when there is one. Found by starting one."""
    if shutil.which("bwrap") is None:
        return "the program bwrap was not found"
    command = [*_walls(), *_python_alone(), "-c", "print('inside')"]
    try:
        tried = subprocess.run(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap cannot be started ({one_line(error)})"
    if tried.stdout.strip() != b"inside":
        return f"bwrap fails here ({one_line(tried.stderr.decode(errors='replace'))})"
    return None


def level() -> str:
    """'bubblewrap' where a jail can be built, else 'none'."""
    return "bubblewrap" if problem() is None else "none"


def unavailable() -> SandboxUnavailable:
    return SandboxUnavailable(
        f"the code of a submission runs in a jail only, and there is none: {problem()}. "
        "Install bubblewrap (Debian and Ubuntu: sudo apt install bubblewrap). To run code "
        "that you have read yourself without a jail, say --unsafe."
    )


def describe() -> dict[str, Any]:
    """For reports: the level, what provides it, and its limits."""
    found = level()
    if found == "none":
        return {"level": found, "problem": problem()}
    version = subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout
    return {
        "level": found,
        "version": one_line(version),
        "started_as": "root" if os.geteuid() == 0 else "an ordinary user",
        "limits": asdict(Limits()),
    }


# ---- The walls ----------------------------------------------------------------------------------

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    # torch would look into every installed package for one that brings another kind of device.
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
}


def _command(found: str, answer: int, limits: Limits) -> list[str]:
    jailed = found == "bubblewrap"
    settings = {
        "answer": answer,
        "user": _stranger() if jailed and os.geteuid() == 0 else None,
        "paths": [str(path) for path in (*_libraries(), JAIL if jailed else PACKAGE.parent)],
        "shape": schema.INPUT_SHAPE,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "limited": jailed,
        "processes": limits.processes,
        "file_bytes": limits.file_bytes,
    }
    walls, inner = (_walls(limits.file_bytes), JAIL / INNER.name) if jailed else ([], INNER)
    return [*walls, *_python_alone(), "-B", str(inner), json.dumps(settings)]


def _walls(file_bytes: int = Limits.file_bytes) -> list[str]:
    """bubblewrap and its options; the command to run follows."""
    walls = ["bwrap", "--die-with-parent", "--new-session"]
    walls += "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try".split()
    walls += ["--hostname", "jail", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # only to become another user, see inner.give_up_rights
        walls += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        walls += ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    walls += ["--perms", "1777", "--size", str(file_bytes), "--tmpfs", "/tmp"]
    visible = [Path("/usr")]
    walls += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        place = Path("/", name)
        if place.is_symlink():
            walls += ["--symlink", os.readlink(place), str(place)]
        elif place.exists():
            walls += ["--ro-bind", str(place), str(place)]
    for path in (Path("/etc/ld.so.cache"), Path("/sys/devices/system/cpu")):
        walls += ["--ro-bind-try", str(path), str(path)]
    for path in (Path(sys.base_prefix), *_libraries()):
        if not any(path.is_relative_to(one) for one in visible):
            walls += [*_open_folders_to(path), "--ro-bind", str(path), str(path)]
            visible.append(path)
    # Where this package is installed, its data set and records would be visible.
    if any(PACKAGE.is_relative_to(one) for one in visible):
        walls += ["--tmpfs", str(PACKAGE), "--remount-ro", str(PACKAGE)]
    walls += ["--dir", str(JAIL), "--dir", str(JAIL / "mnist_steps")]
    for name in NEEDED:
        for path in (PACKAGE / name, Path(importlib.util.cache_from_source(PACKAGE / name))):
            place = JAIL / "mnist_steps" / path.relative_to(PACKAGE)
            walls += ["--ro-bind-try", str(path), str(place)]
    walls += ["--ro-bind", str(INNER), str(JAIL / INNER.name)]
    walls += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    return [*walls, "--remount-ro", "/", "--chdir", "/tmp"]


def _open_folders_to(path: Path) -> list[str]:
    """Options that make the folders above the path; those that --ro-bind makes are root's alone."""
    return [part for folder in reversed(path.parents[:-1]) for part in ("--dir", str(folder))]


def _python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


def _python_alone() -> list[str]:
    """The interpreter, with none of what installed packages have it do whenever it starts."""
    return [_python(), "-I", "-S"]


@functools.cache
def _libraries() -> tuple[Path, ...]:
    """The folders that torch and what it needs are imported from."""
    found = []
    for name in ("torch", "numpy", "typing_extensions"):
        specification = importlib.util.find_spec(name)
        if specification is None or specification.origin is None:
            raise SandboxUnavailable(f"{name} is not installed, and the jail needs it.")
        origin = Path(specification.origin)
        found.append(origin.parents[1] if origin.name == "__init__.py" else origin.parent)
    return tuple(dict.fromkeys(found))


def _stranger() -> int:
    """A user number that nobody has, another one each time: limits on processes count by user."""
    return 1_000_000 + secrets.randbelow(1_000_000_000)


# ---- Running, and reading what comes out --------------------------------------------------------


@dataclass(frozen=True)
class _Received:
    """answer: what came through the pipe; printed: on standard output and error; status: exit"""

    answer: bytes
    printed: bytes
    status: int


def _run(
    command: Sequence[str], source: str, answer: BinaryIO, theirs: BinaryIO, limits: Limits
) -> _Received:
    """Start the command, hand it the source, and take what it gives, up to the limits.

    Raises TraceFailed at a limit. Whatever happens, no process of the jail is left.
    """
    with subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            theirs.close()  # the jail's copy is the only one left: its end is the answer's end
            try:
                process.stdin.write(source.encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended before it read: its answer says more
            answered, printed = _receive(process, answer, process.stdout, limits)
        finally:
            # The group is killed before its leader is waited for: until then nobody else can
            # have the leader's number. bubblewrap's death ends every process in the jail.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _Received(answered, printed, process.returncode)


def _receive(
    process: "subprocess.Popen[bytes]", answer: IO[bytes], stdout: IO[bytes], limits: Limits
) -> tuple[bytes, bytes]:
    """Read both pipes as they fill, until both end or the process does."""
    received = {answer.fileno(): bytearray(), stdout.fileno(): bytearray()}
    ready_at: float | None = None
    started_at = time.monotonic()
    with selectors.DefaultSelector() as open_pipes:
        for pipe in received:
            open_pipes.register(pipe, selectors.EVENT_READ)
        while open_pipes.get_map():
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            readable = open_pipes.select(0 if ended else 0.2)
            if ended and not readable:  # something it left behind holds the pipes open
                break
            for key, _ in readable:
                chunk = os.read(key.fd, 1 << 16)
                received[key.fd] += chunk
                if not chunk:
                    open_pipes.unregister(key.fd)
            if len(received[stdout.fileno()]) > limits.printed_bytes:
                raise TraceFailed(
                    f"model.py printed more than {limits.printed_bytes:,} bytes; expected that it "
                    "builds a network and prints little or nothing."
                )
            if len(received[answer.fileno()]) > schema.LARGEST_TEXT + 2:
                raise TraceFailed(
                    f"the network's description takes more than {schema.LARGEST_TEXT // 1024} KB, "
                    f"expected at most {schema.MOST_NODES} operations."
                )
            now = time.monotonic()
            if ready_at is None and received[answer.fileno()]:
                ready_at = now
            if ready_at is None and now - started_at > SECONDS_TO_START:
                raise SandboxUnavailable(
                    f"the jail did not import torch within {SECONDS_TO_START} s: this machine is "
                    "too busy. Try again later."
                )
            if ready_at is not None and now - ready_at > limits.seconds:
                raise TraceFailed(
                    f"model.py took longer than {limits.seconds:g} s; expected that it builds a "
                    "network within a second. Look for an endless loop."
                )
    return bytes(received[answer.fileno()]), bytes(received[stdout.fileno()])


def _graph(received: _Received, limits: Limits) -> bytes:
    """The graph in the answer of `inner`: S when it is ready, then G and a graph, or P and why
    there is none."""
    if not received.answer.startswith(b"S"):
        raise SandboxUnavailable(
            f"the jail ended with status {received.status} before it came to the submission: "
            f"{one_line(_text(received.printed)) or 'it printed nothing'}."
        )
    kind, text = received.answer[1:2], received.answer[2:]
    if kind == b"G":
        return text
    if kind == b"P":
        raise TraceFailed(one_line(_text(text)))
    raise TraceFailed(
        f"model.py ended the program (status {received.status}) before its network was traced: it "
        f"called exit, crashed, or used more than {limits.cpu_seconds} s of processor time. It "
        f"printed: {one_line(_text(received.printed)) or 'nothing'}."
    )


def _text(received: bytes) -> str:
    return received.decode(errors="replace")
