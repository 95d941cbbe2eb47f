"""The jail: a submission's `build_model()` runs in it and is traced, and only text comes out.

bubblewrap, or else podman or docker, gives the process a file system of its own, which holds
Python and torch, read-only, and nothing else: no home, no data set, none of the project's records.
There is no network, no other process to be seen, no environment variable, no right beyond an
ordinary user's. Limits on memory, processor time, processes, file sizes, output and wall time end
what does not end by itself. What this keeps out and what not is told in
docs/assignment/security.md.
"""

import functools
import importlib.util
import io
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mnist_steps.assignment import schema, syscalls
from mnist_steps.assignment.findings import one_line
from mnist_steps.data import INPUT_SHAPE
from mnist_steps.errors import MnistStepsError

PACKAGE = Path(__file__).parents[1]
INNER = Path(__file__).with_name("inner.py")
NEEDED = ("__init__.py", "errors.py", "graph")  # of this package, to trace a network
JAIL = Path("/jail")
EMPTY = "mnist-steps-empty"  # docker's name for an image with nothing in it
TORCH_BYTES = 1 << 30  # memory that `import torch` may take in a container; 0.4 GB were seen
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
    files: that are there at a time; each takes memory, however small it is
    printed_bytes: on standard output and standard error together
    """

    seconds: float = 120
    cpu_seconds: int = 20
    memory_bytes: int = 1 << 30
    processes: int = 4
    file_bytes: int = 16 << 20
    files: int = 1000
    printed_bytes: int = 1 << 20


@dataclass(frozen=True)
class Traced:
    """What came out of the jail; not one byte of it is to be believed.

    graph: JSON for `schema.parse`
    printed: the first characters of what the submission printed, safe to show
    level: one of `LEVELS`, or 'none' when somebody insisted
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
    with _walls_of(found, limits) as walls:
        received = _run([*walls, *_program(found, limits)], source, limits, found)
    return Traced(_graph(received, limits), one_line(_text(received.printed)), found)


LEVELS = {"bubblewrap": "bwrap", "podman": "podman", "docker": "docker"}  # and what they start


@functools.cache
def problem_with(found: str) -> str | None:
    """Why there is no jail of this level here; None when there is one. Found by starting one."""
    program = LEVELS[found]
    if shutil.which(program) is None:
        return f"the program {program} was not found"
    if found == "bubblewrap" and not syscalls.program():
        known = " or ".join(syscalls.ARCHITECTURES)
        return f"{program} needs a filter of system calls, which is written for {known} only"
    try:
        with _walls_of(found, Limits()) as walls:
            command = [*walls, *_python_alone(), "-c", "print('inside')"]
            tried = subprocess.run(
                command,
                env=_environment(found),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} cannot be started ({one_line(error)})"
    if tried.stdout.strip() != b"inside":
        return f"{program} fails here ({one_line(tried.stderr.decode(errors='replace'))})"
    return None


def problem() -> str | None:
    """Why there is no jail on this machine; None when there is one."""
    problems = []
    for found in LEVELS:
        one = problem_with(found)
        if one is None:
            return None
        problems.append(one)
    return "; ".join(problems)


def level() -> str:
    """The first of `LEVELS` that works here, else 'none'."""
    if problem() is not None:
        return "none"
    return next(found for found in LEVELS if problem_with(found) is None)


def unavailable() -> SandboxUnavailable:
    return SandboxUnavailable(
        f"the code of a submission runs in a jail only, and there is none: {problem()}. "
        "Install bubblewrap (Debian and Ubuntu: sudo apt install bubblewrap), or podman. To run "
        "code that you have read yourself without a jail, say --unsafe."
    )


def describe() -> dict[str, Any]:
    """For reports: the level, what provides it, and its limits."""
    found = level()
    if found == "none":
        return {"level": found, "problem": problem()}
    version = subprocess.run([LEVELS[found], "--version"], capture_output=True, text=True).stdout
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


