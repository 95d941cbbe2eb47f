"""The operations that are known, one entry each: attributes, ways to call it, shape.

An operation is called after its class in torch.nn where there is one ('Conv2d'), else after a
function ('add'). Functions and tensor methods are forms of it, so that `F.max_pool2d(x, 2)` and
`nn.MaxPool2d(2)` get the same description. What an operation does to receptive fields stands
under the same name in receptive_field/rules; a new one needs an entry here and a rule there.
"""

import operator
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mnist_steps.graph import shapes
from mnist_steps.graph.nodes import Attributes, plain


class NotKnown(Exception):
    """A call that cannot be described; the text completes '... is not known'."""


@dataclass(frozen=True)
class Call:
    """A call of a function or tensor method.

    op: the operation's name; `#` where it depends on the number of axes
    value: the first argument, which nearly always is the tensor
    given: the other arguments by name
    spelled: as the reader knows it, such as 'torch.add'
    pieces, position: of functions that return several tensors: these, and which one is meant
    """

    op: str
    value: Any
    given: Attributes
    spelled: str
    pieces: tuple[Tensor, ...] = ()
    position: int = 0

    @property
    def weight(self) -> Any:
        return self.given.get("weight")

    @property
    def rank(self) -> int:
        return self.value.dim() if isinstance(self.value, Tensor) else 0

    def dim(self, name: str = "dim") -> int:
        """The argument that numbers an axis, counted from the batch."""
        return int(self.given.get(name, 0)) % self.rank


Described = tuple[str, Attributes]  # the operation's name and its attributes
Describe = Callable[[Call], Described]


@dataclass(frozen=True)
class Operation:
    """attributes: of the module that decide what it does; None where torch.nn has none
    shape: a rule of `shapes`; without one, the meta device tells the output's
    rank: how many spatial axes the name tells, else 0
    minor: no row in a layer table: it changes no shape or only the way it is written, has no
        weights, and sees what the layer before it sees, or no image
    """

    attributes: tuple[str, ...] | None
    shape: shapes.Rule | None
    rank: int
    minor: bool


@dataclass(frozen=True)
class Form:
    """A function or tensor method. arguments: names of those after the first, in order"""

    op: str
    arguments: tuple[str, ...]
    describe: Describe


OPERATIONS: dict[str, Operation] = {}
FORMS: dict[str, Form] = {}


def ranks(name: str) -> Iterator[str]:
    """'Conv#d' as 'Conv1d', 'Conv2d' and 'Conv3d'; other names as they are."""
    yield from (name.replace("#", rank) for rank in "123") if "#" in name else (name,)


def _known(
    op: str,
    attributes: str | None = None,
    *forms: str | tuple[str, Describe],
    shape: shapes.Rule | None = None,
    minor: bool = False,
) -> None:
    """Enter an operation.

    A form is the names of functions and their arguments ('add|iadd other alpha'), with what
    describes such a call. Without that, the module does; without arguments, they are its own.
    """
    known = None if attributes is None else tuple(attributes.split())
    for name in ranks(op):
        rank = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 0
        OPERATIONS[name] = Operation(known, shape, rank, minor)
    for form in forms:
        text, describe = form if isinstance(form, tuple) else (form, _as_module)
        for one, name in zip(ranks(text), ranks(op) if "#" in text else (op,), strict=True):
            functions, *arguments = one.split()
            for function in functions.split("|"):
                FORMS[function] = Form(name, tuple(arguments) or known or (), describe)


# ---- What a call says ---------------------------------------------------------------------------

# Attributes with one number per spatial axis: an int stands for the same on every axis.
PER_AXIS = {"kernel_size", "stride", "dilation", "output_padding", "output_size"}

AXES = {"start_dim", "end_dim", "dim"}  # attributes that number an axis of the input

# These decide speed, precision or warnings, not what is computed.
IRRELEVANT = {
    "inplace", "_stacklevel", "dtype", "memory_format", "out",
    "device", "layout", "requires_grad", "pin_memory",
}  # fmt: skip

# What torch calls in two ways.
RENAMED = {"axis": "dim", "sizes": "unflattened_size", "exponent": "other"}


def from_batch(axis: int | None, rank: int) -> int:
    """An axis's number, counted from the batch and never backwards.

    Without one, softmax takes the first axis of tensors that have one or three, else the second
    (torch.nn.functional._get_softmax_dim).
    """
    if axis is None:
        return 0 if rank in (0, 1, 3) else 1
    return axis % rank


