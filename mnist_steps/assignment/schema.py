"""The network that comes out of the jail: JSON that anybody may have written, read strictly.

The code of a submission runs next to the program that traces it, so it can write whatever it
likes in the trace's place. Hence nothing here is believed. The text is read as data, each
operation must be one of `LAYERS` or `FUNCTIONS` with exactly its attributes, each of them within
bounds, and every number that can be computed (shapes, parameters, MACs) is computed again from
what remains, in `rebuild`. What the text says is then what is graded: a forger has only handed in
another network.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

from mnist_steps import graph
from mnist_steps.assignment.findings import one_line
from mnist_steps.data import INPUT_SHAPE
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT
from mnist_steps.graph.besides import KINDS, Besides

CLASSES = 10

LARGEST_TEXT = 64 * 1024  # bytes; the largest of the eight stages takes 7,300
MOST_NODES = 256
MOST_INPUTS = 16
MOST_BESIDES = 64
DEEPEST_NAME = 8  # containers inside containers
LONGEST_NAME = 80
LARGEST_KERNEL = 64
MOST_CHANNELS = 4096
MOST_FEATURES = 1 << 16

NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)


class GraphRefused(MnistStepsError):
    """The graph is not one that this exercise allows; the message is one line."""


@dataclass(frozen=True)
class Operation:
    """One operation whose every field was checked.

    name, op, inputs, attributes: as in graph.Node
    layer: where its weights live; operations with the same layer share them. None for functions
    shape: of its output for one image, as the text states it; only reshape and expand need it
    weights: the names of the weights it uses; other layers may use the same ones
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    layer: str | None
    shape: tuple[int, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """A network as the submission describes it: operations in order, the last is its output.

    besides: what the submission's network does besides; the one that is built does not do it
    """

    operations: tuple[Operation, ...]
    besides: tuple[Besides, ...] = ()


def parse(text: bytes | str) -> Description:
    """Read a graph as `graph.Graph.as_data` writes it, and perhaps `graph.besides` beside it.

    text: JSON, at most 64 KB
    Raises GraphRefused, with one line that says what was found and what was expected.
    """
    found = read_json(text)
    besides = _besides(found.pop("besides", []) if isinstance(found, dict) else [])
    data = _table("the graph", found, "input_shape nodes outputs total_params")
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
    last = list(operations.values())[-1]
    if data["outputs"] != [last.name]:
        _refuse("the graph", "expected one output, the result of the last operation")
    if last.op in REASONS:
        _refuse(last.name, f"the network ends in {last.op}: {REASONS[last.op]}")
    if not _ends_in_log_softmax(operations):
        name = "log_softmax"
        while name in operations or any(f"{layer}.".startswith(f"{name}.") for layer in layers):
            name += "_"
        operations[name] = Operation(name, "LogSoftmax", (last.name,), {"dim": 1}, name)
        besides = (*besides, ("scores", last.name, ""))
    return Description(tuple(operations.values()), besides)


def _besides(found: Any) -> tuple[Besides, ...]:
    if not isinstance(found, list) or len(found) > MOST_BESIDES:
        _refuse("the graph", f"expected a list of at most {MOST_BESIDES} differences as besides")
    for one in found:
        if not (isinstance(one, list) and len(one) == 3 and all(type(part) is str for part in one)
                and one[0] in KINDS):  # fmt: skip
            _refuse("the graph", f"{one!r} is no difference")
    return tuple((kind, one_line(where), one_line(more)) for kind, where, more in found)


def _ends_in_log_softmax(operations: dict[str, Operation]) -> bool:
    """Whether nothing but another shape comes after it."""
    for operation in reversed(operations.values()):
        if operation.op == "LogSoftmax":
            return operation.attributes["dim"] == 1
        if operation.op not in ("reshape", "identity", "Flatten", "Identity"):
            return False
    return False


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


def _list_of(check: Check, low: int, high: int) -> Check:
    return lambda value: (
        isinstance(value, list) and low <= len(value) <= high and all(map(check, value))
    )


def _one_of(*allowed: Any) -> Check:
    # 1 == True in Python, but not here.
    return lambda value: any(type(value) is type(one) and value == one for one in allowed)


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


YES_OR_NO = _one_of(True, False)
NOTHING = _one_of(None)
CHANNELS = _whole(1, MOST_CHANNELS)
FEATURES = _whole(1, MOST_FEATURES)
SMALL = _number(1e-12, 1)
ANY_NUMBER = _number(-1e6, 1e6)
AXIS = _whole(1, 4)  # the batch, axis 0, is nobody's concern
FACTOR = _number(0.1, 28)

# By the attribute's name, whatever the operation; a window has one number per spatial axis.
ATTRIBUTES: dict[str, Check] = {
    **dict.fromkeys("in_channels out_channels groups num_features num_channels".split(), CHANNELS),
    **dict.fromkeys("num_groups num_parameters upscale_factor downscale_factor".split(), CHANNELS),
    **dict.fromkeys(("in_features", "out_features"), FEATURES),
    **dict.fromkeys(
        "bias affine elementwise_affine ceil_mode count_include_pad".split(), YES_OR_NO
    ),
    **dict.fromkeys("alpha beta k lambd threshold value min_val max_val".split(), ANY_NUMBER),
    **dict.fromkeys(("lower", "upper", "negative_slope"), _number(0, 1)),
    "padding_mode": _one_of("zeros", "reflect", "replicate", "circular"),
    "normalized_shape": _list_of(CHANNELS, 1, 4),
    "eps": SMALL,
    "momentum": _either(NOTHING, _number(0, 1)),
    # Without them an image's result would depend on the others that are tested with it.
    "track_running_stats": _one_of(True),
    "divisor_override": NOTHING,
    "return_indices": _one_of(False),
    "norm_type": _number(1, 10),
    "approximate": _one_of("none", "tanh"),
    "p": _number(0, 0.99),
    "dim": AXIS,
    "start_dim": _whole(1, 4),
    "end_dim": _whole(1, 4),
    "unflattened_size": _list_of(CHANNELS, 1, 4),
    "size": _either(NOTHING, _whole(1, 56), _list_of(_whole(1, 56), 1, 3)),
    "scale_factor": _either(NOTHING, FACTOR, _list_of(FACTOR, 1, 3)),
    "mode": _one_of("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "area"),
    "align_corners": _either(NOTHING, YES_OR_NO),
    "recompute_scale_factor": _either(NOTHING, YES_OR_NO),
}
OTHERWISE: dict[tuple[str, str], Check] = {
    ("RMSNorm", "eps"): _either(NOTHING, SMALL),
    ("LocalResponseNorm", "size"): CHANNELS,
    ("InstanceNorm", "track_running_stats"): YES_OR_NO,
}


def _check_of(op: str, attribute: str) -> Check:
    rank = graph.OPERATIONS[op].rank
    kind = op[:-2] if rank else op
    if attribute in ("kernel_size", "stride", "dilation"):
        return _list_of(_whole(1, LARGEST_KERNEL), rank, rank)
    if attribute == "output_size":
        return _list_of(_either(NOTHING, _whole(1, LARGEST_KERNEL)), rank, rank)
    if attribute in ("padding", "output_padding"):
        length = 2 * rank if "Pad" in kind else rank
        numbers = _list_of(_whole(0, LARGEST_KERNEL), length, length)
        words = _one_of("same", "valid")
        return _either(numbers, words) if (kind, attribute) == ("Conv", "padding") else numbers
    return OTHERWISE.get((kind, attribute)) or ATTRIBUTES[attribute]


# Layers: all that torch.nn has and the receptive-field calculator knows.
LAYERS = {name for name, known in graph.OPERATIONS.items() if known.attributes is not None}
WITH_WEIGHTS = ("Conv", "BatchNorm", "Linear", "PReLU")

# Functions that torch.nn does not have, with what their attributes may be.
OPTIONAL_NUMBER = _either(NOTHING, ANY_NUMBER)
WITH_OTHER = {"other": ANY_NUMBER, "reversed": _one_of(True), "alpha": ANY_NUMBER}
OVER_AXES = {"dim": _list_of(AXIS, 1, 4), "keepdim": YES_OR_NO}
INDEX = _either(ANY_NUMBER, _one_of("new", "..."), _list_of(OPTIONAL_NUMBER, 3, 3))
FUNCTIONS: dict[str, dict[str, Check]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "maximum", "minimum"), WITH_OTHER),
    **dict.fromkeys("exp log log1p log2 sqrt rsqrt square sin cos erf reciprocal".split(), {}),
    **dict.fromkeys("abs neg reshape expand identity".split(), {}),
    "clamp": {"min": OPTIONAL_NUMBER, "max": OPTIONAL_NUMBER},
    "clamp_min": {"min": ANY_NUMBER},
    "clamp_max": {"max": ANY_NUMBER},
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var"), OVER_AXES),
    "prod": {"dim": _list_of(AXIS, 1, 1), "keepdim": YES_OR_NO},
    "cat": {"dim": AXIS},
    "stack": {"dim": AXIS},
    "permute": {"dims": _list_of(_whole(0, 4), 2, 5)},
    "getitem": {"index": _list_of(INDEX, 1, 5)},
}
TWO_OPERANDS = ("add", "sub", "mul", "div", "pow", "maximum", "minimum")

