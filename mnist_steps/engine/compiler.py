"""From C to functions that Python can call: compiled on first use, then kept.

What is compiled fits the processor at hand, and is found again by a name that carries two
digests: of all that decided it (source, options, compiler, processor), so that a change of any
of them makes another file, and of the file's own bytes, so that a damaged one is not loaded.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_steps import data
from mnist_steps.errors import MnistStepsError

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.[ch]")))
# GCC first: its OpenMP runtime is the one that PyTorch for Linux brings. The system then loads it
# only once, and both share their threads; two runtimes would let theirs wait for each other.
COMPILERS = ("gcc", "cc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fPIC")
# Where a compiler has no OpenMP, as Apple's, the functions use one thread.
THREADS = (("-fopenmp",), ())


@functools.cache
def library() -> ctypes.CDLL:
    """The functions of network.c. Raises MnistStepsError when they cannot be compiled."""
    path = _compiled()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MnistStepsError(f"{path} cannot be loaded ({error}): train without fast.") from error


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
            "Free it for writing, or train without fast."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise MnistStepsError(
            f"{place} must be a folder that only you can use, for code is loaded from there: "
            "found another. Delete it; it is made anew."
        )
    return place


def _compiled() -> Path:
    """The compiled file, from the folder or made now."""
    if sys.platform == "win32":
        raise MnistStepsError("fast needs Linux or macOS: train without it.")
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise MnistStepsError(
            f"fast compiles C and found no compiler ({', '.join(COMPILERS)}): install one, "
            "such as Debian's package gcc, or train without fast."
        )
    place, problem = folder(), ""
    for threads in THREADS:
        command = [compiler, *FLAGS, *threads]
        # All that the compiler knows of itself and, through -march=native, of the processor.
        known = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
        sources = [path.read_bytes() for path in SOURCES]
        decided = b"\0".join(("\n".join((*command, known.stdout)).encode(), *sources))
        prefix = f"kernels-{_digest(decided)}-"
        for path in place.glob(f"{prefix}*.so"):
            if path.name == f"{prefix}{_digest(path.read_bytes())}.so":
                return path
        with tempfile.TemporaryDirectory(dir=place) as temporary:
            result = Path(temporary) / "kernels.so"
            to_compile = [str(path) for path in SOURCES if path.suffix == ".c"]
            made = _run([*command, "-shared", "-o", str(result), *to_compile, "-lm"])
            if made.returncode == 0:
                path = place / f"{prefix}{_digest(result.read_bytes())}.so"
                os.replace(result, path)  # complete, or not there
                return path
            problem = problem or made.stderr
    lines = problem.strip().splitlines() or ["no message"]
    reason = next((line for line in lines if "error" in line), lines[0])
    raise MnistStepsError(
        f"{compiler} cannot compile the code for fast ({reason}): train without fast."
    )


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MnistStepsError(f"{command[0]} cannot be started ({error}).") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
