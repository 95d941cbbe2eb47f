"""The network that comes out of the jail: JSON that anybody may have written, read strictly.

The code of a submission runs next to the program that traces it, so it can write whatever it
likes in the trace's place. Hence nothing here is believed. The text is read as data, each
operation must be one of those in `OPERATIONS` with exactly its attributes, each of them within
bounds, and every number that can be computed (shapes, parameters, MACs) is computed again from
what remains, in `rebuild`. What the text says is then what is graded: a forger has only handed in
another network.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from torch import nn

from mnist_steps.assignment.findings import one_line
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT

INPUT_SHAPE = (1, 28, 28)
CLASSES = 10

LARGEST_TEXT = 64 * 1024  # bytes; the largest of the eight stages takes 7,300
MOST_NODES = 256
MOST_INPUTS = 16
DEEPEST_NAME = 8  # containers inside containers
LONGEST_NAME = 80
LARGEST_KERNEL = 64
MOST_CHANNELS = 4096
MOST_FEATURES = 1 << 16
MOST_PARAMETERS = 10_000_000  # stage 1 has 6.4 million; the assignment's own limit comes later

NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)


class GraphRefused(MnistStepsError):
    """The graph is not one that this exercise allows; the message is one line."""


@dataclass(frozen=True)
class Operation:
    """One operation whose every field was checked.

    name, op, inputs, attributes: as in graph.Node
    layer: where its weights live; operations with the same layer share them. None for functions
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    layer: str | None


@dataclass(frozen=True)
class Description:
    """A network as the submission describes it: operations in order, the last is its output."""

    operations: tuple[Operation, ...]


def parse(text: bytes | str) -> Description:
    """Read a graph as `graph.Graph.as_data` writes it.

    text: JSON, at most 64 KB
    Raises GraphRefused, with one line that says what was found and what was expected.
    """
    data = _table("the graph", read_json(text), "input_shape nodes outputs total_params")
    if data["input_shape"] != list(INPUT_SHAPE) or not _are_integers(data["input_shape"]):
        _refuse("the graph", f"input_shape must be {list(INPUT_SHAPE)}")
    _stated("the graph", data["total_params"])
    nodes = data["nodes"]
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= MOST_NODES:
        _refuse("the graph", f"expected a list of 1 to {MOST_NODES} operations as nodes")
    operations: dict[str, Operation] = {}
    layers: dict[str, Operation] = {}
    for position, node in enumerate(nodes):
        operation = _operation(f"operation {position + 1}", node, operations)
        operations[operation.name] = operation
        if operation.layer is not None:
            first = layers.setdefault(operation.layer, operation)
            if (first.op, first.attributes) != (operation.op, operation.attributes):
                _refuse(operation.name, f"{operation.layer} is described in two ways")
    _refuse_layers_inside_layers(set(layers))
    _refuse_too_many_parameters(layers)
    last = list(operations.values())[-1]
    if data["outputs"] != [last.name]:
        _refuse("the graph", "expected one output, the result of the last operation")
    if last.op != "LogSoftmax":
        _refuse(
            last.name,
            f"the network ends in {last.op}, expected LogSoftmax over the {CLASSES} digits, "
            "because the loss takes logarithms of probabilities: end forward with "
            "F.log_softmax(x, dim=1)",
        )
    return Description(tuple(operations.values()))


