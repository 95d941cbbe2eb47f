"""What an operation is called, and where in the model's source it is called."""

import inspect
import os
import traceback
from pathlib import Path

import torch
from torch import fx, nn

from mnist_steps.graph.nodes import INPUT

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_HERE = f"{Path(__file__).parent}{os.sep}"


def names_of(graph: fx.Graph, root: nn.Module) -> dict[fx.Node, str]:
    """An unambiguous name for each node; the first use of a module has the module's name."""
    taken = {name for name, _ in root.named_modules()} | {INPUT}
    called: set[str] = set()
    names: dict[fx.Node, str] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            names[node] = INPUT
            continue
        target = str(node.target)
        if node.op == "get_attr" or (node.op == "call_module" and target not in called):
            called.add(target)
            names[node] = target
            continue
        if node.op == "call_module":
            stem = target
        else:
            scope = scope_of(node)
            function = getattr(node.target, "__name__", target).strip("_")
            stem = f"{scope}.{function}" if scope else function
        name, number = stem, 0
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names[node] = name
    return names


def scope_of(node: fx.Node) -> str:
    """Qualified name of the innermost module whose code makes the call."""
    return str(next(reversed(node.meta.get("nn_module_stack") or {"": None})))


def changes_its_input(node: fx.Node) -> bool:
    """Whether a call's name says that it changes its first argument in place: relu_."""
    name = str(getattr(node.target, "__name__", node.target))
    return node.op != "call_module" and name.endswith("_") and not name.endswith("__")


def spelled(node: fx.Node) -> str:
    """A function or tensor method as the reader knows it: 'torch.add', 'Tensor.add'."""
    if node.op == "call_method" or node.target is getattr:
        return f"Tensor.{node.args[1] if node.target is getattr else node.target}"
    module = getattr(node.target, "__module__", None) or ""
    module = {"_operator": "operator", "torch._C._nn": "torch.nn.functional"}.get(module, module)
    return f"{module}.{getattr(node.target, '__name__', node.target)}".lstrip(".")


def calling_line(node: fx.Node) -> str | None:
    """'file:line' in the model's source, for a node with a stack trace."""
    lines = (node.stack_trace or "").splitlines()
    frames = [text.split('"')[1::2][0] + ":" + text.split("line ")[1].split(",")[0]
              for text in lines if text.lstrip().startswith('File "')]  # fmt: skip
    return _innermost_of_the_model(frames)


def failing_line(error: BaseException) -> str | None:
    """'file:line' in the model's source at which its code failed."""
    frames = traceback.extract_tb(error.__traceback__)
    return _innermost_of_the_model([f"{frame.filename}:{frame.lineno}" for frame in frames])


def _innermost_of_the_model(frames: list[str]) -> str | None:
    """Of 'file:line' texts, outermost first, the last that is called from this package's code."""
    own = [position for position, frame in enumerate(frames) if frame.startswith(_HERE)]
    below = frames[own[0] + 1 :] if own else frames
    outside = [frame for frame in below if not frame.startswith((_TORCH, _HERE))]
    return outside[-1] if outside else None


def class_line(model: nn.Module) -> str:
    """Where the model's class begins: layers in a torch.nn.Sequential have no line of their own."""
    if type(model).__module__.startswith("torch.nn"):
        return f"the torch.nn.{type(model).__name__} itself, which calls its parts in order"
    try:
        lines = inspect.getsourcelines(type(model))
        return f"{inspect.getsourcefile(type(model))}:{lines[1]} (class {type(model).__name__})"
    except (OSError, TypeError):
        return f"class {type(model).__name__}"


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