def bound(form: Form, arguments: tuple[Any, ...], named: Attributes) -> Attributes:
    """A call's arguments after the first, by name; `*all` takes what there is."""
    names = [name.lstrip("*") for name in form.arguments]
    if form.arguments == ("*all",) or (
        form.arguments == ("*dims",) and arguments and isinstance(arguments[0], int)
    ):
        arguments = (arguments,)  # permute(0, 2, 1) as permute((0, 2, 1))
    named = {RENAMED.get(name, name): value for name, value in named.items()}
    return dict(zip(names, arguments, strict=False)) | named


def module_attributes(op: str, module: nn.Module) -> Attributes:
    """The attributes of a known module in one normal form: numbers per axis, always as a list."""
    rank = OPERATIONS[op].rank
    attributes: Attributes = {}
    for name in OPERATIONS[op].attributes or ():
        value = getattr(module, name)
        if name == "bias":
            value = value is not None
        if rank and isinstance(value, int) and not isinstance(value, bool):
            if name in PER_AXIS or (name == "padding" and "Pad" not in op):
                value = [value] * rank
        if name == "stride" and value is None:
            value = attributes["kernel_size"]
        attributes[name] = plain(value)
    return attributes


def _as_module(call: Call) -> Described:
    """By building the module that does the same."""
    given = dict(call.given)
    if given.pop("return_indices", False) or given.pop("antialias", False):
        raise NotKnown(f"{call.spelled} with these options")
    training = given.pop("training", False)  # F.dropout's own default is recorded as it is
    module = getattr(nn, call.op)(**_relevant(given))
    attributes = module_attributes(call.op, module)
    if training:  # the call would also drop values in evaluation mode
        attributes["training"] = True
    return call.op, attributes


def _relevant(given: Attributes) -> Attributes:
    return {name: value for name, value in given.items() if name not in IRRELEVANT}


def _flatten(call: Call) -> Described:
    # The function starts at the batch axis, the module behind it.
    given = {"start_dim": 0, "end_dim": -1} | call.given
    return call.op, module_attributes(call.op, nn.Flatten(**given))


# How the attributes of a layer follow from the call of a function that takes the layer's weights.
_FROM_CALL: dict[str, Callable[[Call], Any]] = {
    "in_features": lambda call: call.weight.shape[1],
    "out_features": lambda call: call.weight.shape[0],
    "in_channels": lambda call: _channels(call, 0 if "Transpose" in call.op else 1),
    "out_channels": lambda call: _channels(call, 1 if "Transpose" in call.op else 0),
    "kernel_size": lambda call: list(call.weight.shape[2:]),
    "stride": lambda call: _per_axis(call, "stride", 1),
    "padding": lambda call: _per_axis(call, "padding", 0),
    "dilation": lambda call: _per_axis(call, "dilation", 1),
    "output_padding": lambda call: _per_axis(call, "output_padding", 0),
    "groups": lambda call: call.given.get("groups", 1),
    "bias": lambda call: call.given.get("bias") is not None,
    "padding_mode": lambda call: "zeros",
    "num_parameters": lambda call: call.weight.numel(),
    "num_features": lambda call: call.value.shape[1],
    "num_channels": lambda call: call.value.shape[1],
    "num_groups": lambda call: call.given["num_groups"],
    "normalized_shape": lambda call: list(call.given["normalized_shape"]),
    "eps": lambda call: call.given.get("eps", None if call.op == "RMSNorm" else 1e-5),
    "momentum": lambda call: call.given.get("momentum", 0.1),
    "affine": lambda call: call.weight is not None,
    "elementwise_affine": lambda call: call.weight is not None,
    "track_running_stats": lambda call: (
        call.given.get("running_mean") is not None and not _own_statistics(call)
    ),
}  # fmt: skip


def _channels(call: Call, axis: int) -> int:
    """What this axis of a convolution's weight counts; the second counts within a group."""
    return int(call.weight.shape[axis] * (call.given.get("groups", 1) if axis == 1 else 1))


def _per_axis(call: Call, name: str, default: int) -> Any:
    value = call.given.get(name, default)
    return [value] * (call.weight.dim() - 2) if isinstance(value, int) else plain(value)


def _own_statistics(call: Call) -> Any:
    return call.given.get("training", call.given.get("use_input_stats", "Instance" in call.op))


def _with_weights(call: Call) -> Described:
    op = call.op.replace("#", str(max(1, call.rank - 2)))
    return op, {name: _FROM_CALL[name](call) for name in OPERATIONS[op].attributes or ()}


