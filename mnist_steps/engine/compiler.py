"""From C to functions that Python can call: compiled on first use, then kept.

What is compiled fits the processor at hand, and is found again by a name that carries two
digests: of all that decided it (source, options, compiler, processor), so that a change of any
of them makes another file, and of the file's own bytes, so that a damaged one is not loaded.
"""

import ctypes
import functools
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_steps import data
from mnist_steps.errors import MnistStepsError

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.[ch]")))
# GCC first: its OpenMP runtime is the one that PyTorch for Linux brings. The system then loads it
# only once, and both share their threads; two runtimes would let theirs wait for each other.
COMPILERS = ("gcc", "cc", "clang")
# Last a compiler in a Python package, which `pip install 'mnist-steps[engine]'` brings.
PACKAGE = "ziglang"
FLAGS = ("-std=gnu11", "-O3", "-fvisibility=hidden")
# Where a compiler has no OpenMP, as Apple's, the functions use one thread. Not every compiler
# knows how to ask for the processor at hand.
OPTIONS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())
SUFFIX = ".dll" if sys.platform == "win32" else ".so"
LINKED = () if sys.platform == "win32" else ("-fPIC", "-lm")


def library() -> ctypes.CDLL:
    """The functions of network.h, by the first compiler and the first options that make them.

    Raises MnistStepsError when there is no compiler, or none that can.
    """
    found = _library()
    if isinstance(found, MnistStepsError):
        raise found
    return found


@functools.cache  # what failed, too: to try all compilers takes a while
def _library() -> ctypes.CDLL | MnistStepsError:
    problem = ""
    for compiler in compilers():
        for options in OPTIONS:
            try:
                return ctypes.CDLL(str(_compiled([*compiler, *FLAGS, *options])))
            except MnistStepsError as error:
                return error
            except (_Refused, OSError) as error:
                name = PACKAGE if PACKAGE in compiler else Path(compiler[0]).name
                problem = problem or f"{name} cannot compile the engine ({error})"
    return MnistStepsError(
        problem
        or f"the engine is C code, and no compiler was found ({', '.join(COMPILERS)}, {PACKAGE}). "
        "Install one, such as Debian's package gcc, or: pip install 'mnist-steps[engine]'"
    )


def compilers() -> Iterator[list[str]]:
    """The commands of those that are installed, the system's and that of a package.

    MNIST_STEPS_COMPILER=system or =package: only these.
    """
    only = os.environ.get("MNIST_STEPS_COMPILER")
    if only != "package":
        for name in COMPILERS:
            path = shutil.which(name)
            if path is not None:
                yield [path]
    if only != "system" and importlib.util.find_spec(PACKAGE) is not None:
        yield [sys.executable, "-m", PACKAGE, "cc"]


def folder() -> Path:
    """Where compiled files are kept: a folder that nobody else may change.

    Raises MnistStepsError when there is no such folder and none can be made.
    """
    place = data.root() / "kernels"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.lstat()
    except OSError as error:
        raise MnistStepsError(
            f"cannot make the folder {place} for compiled code ({error.strerror or error}). "
            "Free it for writing, or name another cache folder with MNIST_STEPS_DATA."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or not _private(found):
        raise MnistStepsError(
            f"{place} must be a folder that only you can use, for code is loaded from there: "
            "found another. Delete it; it is made anew."
        )
    return place


def _private(found: os.stat_result) -> bool:
    """On Windows the user's folder of caches, where it lies, is private as a whole."""
    if sys.platform == "win32":
        return True
    return found.st_uid == os.getuid() and not found.st_mode & 0o077


class _Refused(Exception):
    """A compiler does not take its options, or the source; in one line."""


def _compiled(command: list[str]) -> Path:
    """The compiled file, from the folder or made now. Raises _Refused, and as `folder` does."""
    place = folder()
    try:
        with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as temporary:
            nothing, result = Path(temporary, "nothing.c"), Path(temporary, f"kernels{SUFFIX}")
            nothing.write_bytes(b"")
            # All that the compiler knows of itself and, through its options, of the processor.
            known = _run([*command, "-dM", "-E", str(nothing)])
            sources = [path.read_bytes() for path in SOURCES]
            decided = b"\0".join(("\n".join((*command, known)).encode(), *sources))
            prefix = f"kernels-{_digest(decided)}-"
            for path in place.glob(f"{prefix}*{SUFFIX}"):
                if path.name == f"{prefix}{_digest(path.read_bytes())}{SUFFIX}":
                    return path
            to_compile = [str(path) for path in SOURCES if path.suffix == ".c"]
            _run([*command, "-shared", "-o", str(result), *to_compile, *LINKED])
            path = place / f"{prefix}{_digest(result.read_bytes())}{SUFFIX}"
            os.replace(result, path)  # complete, or not there
            return path
    except OSError as error:
        raise MnistStepsError(
            f"cannot write to {place}, where compiled code is kept ({error.strerror or error}). "
            "Free it for writing, or name another cache folder with MNIST_STEPS_DATA."
        ) from error


def _run(command: list[str]) -> str:
    """What it printed. Raises _Refused when it cannot be started or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise _Refused(str(error)) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise _Refused(next((line for line in lines if "error" in line), lines[0]))
    return done.stdout


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