def read_json(text: bytes | str) -> Any:
    """JSON without what Python's reader tolerates: duplicate keys, NaN, endless numbers.

    Raises GraphRefused.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > LARGEST_TEXT:
        _refuse("the graph", f"found more than {LARGEST_TEXT // 1024} KB of JSON")
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=lambda name: _refuse("the graph", f"{name} is no number"),
            parse_int=_integer,
            parse_float=_float,
        )
    except RecursionError:
        _refuse("the graph", "the JSON is nested too deeply")
    except ValueError as error:  # bad UTF-8 too
        _refuse("the graph", f"this is not JSON ({error})")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("the graph", "a key stands twice in the same object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 15:  # beyond, integers and floats part ways
        _refuse("the graph", f"a number of {len(digits)} characters is too large")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse("the graph", f"a number of {len(digits)} characters is too large")
    return value


# ---- What is allowed: operations, their attributes, and the bounds of those ---------------------

Check = Callable[[Any], bool]


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _list_of(check: Check, length: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) == length and all(map(check, value))


def _one_of(*allowed: Any) -> Check:
    # 1 == True in Python, but not here.
    return lambda value: any(type(value) is type(one) and value == one for one in allowed)


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


YES_OR_NO = _one_of(True, False)
NOTHING = _one_of(None)
PER_AXIS = _list_of(_whole(1, LARGEST_KERNEL), 2)
PADDING = _list_of(_whole(0, LARGEST_KERNEL), 2)
BORDERS = _list_of(_whole(0, LARGEST_KERNEL), 4)
CHANNELS = _whole(1, MOST_CHANNELS)
SHARE = _number(0, 1)
POOL = {"kernel_size": PER_AXIS, "stride": PER_AXIS, "padding": PADDING, "ceil_mode": YES_OR_NO}
ADAPTIVE = {"output_size": _list_of(_either(NOTHING, _whole(1, LARGEST_KERNEL)), 2)}

LAYERS: dict[str, dict[str, Check]] = {
    "Conv2d": {
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "kernel_size": PER_AXIS,
        "stride": PER_AXIS,
        "padding": _either(PADDING, _one_of("same", "valid")),
        "dilation": PER_AXIS,
        "groups": CHANNELS,
        "bias": YES_OR_NO,
        "padding_mode": _one_of("zeros", "reflect", "replicate", "circular"),
    },
    "BatchNorm2d": {
        "num_features": CHANNELS,
        "eps": _number(1e-12, 1),
        "momentum": _either(NOTHING, SHARE),
        "affine": YES_OR_NO,
        # Without them an image's result would depend on the others that are tested with it.
        "track_running_stats": _one_of(True),
    },
    "Linear": {
        "in_features": _whole(1, MOST_FEATURES),
        "out_features": _whole(1, MOST_FEATURES),
        "bias": YES_OR_NO,
    },
    "PReLU": {"num_parameters": CHANNELS},
    "ReLU": {},
    "ReLU6": {},
    "SiLU": {},
    "Hardswish": {},
    "LeakyReLU": {"negative_slope": SHARE},
    "ELU": {"alpha": _number(0, 10)},
    "GELU": {"approximate": _one_of("none", "tanh")},
    "MaxPool2d": {**POOL, "dilation": PER_AXIS, "return_indices": _one_of(False)},
    "AvgPool2d": {**POOL, "count_include_pad": YES_OR_NO, "divisor_override": NOTHING},
    "AdaptiveAvgPool2d": ADAPTIVE,
    "AdaptiveMaxPool2d": {**ADAPTIVE, "return_indices": _one_of(False)},
    "Dropout": {"p": _number(0, 0.99)},
    "Dropout2d": {"p": _number(0, 0.99)},
    "ZeroPad2d": {"padding": BORDERS},
    "ConstantPad2d": {"padding": BORDERS, "value": _number(-10, 10)},
    "ReflectionPad2d": {"padding": BORDERS},
    "ReplicationPad2d": {"padding": BORDERS},
    "Flatten": {"start_dim": _one_of(1), "end_dim": _whole(1, 3)},
    "Identity": {},
    "LogSoftmax": {"dim": _one_of(1)},
}
FUNCTIONS: dict[str, dict[str, Check]] = {
    "add": {},
    "cat": {"dim": _one_of(1)},
    "mean": {"dim": _one_of([2, 3]), "keepdim": YES_OR_NO},
    "reshape": {},
    "identity": {},
}
OPERATIONS = LAYERS | FUNCTIONS
WITH_WEIGHTS = {"Conv2d", "BatchNorm2d", "Linear", "PReLU"}

# Why some operations that a student may well write are not in the list.
REASONS = {
    "Softmax": "the loss takes logarithms of probabilities: use F.log_softmax(x, dim=1)",
    "Softmax2d": "the loss takes logarithms of probabilities: use F.log_softmax(x, dim=1)",
    "mul": "this exercise has no gates or scales",
    "getitem": "this exercise takes no parts of tensors",
}

KEYS = "name op inputs attributes output_shape params macs parameters module"


def _operation(where: str, node: Any, earlier: dict[str, Operation]) -> Operation:
    data = _table(where, node, KEYS)
    name, op = _name(where, data["name"]), data["op"]
    if name in earlier:
        _refuse(where, f"the name {name} is used twice")
    if not isinstance(op, str) or op not in OPERATIONS:
        reason = REASONS.get(op) if isinstance(op, str) else None
        reason = reason or f"allowed are {', '.join(OPERATIONS)}"
        _refuse(name, f"the operation {op!r} is not allowed here: {reason}")
    attributes = _attributes(name, op, data["attributes"])
    inputs = data["inputs"]
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MOST_INPUTS:
        _refuse(name, f"expected a list of 1 to {MOST_INPUTS} inputs")
    for one in inputs:
        if not isinstance(one, str) or (one != INPUT and one not in earlier):
            _refuse(
                name,
                f"its input {one!r} is no result of an earlier operation: a network of this "
                "exercise computes with its input and its layers only, without parameters or "
                "tensors of its own",
            )
    wanted = {"add": (2,), "cat": range(1, MOST_INPUTS + 1)}.get(op, (1,))
    if len(inputs) not in wanted:
        _refuse(name, f"{op} has {len(inputs)} inputs")
    # What follows is computed again; it is read only to refuse nonsense.
    shape = data["output_shape"]
    if not _are_integers(shape) or (op == "reshape" and len(shape) != 1):
        _refuse(name, "reshape is allowed only to (N, -1), as flatten"
                if op == "reshape" else "output_shape must be whole numbers")  # fmt: skip
    _stated(name, data["params"])
    _stated(name, data["macs"])
    stated = data["parameters"]
    if not isinstance(stated, dict) or not all(map(_are_integers, stated.values())):
        _refuse(name, "parameters must be shapes by name")
    layer = data["module"]
    if op in FUNCTIONS:
        if layer is not None:
            _refuse(name, f"{op} is a function and cannot have a module")
        return Operation(name, op, tuple(inputs), attributes, None)
    if layer is None:  # such as F.relu: rebuilt as a layer of its own
        if op in WITH_WEIGHTS:
            _refuse(name, f"{op} is called as a function: make it a layer, nn.{op}, in __init__")
        layer = name
    return Operation(name, op, tuple(inputs), attributes, _name(name, layer))


def _attributes(name: str, op: str, found: Any) -> dict[str, Any]:
    checks = OPERATIONS[op]
    if isinstance(found, dict) and op.startswith("Dropout") and "training" in found:
        _refuse(
            name,
            "it would drop values in evaluation too: use nn.Dropout, or pass "
            "training=self.training",
        )
    found = _table(f"{name}, attributes of {op}", found, " ".join(checks))
    for key, check in checks.items():
        if not check(found[key]):
            _refuse(name, f"{key} of {op} is {found[key]!r}, outside of what is allowed")
    return found


def count_parameters(operation: Operation) -> int:
    """Weights of the operation's layer, by formula: nothing is allocated for it."""
    given = operation.attributes
    if operation.op == "Conv2d":
        each = prod(given["kernel_size"]) * given["in_channels"] // given["groups"]
        return given["out_channels"] * (each + given["bias"])
    if operation.op == "Linear":
        return int(given["out_features"] * (given["in_features"] + given["bias"]))
    if operation.op == "BatchNorm2d":
        return 2 * given["num_features"] * given["affine"]
    return int(given["num_parameters"]) if operation.op == "PReLU" else 0