# Why some operations that a student may well write cannot be the last one.
REASONS = dict.fromkeys(
    ("Softmax", "Softmax2d", "Softmin", "Sigmoid"),
    "the loss takes logarithms of probabilities: return raw scores, or F.log_softmax(x, dim=1)",
)

KEYS = "name op inputs attributes output_shape params macs parameters module"


def _operation(where: str, node: Any, earlier: dict[str, Operation]) -> Operation:
    data = _table(where, node, KEYS)
    name, op = _name(where, data["name"]), data["op"]
    if name in earlier:
        _refuse(where, f"the name {name} is used twice")
    if not isinstance(op, str) or op not in LAYERS | set(FUNCTIONS):
        _refuse(
            name,
            f"the operation {op!r} is not allowed here: allowed are the layers of torch.nn that "
            "keep images apart, arithmetic, joining and reshaping",
        )
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
    attributes = _attributes(name, op, data["attributes"])
    wanted = range(1, MOST_INPUTS + 1) if op in ("cat", "stack") else (1,)
    if op in TWO_OPERANDS and "other" not in attributes:
        wanted = (2,)
    if len(inputs) not in wanted:
        _refuse(name, f"{op} has {len(inputs)} inputs")
    # What follows is computed again, but for the shapes that an operation is asked to give.
    shape = data["output_shape"]
    if not _are_integers(shape) or not 1 <= len(shape) <= 4:
        _refuse(name, "output_shape must be one to four whole numbers")
    _stated(name, data["params"])
    _stated(name, data["macs"])
    stated = data["parameters"]
    if not isinstance(stated, dict) or not all(map(_are_integers, stated.values())):
        _refuse(name, "parameters must be shapes by name")
    layer = data["module"]
    if op in FUNCTIONS:
        if layer is not None:
            _refuse(name, f"{op} is a function and cannot have a module")
        return Operation(name, op, tuple(inputs), attributes, None, tuple(shape))
    if layer is None:  # such as F.relu: rebuilt as a layer of its own
        if op.startswith(WITH_WEIGHTS):
            _refuse(name, f"{op} is called as a function: make it a layer, nn.{op}, in __init__")
        layer = name
    weights = tuple(_name(name, one) for one in stated)
    return Operation(name, op, tuple(inputs), attributes, _name(name, layer), (), weights)