def _pad(call: Call) -> Described:
    kind = {"constant": "Constant", "reflect": "Reflection", "replicate": "Replication",
            "circular": "Circular"}[call.given.get("mode", "constant")]  # fmt: skip
    padding = list(call.given["pad"])
    attributes: Attributes = {"padding": padding}
    if kind == "Constant":
        attributes["value"] = call.given.get("value") or 0
    return f"{kind}Pad{len(padding) // 2}d", attributes


def _pointwise(call: Call) -> Described:
    return call.op, plain(_relevant(call.given))


def _binary(call: Call) -> Described:
    attributes, other = {}, call.given.get("other")
    if call.given.get("rounding_mode"):
        raise NotKnown(f"{call.spelled} with rounding_mode")
    if not isinstance(other, Tensor):
        attributes["other"] = other
    elif not isinstance(call.value, Tensor):
        attributes = {"other": call.value, "reversed": True}
    if call.given.get("alpha", 1) != 1:
        attributes["alpha"] = call.given["alpha"]
    return call.op, plain(attributes)


def _reduction(call: Call) -> Described:
    extra = set(_relevant(call.given)) - {"dim", "keepdim"}
    if extra:
        raise NotKnown(f"{call.spelled} with {', '.join(sorted(extra))}")
    over = call.given.get("dim")
    if over is None or over == ():
        over = range(call.rank)
    over = [over] if isinstance(over, int) else over
    keepdim = bool(call.given.get("keepdim", False))
    return call.op, {"dim": sorted(dim % call.rank for dim in over), "keepdim": keepdim}


def _largest(call: Call) -> Described:
    """max and min: of two tensors, over an axis, or over all of them."""
    other = call.given.get("other", call.given.get("dim"))
    if isinstance(other, Tensor):
        return {"amax": "maximum", "amin": "minimum"}[call.op], {}
    if call.position == 1:
        raise NotKnown(
            f"the second result of {call.spelled}, which is where the values were found,"
        )
    return _reduction(call)


def _joined(call: Call) -> Described:
    rank = call.value[0].dim() + (call.op == "stack")
    return call.op, {"dim": call.given.get("dim", 0) % rank}


def _permute(call: Call) -> Described:
    return call.op, {"dims": [dim % call.rank for dim in call.given["dims"]]}


def _transpose(call: Call) -> Described:
    first, second = call.dim("dim0"), call.dim("dim1")
    dims = list(range(call.rank))
    dims[first], dims[second] = second, first
    return call.op, {"dims": dims}


def _part(call: Call, dim: int, start: int, stop: int | None = None) -> Described:
    """x[:, ..., start:stop], or x[:, ..., start] without a stop, along axis `dim`."""
    index: list[Any] = [[None, None, None] for _ in range(dim)]
    return call.op, {"index": [*index, start if stop is None else [start, stop, None]]}


def _narrow(call: Call) -> Described:
    start = call.given["start"]
    return _part(call, call.dim(), start, start + call.given["length"])


def _select(call: Call) -> Described:
    return _part(call, call.dim(), call.given["index"])


def _piece(call: Call) -> Described:
    dim = call.dim()
    start = sum(piece.shape[dim] for piece in call.pieces[: call.position])
    return _part(call, dim, start, start + call.pieces[call.position].shape[dim])


def _unbound(call: Call) -> Described:
    return _part(call, call.dim(), call.position)


# These describe one of the tensors that a function returns.
RETURNS_SEVERAL = (_piece, _unbound, _largest)


def _getitem(call: Call) -> Described:
    index = call.given["index"]
    index = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(one, (int, slice, types.EllipsisType, types.NoneType)) for one in index):
        raise NotKnown("indexing with a tensor or list")
    return call.op, {"index": [_index(one) for one in index]}


def _index(one: Any) -> Any:
    """As plain data: an int; 'new' for None; '...'; or [start, stop, step]."""
    if one is None:
        return "new"
    if one is Ellipsis:
        return "..."
    return [one.start, one.stop, one.step] if isinstance(one, slice) else one


def _stochastic_depth(call: Call) -> Described:
    return call.op, {"p": call.given["p"], "mode": call.given["mode"]}


def _constant(call: Call) -> Described:
    given = [call.value, *call.given.get("all", ())]
    named = {name: value for name, value in _relevant(call.given).items() if name != "all"}
    given = [one for one in given if one is not None and not isinstance(one, Tensor)]
    return call.op, plain({"arguments": given, **named})


def _without_attributes(call: Call) -> Described:
    return call.op, {}  # the output's shape says all


# ---- The entries --------------------------------------------------------------------------------