def _refuse_too_many_parameters(layers: dict[str, Operation]) -> None:
    total = sum(map(count_parameters, layers.values()))
    if total > MOST_PARAMETERS:
        _refuse("the graph", f"{total:,} parameters are more than {MOST_PARAMETERS:,}")


_TAKEN = set(dir(nn.Module())) | set(vars(nn.Module()))


def _refuse_layers_inside_layers(layers: set[str]) -> None:
    for layer in sorted(layers):
        parts = layer.split(".")
        for depth in range(1, len(parts)):
            if ".".join(parts[:depth]) in layers:
                _refuse(layer, "a layer inside a layer that is no container")
        for part in parts:
            if part in _TAKEN:
                _refuse(layer, f"{part!r} is also a method of nn.Module: give it another name")


# ---- Helpers ------------------------------------------------------------------------------------


def _table(where: str, found: Any, keys: str) -> dict[str, Any]:
    if not isinstance(found, dict) or set(found) != set(keys.split()):
        what = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
        _refuse(where, f"found {what}, expected exactly {sorted(keys.split())}")
    return found


def _name(where: str, found: Any) -> str:
    if not isinstance(found, str) or len(found) > LONGEST_NAME or not NAME.fullmatch(found):
        _refuse(where, f"{found!r} is no name: letters, digits, underscores and dots are")
    if found.count(".") >= DEEPEST_NAME:
        _refuse(where, f"{found} lies deeper than {DEEPEST_NAME} containers")
    return found


def _stated(where: str, found: Any) -> None:
    if type(found) is not int or found < 0:
        _refuse(where, f"{found!r} is no count")


def _are_integers(found: Any) -> bool:
    return isinstance(found, list) and all(type(one) is int and one >= 0 for one in found)


def _refuse(where: str, what: str) -> NoReturn:
    raise GraphRefused(f"{one_line(where)}: {one_line(what)}.")