def _program(found: str, limits: Limits) -> list[str]:
    """Python, `inner` and its settings."""
    jailed = found != "none"
    becomes_another = found == "bubblewrap" and os.geteuid() == 0  # containers begin as another
    settings = {
        "user": _stranger() if becomes_another else None,
        "paths": [str(path) for path in (*_libraries(), JAIL if jailed else PACKAGE.parent)],
        "refused": syscalls.program().hex() if jailed else "",
        "shape": INPUT_SHAPE,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "limited": jailed,
        "processes": limits.processes,
        "file_bytes": limits.file_bytes,
    }
    inner = JAIL / INNER.name if jailed else INNER
    return [*_python_alone(), "-B", str(inner), json.dumps(settings)]


@contextmanager
def _walls_of(found: str, limits: Limits) -> Iterator[list[str]]:
    """What to put before a command, for it to run in a jail. Of a container nothing is left."""
    if found in ("bubblewrap", "none"):  # which end with their process
        yield _walls(limits.file_bytes) if found == "bubblewrap" else []
        return
    name = f"mnist-steps-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="mnist-steps-") as root:
        os.chmod(root, 0o755)
        try:
            yield _container(found, name, root, limits)
        finally:  # a container goes on when the program that started it is gone
            subprocess.run([found, "rm", "--force", name], capture_output=True, timeout=60)


def _environment(found: str) -> dict[str, str] | None:
    """For the program that builds the jail; podman and docker need their users' own."""
    return None if found in ("podman", "docker") else ENVIRONMENT


def _walls(file_bytes: int = Limits.file_bytes) -> list[str]:
    """bubblewrap and its options; the command to run follows."""
    walls = ["bwrap", "--die-with-parent", "--new-session"]
    walls += "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try".split()
    walls += "--hostname jail --cap-drop ALL".split()
    if os.geteuid() == 0:  # only to become another user, see inner.give_up_rights
        walls += "--cap-add CAP_SETUID --cap-add CAP_SETGID".split()
    else:
        walls += "--unshare-user --disable-userns --uid 65534 --gid 65534".split()
    walls += ["--perms", "1777", "--size", str(file_bytes), "--tmpfs", "/tmp"]
    walls += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        place = Path("/", name)
        if place.is_symlink():
            walls += ["--symlink", os.readlink(place), str(place)]
        elif place.exists():
            walls += ["--ro-bind", str(place), str(place)]
    for path in (Path("/etc/ld.so.cache"), Path("/sys/devices/system/cpu")):
        walls += ["--ro-bind-try", str(path), str(path)]
    for path in _visible():
        walls += [*_open_folders_to(path), "--ro-bind", str(path), str(path)]
    if _package_is_visible():
        walls += ["--tmpfs", str(PACKAGE), "--remount-ro", str(PACKAGE)]
    walls += ["--dir", str(JAIL), "--dir", str(JAIL / "mnist_steps")]
    for path, place in _own_files():
        walls += ["--ro-bind", str(path), str(place)]
    walls += "--proc /proc --dev /dev --remount-ro /dev --remount-ro / --chdir /tmp".split()
    return walls


def _container(found: str, name: str, root: str, limits: Limits) -> list[str]:
    """podman or docker and its options; the command to run follows.

    root: an empty folder, in which podman makes the places to mount things at
    """
    user = _stranger()
    memory = str(limits.memory_bytes + TORCH_BYTES)
    walls = [found, "run", "--rm", "--interactive", "--name", name, "--hostname", "jail"]
    walls += "--network none --ipc none --read-only --log-driver none --cap-drop ALL".split()
    walls += "--security-opt no-new-privileges --stop-signal KILL".split()
    walls += ["--user", f"{user}:{user}", "--workdir", "/tmp"]
    walls += ["--memory", memory, "--memory-swap", memory, "--cpus", "1", "--pids-limit", "16"]
    walls += "--ulimit nofile=64:64 --ulimit nproc=16:16 --ulimit core=0:0".split()
    # podman would copy what is under a tmpfs into it.
    empty = ",notmpcopyup" if found == "podman" else ""
    walls += ["--tmpfs", f"/tmp:rw,nosuid,nodev,mode=1777,size={limits.file_bytes}{empty}"]
    for variable, value in ENVIRONMENT.items():
        walls += ["--env", f"{variable}={value}"]
    shown = [Path("/usr"), *_visible()]
    shown += [path for one in ("bin", "lib", "lib64") if (path := Path("/", one)).exists()]
    shown += [path for path in (Path("/etc/ld.so.cache"),) if path.exists()]
    for path, place in [*((path, path) for path in shown), *_own_files()]:
        walls += ["--volume", f"{path}:{place}:ro"]
    if _package_is_visible():
        walls += ["--tmpfs", f"{PACKAGE}:ro,size=4k{empty}"]
    if found == "podman":
        walls += "--read-only-tmpfs=false --http-proxy=false --no-hosts".split()
        return [*walls, "--timeout", str(SECONDS_TO_START + int(limits.seconds)), "--rootfs", root]
    return [*walls, "--pull", "never", _empty_image()]