# Layers with weights, or with the statistics of what went through.
CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_known(
    "Conv#d", CONV,
    ("conv#d weight bias stride padding dilation groups", _with_weights), shape=shapes.window,
)  # fmt: skip
_known(
    "ConvTranspose#d", f"{CONV} output_padding",
    ("conv_transpose#d weight bias stride padding output_padding groups dilation", _with_weights),
)  # fmt: skip
_known("Linear", "in_features out_features bias", ("linear weight bias", _with_weights))
_known("PReLU", "num_parameters", ("prelu weight", _with_weights))
_known(
    "BatchNorm#d", "num_features eps momentum affine track_running_stats",
    ("batch_norm running_mean running_var weight bias training momentum eps", _with_weights),
    shape=shapes.normalized,
)  # fmt: skip
_known(
    "InstanceNorm#d", "num_features eps momentum affine track_running_stats",
    ("instance_norm running_mean running_var weight bias use_input_stats momentum eps",
     _with_weights),
)  # fmt: skip
_known(
    "LayerNorm", "normalized_shape eps elementwise_affine bias",
    ("layer_norm normalized_shape weight bias eps", _with_weights),
)  # fmt: skip
_known(
    "RMSNorm", "normalized_shape eps elementwise_affine",
    ("rms_norm normalized_shape weight eps", _with_weights),
)  # fmt: skip
_known(
    "GroupNorm", "num_groups num_channels eps affine",
    ("group_norm num_groups weight bias eps", _with_weights),
)  # fmt: skip
_known("LocalResponseNorm", "size alpha beta k", "local_response_norm")

# Pools.
POOL = "kernel_size stride padding"
_known("MaxPool#d", f"{POOL} dilation ceil_mode return_indices", "max_pool#d", shape=shapes.window)
AVERAGE = f"{POOL} ceil_mode count_include_pad"
_known("AvgPool1d", AVERAGE, "avg_pool1d", shape=shapes.window)
_known("AvgPool2d", f"{AVERAGE} divisor_override", "avg_pool2d", shape=shapes.window)
_known("AvgPool3d", f"{AVERAGE} divisor_override", "avg_pool3d", shape=shapes.window)
_known("LPPool#d", "norm_type kernel_size stride ceil_mode", "lp_pool#d")
_known("AdaptiveAvgPool#d", "output_size", "adaptive_avg_pool#d", shape=shapes.adaptive)
_known(
    "AdaptiveMaxPool#d", "output_size return_indices", "adaptive_max_pool#d", shape=shapes.adaptive
)  # fmt: skip

# Activations: operation, function, attributes.
for _entry in (
    "ReLU relu", "ReLU6 relu6", "SELU selu", "SiLU silu", "Mish mish", "Hardswish hardswish",
    "Hardsigmoid hardsigmoid", "Sigmoid sigmoid", "Tanh tanh", "Softsign softsign",
    "Tanhshrink tanhshrink", "LogSigmoid logsigmoid", "LeakyReLU leaky_relu negative_slope",
    "ELU elu alpha", "CELU celu alpha", "GELU gelu approximate",
    "Hardtanh hardtanh min_val max_val", "Hardshrink hardshrink lambd",
    "Softshrink softshrink lambd", "Softplus softplus beta threshold",
    "Threshold threshold threshold value", "Softmax softmax dim", "LogSoftmax log_softmax dim",
    "Softmin softmin dim",
):  # fmt: skip
    _op, _function, *_attributes = _entry.split()
    _known(_op, " ".join(_attributes), _function, shape=shapes.same, minor=True)
_known("Softmax2d", "", shape=shapes.same, minor=True)

# What is random in training.
for _op, _form in (
    ("Dropout", "dropout p training"), ("Dropout#d", "dropout#d p training"),
    ("AlphaDropout", "alpha_dropout p training"),
    ("FeatureAlphaDropout", "feature_alpha_dropout p training"),
):  # fmt: skip
    _known(_op, "p", _form, shape=shapes.same, minor=True)
_known("RReLU", "lower upper", "rrelu lower upper training", shape=shapes.same, minor=True)
_known("StochasticDepth", None, ("stochastic_depth p mode training", _stochastic_depth), minor=True)

# Arithmetic, each element by itself.
for _form in (
    "exp", "log", "log1p", "log2", "sqrt", "rsqrt", "square", "sin", "cos", "erf", "reciprocal",
    "abs|absolute", "neg|negative", "clamp|clip min max", "clamp_min min", "clamp_max max",
):  # fmt: skip
    _known(_form.split()[0].split("|")[0], None, (_form, _pointwise))

