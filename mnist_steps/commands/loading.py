"""The network that is named on the command line: a stage's, or one of the reader's own."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mnist_steps.errors import MnistStepsError

if TYPE_CHECKING:
    from torch import nn


def load_model(name: str) -> "nn.Module":
    """The network of a stage ('8'), or what `package.module:Name` or `./file.py:Name` names.

    A class or function is called, without arguments. Raises MnistStepsError when there is no such
    thing, when its own code fails, or when it is not a network.
    """
    from torch import nn

    from mnist_steps import stages

    if name.isdecimal():
        return stages.get(int(name)).build()
    place, _, attribute = name.rpartition(":")
    if not (place and attribute):
        raise MnistStepsError(
            f"{name!r} names no model: give a stage's number or package.module:Name, "
            "such as torchvision.models:resnet18."
        )
    module = _import(name, place)
    try:
        found: Any = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise MnistStepsError(f"{name!r} cannot be found: {error}.") from error
    if isinstance(found, nn.Module):
        return found
    try:
        inspect.signature(found).bind()
    except TypeError as error:  # ValueError: some of Python's own do not tell what they take
        raise MnistStepsError(
            f"{name!r} could not be called without arguments ({error}): write a function without "
            "arguments that returns the network, and name that."
        ) from error
    except ValueError:
        pass
    try:
        model = found()
    except (Exception, SystemExit) as error:
        raise MnistStepsError(f"{name!r} was called and failed: {_told(error)}") from error
    if not isinstance(model, nn.Module):
        raise MnistStepsError(
            f"{name!r} gave a {type(model).__name__}, expected a torch.nn.Module: name a network, "
            "or a class or function that makes one without arguments."
        )
    return model


def _import(name: str, place: str) -> ModuleType:
    """The module of this name, or in this file."""
    file = Path(place)
    is_file = file.suffix == ".py" or len(file.parts) > 1 or place.startswith(".")
    if is_file and not (file.suffix == ".py" and file.is_file()):
        raise MnistStepsError(f"{name!r} cannot be imported: there is no Python file {place}.")
    # A module beside it, or in the current folder, is found as with `python file.py`, `python -m`.
    sys.path.insert(0, str(file.parent.resolve()) if is_file else "")
    try:
        return _run(file, place) if is_file else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise MnistStepsError(f"{name!r} cannot be imported: {error}.") from error
        raise MnistStepsError(f"{name!r} cannot be imported: {_told(error)}") from error


def _run(file: Path, place: str) -> ModuleType:
    # Named by its path, it hides no other module.
    specification = importlib.util.spec_from_file_location(place, file)
    assert specification is not None and specification.loader is not None
    sys.modules[place] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _told(error: BaseException) -> str:
    """What failed in the reader's code, and where."""
    import torch

    said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, SyntaxError):
        return f"{said}."
    torch_s_own = str(Path(torch.__file__).parent)
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((__file__, "<frozen", torch_s_own))
    ]
    return "\n".join([said, *(f"  It stopped at {line}." for line in lines[-1:])])