def _attributes(name: str, op: str, found: Any) -> dict[str, Any]:
    if isinstance(found, dict) and "Dropout" in op and "training" in found:
        _refuse(
            name,
            "it would drop values in evaluation too: use nn.Dropout, or pass "
            "training=self.training",
        )
    if isinstance(found, dict) and op in ("LogSoftmax", "Softmax") and found.get("dim") == 0:
        _refuse(
            name,
            f"{op} would run over the batch, axis 0, which torch takes without dim where there "
            "are three axes: write dim=1",
        )
    if op in FUNCTIONS:
        checks = FUNCTIONS[op]
        given = found if isinstance(found, dict) else {}
        if op in (*TWO_OPERANDS, "clamp"):  # whose attributes need not be there
            checks = {key: check for key, check in checks.items() if key in given}
    else:
        attributes = graph.OPERATIONS[op].attributes or ()
        checks = {key: _check_of(op, key) for key in attributes}
    found = _table(f"{name}, attributes of {op}", found, " ".join(checks))
    for key, check in checks.items():
        if not check(found[key]):
            _refuse(name, f"{key} of {op} is {found[key]!r}, outside of what is allowed")
    if op == "permute" and (found["dims"][0] != 0 or len({*found["dims"]}) != len(found["dims"])):
        _refuse(
            name, f"dims of permute are {found['dims']}, expected each axis once, the batch first"
        )
    if op == "getitem" and found["index"][0] not in ([None, None, None], "..."):
        _refuse(name, "it takes a part of the batch: keep the first axis, as in x[:, 0]")
    return found


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