# Arithmetic on two operands, which may be broadcast.
for _form in (
    "add|iadd", "sub|isub|subtract", "mul|imul|multiply", "pow|ipow", "maximum", "minimum",
    "div|itruediv|truediv|true_divide|divide",
):  # fmt: skip
    _known(_form.split("|")[0], None, (f"{_form} other", _binary))
_known("expand", None, ("expand", _without_attributes), minor=True)

# Over whole axes.
for _form in ("mean", "sum", "prod", "std", "var"):
    _known(_form, None, (f"{_form} dim keepdim", _reduction))
for _op in ("max", "min"):
    _known(
        f"a{_op}", None,
        (f"a{_op} dim keepdim", _reduction), (f"{_op} dim keepdim", _largest),
    )  # fmt: skip

# Tensors that do not depend on the image's pixels, though perhaps on its size.
CONSTANTS = (
    "arange", "linspace", "logspace", "zeros", "ones", "full", "eye", "zeros_like", "ones_like",
    "full_like", "new_zeros", "new_ones", "new_full", "new_tensor",
)  # fmt: skip
for _op in CONSTANTS:
    _known(_op, None, (f"{_op} *all", _constant), minor=True)

# Padding and resizing.
_known("ZeroPad#d", "padding")
_known("ConstantPad#d", "padding value", ("pad pad mode value", _pad))  # pads in other modes too
_known("ReflectionPad#d", "padding")
_known("ReplicationPad#d", "padding")
_known("CircularPad#d", "padding")
RESIZE = "size scale_factor mode align_corners recompute_scale_factor"
_known("Upsample", RESIZE, f"interpolate|upsample {RESIZE} antialias")
_known("UpsamplingNearest2d", RESIZE)
_known("UpsamplingBilinear2d", RESIZE)
_known("PixelShuffle", "upscale_factor", "pixel_shuffle")
_known("PixelUnshuffle", "downscale_factor", "pixel_unshuffle")

# Other shapes for the same values, and parts of them.
_known("Identity", "", minor=True)
_known("Flatten", "start_dim end_dim", ("flatten", _flatten), minor=True)
_known("Unflatten", "dim unflattened_size", "unflatten", minor=True)
_known("ChannelShuffle", "groups", "channel_shuffle", minor=True)
_known("reshape", None, ("reshape|view|squeeze|unsqueeze", _without_attributes), minor=True)
_known(
    "permute", None,
    ("permute *dims", _permute), ("transpose|swapaxes dim0 dim1", _transpose), minor=True,
)  # fmt: skip
_known(
    "identity", None,  # whatever these say about memory, precision or gradients
    ("contiguous|clone|detach|to|cpu|cuda|type|type_as|float|double|half", _without_attributes),
    minor=True,
)  # fmt: skip
_known(
    "getitem", None,
    ("getitem index", _getitem),
    ("narrow dim start length", _narrow),
    ("select dim index", _select),
    ("chunk chunks dim", _piece),
    ("split split_size dim", _piece),
    ("tensor_split indices_or_sections dim", _piece),
    ("unbind dim", _unbound),
    minor=True,
)  # fmt: skip
_known("cat", None, ("cat|concat|concatenate dim", _joined))
_known("stack", None, ("stack dim", _joined))

# Calls that change the tensor itself end in an underscore and are else the same: relu_.
_FUNCTIONS: dict[Any, Form] = {
    getattr(place, name): form
    for place in (F, torch, operator)
    for written, form in FORMS.items()
    for name in (written, f"{written}_")
    if callable(getattr(place, name, None))
}


def form_of(node: fx.Node) -> Form | None:
    """What a call of a function or tensor method does; None when that is not known."""
    if node.op == "call_method":
        name = str(node.target)
        return FORMS.get(name if name.startswith("_") else name.rstrip("_"))
    # torchvision is not imported here: its one function is recognised by name.
    if getattr(node.target, "__module__", "") == "torchvision.ops.stochastic_depth":
        return FORMS["stochastic_depth"]
    return _FUNCTIONS.get(node.target)


def op_of(module: nn.Module) -> str | None:
    """The known class of torch.nn that the module is, or behaves as because it adds no forward."""
    for cls in type(module).__mro__:
        operation = OPERATIONS.get(cls.__name__)
        if operation and operation.attributes is not None and getattr(nn, cls.__name__) is cls:
            same = all(
                getattr(type(module), name, None) is getattr(cls, name, None)
                for name in ("forward", "_conv_forward")
            )
            return cls.__name__ if same else None
    return None


def shape_of(op: str, module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """A module's output shape, by the operation's rule; None where there is none that fits."""
    operation = OPERATIONS[op]
    if operation.shape is None:
        return None
    return operation.shape(operation.rank, module_attributes(op, module), shape)