def _empty_image() -> str:
    """The name of docker's image with nothing in it, made here when it is not there yet."""
    known = subprocess.run(["docker", "image", "inspect", EMPTY], capture_output=True, timeout=60)
    if known.returncode != 0:
        with io.BytesIO() as nothing:
            tarfile.open(fileobj=nothing, mode="w").close()
            subprocess.run(  # should it fail, the run that follows says why
                ["docker", "import", "-", EMPTY],
                input=nothing.getvalue(),
                capture_output=True,
                timeout=60,
            )
    return EMPTY


def _visible() -> list[Path]:
    """The folders that Python and torch need, besides /usr."""
    visible = [Path("/usr")]
    for path in (Path(sys.base_prefix), *_libraries()):
        if not any(path.is_relative_to(one) for one in visible):
            visible.append(path)
    return visible[1:]


def _package_is_visible() -> bool:
    """Whether this package is installed there: its data set and records have to be hidden."""
    return any(PACKAGE.is_relative_to(one) for one in (Path("/usr"), *_visible()))


def _own_files() -> Iterator[tuple[Path, Path]]:
    """What the jail has of this package, with its bytecode, and where."""
    for name in NEEDED:
        for path in (PACKAGE / name, Path(importlib.util.cache_from_source(PACKAGE / name))):
            if path.exists():
                yield path, JAIL / "mnist_steps" / path.relative_to(PACKAGE)
    yield INNER, JAIL / INNER.name


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
    """answer: from standard output; printed: on standard error; status: exit"""

    answer: bytes
    printed: bytes
    status: int


def _run(
    command: Sequence[str], source: str, limits: Limits, found: str = "bubblewrap"
) -> _Received:
    """Start the command, hand it the source, and take what it gives, up to the limits.

    Raises TraceFailed at a limit. Whatever happens, no process of the jail is left.
    """
    with subprocess.Popen(
        command,
        env=_environment(found),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            try:
                process.stdin.write(source.encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended before it read: its answer says more
            answered, printed = _receive(
                process, process.stdout, process.stderr, limits, found == "bubblewrap"
            )
        finally:
            # The group is killed before its leader is waited for: until then nobody else can
            # have the leader's number. bubblewrap's death ends every process in the jail.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _Received(answered, printed, process.returncode)


def _receive(
    process: "subprocess.Popen[bytes]",
    answer: IO[bytes],
    printed: IO[bytes],
    limits: Limits,
    jailed: bool,
) -> tuple[bytes, bytes]:
    """Read both pipes as they fill, until both end or the process does.

    jailed: the process is bubblewrap
    """
    received = {answer.fileno(): bytearray(), printed.fileno(): bytearray()}
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
            if len(received[printed.fileno()]) > limits.printed_bytes:
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
            if ready_at is not None and jailed and _files_of(process.pid) > limits.files:
                raise TraceFailed(
                    f"model.py made more than {limits.files:,} files; expected that it builds a "
                    "network and writes little or nothing."
                )
            if ready_at is not None and now - ready_at > limits.seconds:
                raise TraceFailed(
                    f"model.py took longer than {limits.seconds:g} s; expected that it builds a "
                    "network within a second. Look for an endless loop."
                )
    return bytes(received[answer.fileno()]), bytes(received[printed.fileno()])


def _files_of(bubblewrap: int) -> int:
    """How many files and folders there are in the /tmp of a jail that is set up.

    Containers count the memory of files as their processes', bubblewrap only that in them.
    """
    try:
        children = Path(f"/proc/{bubblewrap}/task/{bubblewrap}/children").read_text().split()
        found = os.statvfs(f"/proc/{children[0]}/root/tmp")
    except (OSError, IndexError):  # it has just ended, or is no bubblewrap
        return 0
    return found.f_files - found.f_ffree


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
