"""What runs inside the jail: gives up its rights, then traces a submission's network.

Started by `sandbox` as a file, with `python -I -S`; it is never imported. Its argument is one JSON
text; the submission's code comes on standard input. The answer leaves by standard output: S when
all is ready, then G and the graph's JSON, or P and what went wrong. What the submission prints goes
to standard error and cannot be taken for it. The submission's code shares this process and could
write an answer as well: it would only describe another network, which is then the one that is
graded.
"""

import ctypes
import gc
import json
import linecache
import os
import resource
import sys
import traceback
import types
from typing import Any

FILE = "model.py"


def main() -> None:
    settings = json.loads(sys.argv[1])
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    give_up_rights(settings)
    refuse_calls(bytes.fromhex(settings["refused"]))
    sys.path += settings["paths"]  # Python's own modules come first
    sys.dont_write_bytecode = True
    source = sys.stdin.buffer.read().decode("utf-8")

    # Nearly all the time of a jail is this import. What it makes stays, so that looking for
    # garbage in it, again and again as it grows, is an eighth of the work for nothing. And
    # of the functions that its libraries call in each other few will be called: each is looked
    # up when it is.
    gc.disable()
    sys.setdlopenflags(os.RTLD_LAZY)
    import torch  # before the limits: its size is not the submission's doing

    from mnist_steps import graph
    from mnist_steps.errors import MnistStepsError

    gc.freeze()
    gc.enable()
    torch.set_num_threads(1)
    if settings["limited"]:
        set_limits(settings)
    answer.write(b"S")  # from here on, whatever happens is the submission's doing
    answer.flush()
    try:
        found = graph.trace(make_model(source), tuple(settings["shape"])).as_data()
        answer.write(b"G" + json.dumps(found, separators=(",", ":")).encode())
    except MnistStepsError as error:
        answer.write(b"P" + str(error).encode())
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the submission's, too
        answer.write(b"P" + f"{where(error)}: {type(error).__name__}: {error}".encode())
    answer.flush()
    sys.stdout.flush()
    # Without the clean-up at a normal end, in which a submission's code would run once more.
    os._exit(0)


def give_up_rights(settings: dict[str, Any]) -> None:
    """From root to a user that exists nowhere; this also drops all capabilities, for good."""
    if settings["user"] is not None:
        os.setgroups([])
        os.setgid(settings["user"])
        os.setuid(settings["user"])


def refuse_calls(program: bytes) -> None:
    """Have the kernel refuse what `syscalls.program` says, to this process and all it starts."""
    if not program:
        return

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]

    no_new_privileges, seccomp, with_filter = 38, 22, 2  # of linux/prctl.h and linux/seccomp.h
    filled = Program(len(program) // 8, program)
    kernel = ctypes.CDLL(None, use_errno=True)
    for call in (
        (no_new_privileges, 1, 0, 0, 0),
        (seccomp, with_filter, ctypes.byref(filled), 0, 0),
    ):
        if kernel.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the filter of system calls was refused")


def set_limits(settings: dict[str, Any]) -> None:
    """Hard limits on what is used from here on; nobody in the jail may raise them again."""
    with open("/proc/self/statm") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + settings["cpu_seconds"]
    for limit, most in (
        # Address space rather than RLIMIT_DATA, which does not count shared memory. torch has
        # reserved gigabytes of it by now, so the limit is on the growth.
        (resource.RLIMIT_AS, in_use + settings["memory_bytes"]),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, settings["processes"]),
        (resource.RLIMIT_FSIZE, settings["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


def make_model(source: str) -> Any:
    """Run the submission's file as the module `model` and call its build_model()."""
    module = types.ModuleType("model")
    module.__file__ = FILE
    sys.modules["model"] = module
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    exec(compile(source, FILE, "exec"), module.__dict__)
    build_model = getattr(module, "build_model", None)
    if not callable(build_model):
        raise missing("it defines no function build_model()")
    model = build_model()
    from torch import nn

    if not isinstance(model, nn.Module):
        raise missing(f"build_model() returned a {type(model).__name__}, expected an nn.Module")
    return model


def missing(what: str) -> Exception:
    from mnist_steps.errors import MnistStepsError

    return MnistStepsError(f"{FILE}: {what}.")


def where(error: BaseException) -> str:
    """The line of the submission at which it failed."""
    if isinstance(error, SyntaxError) and error.filename == FILE:
        return f"{FILE}, line {error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == FILE
    ]
    return f"{FILE}, line {lines[-1]}" if lines else FILE


if __name__ == "__main__":
    main()
