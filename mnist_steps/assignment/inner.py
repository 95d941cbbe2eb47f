"""What runs inside the jail: gives up its rights, then traces a submission's network.

Started by `sandbox` as a file, with `python -I -S`. Its argument is one JSON text; the
submission's code comes on standard input. The answer leaves by standard output: S when all is
ready, then G and the graph's JSON, or P and what went wrong. What the submission prints goes to
standard error and cannot be taken for it. The submission's code shares this process and could
write an answer as well: it would only describe another network, which is then the one that is
graded.

A file is taken as its author has it, as far as it describes a network: what a notebook left in
it, and imports of modules that are not here, stop it only where they are used.
"""

import builtins
import ctypes
import gc
import json
import linecache
import os
import re
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

    import mnist_steps.graph.besides  # noqa: F401

    gc.freeze()
    gc.enable()
    torch.set_num_threads(1)
    if settings["limited"]:
        set_limits(settings)
    answer.write(b"S")  # from here on, whatever happens is the submission's doing
    answer.flush()
    answer.write(outcome(source, tuple(settings["shape"])))
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


def outcome(source: str, shape: tuple[int, ...]) -> bytes:
    """G and the network's description, with what it does besides; or P and what went wrong."""
    from mnist_steps import graph
    from mnist_steps.errors import MnistStepsError
    from mnist_steps.graph.besides import besides

    try:
        model = make_model(source)
        traced = graph.trace(model, shape)
        described = traced.as_data() | {"besides": besides(model, traced)}
        return b"G" + json.dumps(described, separators=(",", ":")).encode()
    except MnistStepsError as error:
        first, *rest = str(error).splitlines()
        if rest:  # where it stopped, and at the end what to do
            first = f"{first} {' '.join(rest[:-1])} Hint: {rest[-1].strip()}"
        return b"P" + first.encode(errors="replace")
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the submission's, too
        return b"P" + f"{where(error)}: {explain(error)}".encode(errors="replace")


def make_model(source: str) -> Any:
    """Run the submission's file as the module `model` and call its build_model()."""
    module = types.ModuleType("model")
    module.__file__ = FILE
    module.__package__ = HERE
    module.__dict__["__builtins__"] = vars(builtins) | {"__import__": import_or_stand_in}
    sys.modules["model"] = module
    source = source.removeprefix("\ufeff")  # some editors write it before UTF-8
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    exec(compile_without_magics(source), module.__dict__)
    from torch import nn

    build_model = getattr(module, "build_model", None)
    if not callable(build_model):
        networks = [
            name for name, one in vars(module).items()
            if isinstance(one, type) and issubclass(one, nn.Module) and one.__module__ == "model"
        ]  # fmt: skip
        name = networks[-1] if networks else "YourNetwork"
        raise missing(
            "it defines no function build_model()",
            f"end the file with `def build_model(): return {name}()`",
        )
    model = build_model()
    if not isinstance(model, nn.Module):
        raise missing(
            f"build_model() returned a {type(model).__name__}, expected an nn.Module",
            "return the network itself, as in `return Net()`",
        )
    return model


def compile_without_magics(source: str) -> types.CodeType:
    """The file's code, with lines that only a notebook understands (%time, !pip) as comments."""
    lines = source.splitlines(keepends=True)
    while True:
        try:
            return compile("".join(lines), FILE, "exec")
        except SyntaxError as error:
            place = (error.lineno or 0) - 1
            if not (0 <= place < len(lines) and re.match(r"\s*[%!]", lines[place])):
                raise
            lines[place] = re.sub(r"[%!]", "pass  # ", lines[place], count=1)


# ---- Modules that are not here ------------------------------------------------------------------

HERE = "submission"  # the package that model.py believes to be in: `from .utils import x`


class NotHere(Exception):
    """A module that the jail lacks was not only imported, but used."""


class StandIn:
    """In the place of a module that the jail lacks, or of a part of it; complains when used."""

    __all__ = ()  # what `from module import *` takes

    def __init__(self, module: str, part: str, line: int) -> None:
        self._module, self._part, self._line = module, part, line

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(self._module, f"{self._part}.{name}".lstrip("."), self._line)

    def _complain(self, *args: Any, **kwargs: Any) -> Any:
        used = f"{self._part} of {self._module}" if self._part else self._module
        raise NotHere(
            f"{used} is used here (imported at line {self._line}), but the jail has Python, torch "
            "and numpy only, and of your own files model.py alone. Hint: delete this import; put "
            "what the network needs of it into model.py, and what only shows or trains below "
            'if __name__ == "__main__":'
        )

    __call__ = __getitem__ = __iter__ = __len__ = __enter__ = __mro_entries__ = _complain


def import_or_stand_in(
    name: str,
    globals: dict[str, Any] | None = None,
    locals: dict[str, Any] | None = None,
    fromlist: tuple[str, ...] = (),
    level: int = 0,
) -> Any:
    """As the import statement of model.py; any failure becomes a StandIn."""
    try:
        return builtins.__import__(name, globals, locals, fromlist, level)
    except Exception:
        if name.split(".")[0] == "torch" and not level:
            raise
        module = "." * level + (name if fromlist or level else name.split(".")[0])
        return StandIn(module, "", sys._getframe(1).f_lineno)


# ---- What went wrong ----------------------------------------------------------------------------


def missing(what: str, hint: str) -> Exception:
    from mnist_steps.errors import MnistStepsError

    return MnistStepsError(f"{FILE}: {what}. Hint: {hint}")


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


def explain(error: BaseException) -> str:
    """What went wrong, and after 'Hint:' what to change, where that is known."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, NotHere):
        return str(error)
    if re.search(r"CUDA|NVIDIA|\bmps\b", str(error)):
        return (
            "there is no GPU in the jail. Hint: leave the network on the CPU, without .cuda() and "
            '.to("cuda"); the grader moves it to where it trains'
        )
    if isinstance(error, NameError) and stars():
        return f"{text}. Hint: it may come from {stars()}, which is not here: put it into model.py"
    return text


def stars() -> str:
    """The missing modules from which model.py imports everything, as in `from utils import *`."""
    source = "".join(linecache.getlines(FILE))
    found = re.findall(r"^\s*from\s+([.\w]+)\s+import\s+\*", source, re.MULTILINE)
    return ", ".join(name for name in found if name.split(".")[0] not in sys.modules)


if __name__ == "__main__":
    main()
