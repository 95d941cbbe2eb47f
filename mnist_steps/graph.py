"""A network as plain data: its operations in order, with attributes, shapes, weights and MACs.

`torch.fx` runs the model's Python code once with a stand-in for the image and notes every call.
The calls are then run on torch's 'meta' device, where a tensor has a shape but no values, and
each one becomes a `Node`. Calls that mean the same get the same description: `F.max_pool2d(x, 2)`
and `nn.MaxPool2d(2)` differ in their names only.

All of this happens on a copy whose weights are on the meta device too, so the model itself is
never run, hooked, switched to another mode or moved. An operation that is not listed in this
file raises `UnknownOperation`; nothing is guessed.
"""

import copy
import inspect
import operator
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mnist_steps.errors import MnistStepsError

INPUT = "(input)"  # how nodes name the network's input; no module can be called so

# The trace runs with two images: an operation that confuses the batch with another axis then
# shows, while with a single image `squeeze()` and `view(1, -1)` would pass unseen.
BATCH = 2


class NotTraceable(MnistStepsError):
    """The model's code cannot be followed: the message says what stopped the trace, and where."""


class UnknownOperation(MnistStepsError):
    """The model uses an operation that this package has no rule for."""


@dataclass(frozen=True)
class Node:
    """One operation.

    name: the module's qualified name ('layer1.0.conv1'); a function's own name within the module
        that calls it ('layer1.0.add'); a repeated use gets a number ('layer1.0.relu_1')
    op: the class of torch.nn where there is one ('Conv2d'), also for functional calls; else
        the function's name ('add', 'cat', 'reshape')
    inputs: names of earlier nodes, of `INPUT`, or of parameters that the operation uses directly
    attributes: all that decides the operation besides weights; axes count the batch as 0
    output_shape: without the batch axis; the full shape if the node does not depend on the input
    params: number of weights used here; what a shared module's nodes repeat, the graph's
        `total_params` counts once
    macs: multiply-accumulate operations for one image, see `count_macs`
    parameters: shapes of the weights and buffers used here, by qualified name
    module: qualified name of the module called; None for functions
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    output_shape: tuple[int, ...]
    params: int = 0
    macs: int = 0
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    module: str | None = None

    def as_data(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Graph:
    """A traced network.

    input_shape: of one image, without the batch axis
    nodes: the operations in execution order
    outputs: names of the nodes that the network returns
    total_params: all weights of the model, each counted once, whether the trace uses it or not
    """

    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    total_params: int

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def total_macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON: the same for the same network, wherever and by whatever it ran."""
        return {
            "input_shape": list(self.input_shape),
            "nodes": [node.as_data() for node in self.nodes],
            "outputs": list(self.outputs),
            "total_params": self.total_params,
        }


def trace(model: nn.Module, input_shape: tuple[int, ...]) -> Graph:
    """The operations that the model performs on one image, in evaluation mode.

    input_shape: channels, then height and width (or one or three spatial axes), no batch
    Raises NotTraceable, or UnknownOperation; both name the place in the model's source.
    """
    return Symbolic(model).run(tuple(input_shape))


# ---- What is known: modules, by the attributes that decide what they do -------------------------

CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
POOL = "kernel_size stride padding"

MODULES: dict[str, str] = {
    "Linear": "in_features out_features bias",
    "LayerNorm": "normalized_shape eps elementwise_affine bias",
    "RMSNorm": "normalized_shape eps elementwise_affine",
    "GroupNorm": "num_groups num_channels eps affine",
    "LocalResponseNorm": "size alpha beta k",
    "Flatten": "start_dim end_dim",
    "Unflatten": "dim unflattened_size",
    "PixelShuffle": "upscale_factor",
    "PixelUnshuffle": "downscale_factor",
    "Upsample": "size scale_factor mode align_corners recompute_scale_factor",
    "UpsamplingNearest2d": "size scale_factor mode align_corners recompute_scale_factor",
    "UpsamplingBilinear2d": "size scale_factor mode align_corners recompute_scale_factor",
    # Activations.
    **dict.fromkeys(
        "ReLU ReLU6 SELU SiLU Mish Hardswish Hardsigmoid Sigmoid Tanh Softsign Tanhshrink "
        "LogSigmoid Softmax2d Identity".split(),
        "",
    ),
    "LeakyReLU": "negative_slope",
    "PReLU": "num_parameters",
    "RReLU": "lower upper",
    "ELU": "alpha",
    "CELU": "alpha",
    "GELU": "approximate",
    "Hardtanh": "min_val max_val",
    "Hardshrink": "lambd",
    "Softshrink": "lambd",
    "Softplus": "beta threshold",
    "Threshold": "threshold value",
    "Softmax": "dim",
    "LogSoftmax": "dim",
    "Softmin": "dim",
    "Dropout": "p",
    "AlphaDropout": "p",
    "FeatureAlphaDropout": "p",
    "ChannelShuffle": "groups",
}
for _rank in (1, 2, 3):
    MODULES |= {
        f"Conv{_rank}d": CONV,
        f"ConvTranspose{_rank}d": f"{CONV} output_padding",
        f"MaxPool{_rank}d": f"{POOL} dilation ceil_mode return_indices",
        f"AvgPool{_rank}d": f"{POOL} ceil_mode count_include_pad"
        + (" divisor_override" if _rank > 1 else ""),
        f"LPPool{_rank}d": "norm_type kernel_size stride ceil_mode",
        f"AdaptiveAvgPool{_rank}d": "output_size",
        f"AdaptiveMaxPool{_rank}d": "output_size return_indices",
        f"BatchNorm{_rank}d": "num_features eps momentum affine track_running_stats",
        f"InstanceNorm{_rank}d": "num_features eps momentum affine track_running_stats",
        f"Dropout{_rank}d": "p",
        f"ZeroPad{_rank}d": "padding",
        f"ConstantPad{_rank}d": "padding value",
        f"ReflectionPad{_rank}d": "padding",
        f"ReplicationPad{_rank}d": "padding",
        f"CircularPad{_rank}d": "padding",
    }

# Attributes with one number per spatial axis: an int stands for the same on every axis.
PER_AXIS = {"kernel_size", "stride", "dilation", "output_padding", "output_size"}

# ---- Functions and tensor methods that do what a module does ------------------------------------
# name: (module, names of the arguments after the input, in order)

FUNCTIONS: dict[str, tuple[str, str]] = {
    "flatten": ("Flatten", "start_dim end_dim"),
    "unflatten": ("Unflatten", "dim sizes"),
    "pixel_shuffle": ("PixelShuffle", "upscale_factor"),
    "pixel_unshuffle": ("PixelUnshuffle", "downscale_factor"),
    "channel_shuffle": ("ChannelShuffle", "groups"),
    "local_response_norm": ("LocalResponseNorm", "size alpha beta k"),
    "interpolate": (
        "Upsample",
        "size scale_factor mode align_corners recompute_scale_factor antialias",
    ),
    "relu": ("ReLU", "inplace"),
    "relu6": ("ReLU6", "inplace"),
    "selu": ("SELU", "inplace"),
    "silu": ("SiLU", "inplace"),
    "mish": ("Mish", "inplace"),
    "hardswish": ("Hardswish", "inplace"),
    "hardsigmoid": ("Hardsigmoid", "inplace"),
    "sigmoid": ("Sigmoid", ""),
    "tanh": ("Tanh", ""),
    "softsign": ("Softsign", ""),
    "tanhshrink": ("Tanhshrink", ""),
    "logsigmoid": ("LogSigmoid", ""),
    "leaky_relu": ("LeakyReLU", "negative_slope inplace"),
    "elu": ("ELU", "alpha inplace"),
    "celu": ("CELU", "alpha inplace"),
    "gelu": ("GELU", "approximate"),
    "hardtanh": ("Hardtanh", "min_val max_val inplace"),
    "hardshrink": ("Hardshrink", "lambd"),
    "softshrink": ("Softshrink", "lambd"),
    "softplus": ("Softplus", "beta threshold"),
    "threshold": ("Threshold", "threshold value inplace"),
    "rrelu": ("RReLU", "lower upper training inplace"),
    "softmax": ("Softmax", "dim _stacklevel dtype"),
    "log_softmax": ("LogSoftmax", "dim _stacklevel dtype"),
    "softmin": ("Softmin", "dim _stacklevel dtype"),
    "dropout": ("Dropout", "p training inplace"),
    "alpha_dropout": ("AlphaDropout", "p training inplace"),
    "feature_alpha_dropout": ("FeatureAlphaDropout", "p training inplace"),
}
for _rank in (1, 2, 3):
    FUNCTIONS |= {
        f"max_pool{_rank}d": (
            f"MaxPool{_rank}d",
            f"{POOL} dilation ceil_mode return_indices",
        ),
        f"avg_pool{_rank}d": (
            f"AvgPool{_rank}d",
            f"{POOL} ceil_mode count_include_pad divisor_override",
        ),
        f"lp_pool{_rank}d": (f"LPPool{_rank}d", "norm_type kernel_size stride ceil_mode"),
        f"adaptive_avg_pool{_rank}d": (f"AdaptiveAvgPool{_rank}d", "output_size"),
        f"adaptive_max_pool{_rank}d": (f"AdaptiveMaxPool{_rank}d", "output_size return_indices"),
        f"dropout{_rank}d": (f"Dropout{_rank}d", "p training inplace"),
    }

# These decide speed, precision or warnings, not what is computed.
IRRELEVANT = {"inplace", "_stacklevel", "dtype", "memory_format", "out", "rounding_mode"}

# Functions that take their weights as arguments.
WEIGHTED: dict[str, tuple[str, str]] = {
    "linear": ("Linear", "weight bias"),
    "batch_norm": ("BatchNorm", "running_mean running_var weight bias training momentum eps"),
    "instance_norm": (
        "InstanceNorm",
        "running_mean running_var weight bias use_input_stats momentum eps",
    ),
    "layer_norm": ("LayerNorm", "normalized_shape weight bias eps"),
    "rms_norm": ("RMSNorm", "normalized_shape weight eps"),
    "group_norm": ("GroupNorm", "num_groups weight bias eps"),
    "prelu": ("PReLU", "weight"),
}
for _rank in (1, 2, 3):
    WEIGHTED |= {
        f"conv{_rank}d": (f"Conv{_rank}d", "weight bias stride padding dilation groups"),
        f"conv_transpose{_rank}d": (
            f"ConvTranspose{_rank}d",
            "weight bias stride padding output_padding groups dilation",
        ),
    }

# ---- Functions without a module: name to argument names -----------------------------------------

# Elementwise: each output element depends on the elements at its place only.
POINTWISE: dict[str, str] = {
    **dict.fromkeys("exp log log1p log2 sqrt rsqrt square abs neg sin cos erf reciprocal".split(), ""),
    "clamp": "min max",
    "clamp_min": "min",
    "clamp_max": "max",
}  # fmt: skip
# Elementwise on two operands, which may be broadcast.
BINARY = {"add", "sub", "mul", "div", "pow", "maximum", "minimum"}
ALIASES = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "ipow": "pow",
    "truediv": "div", "true_divide": "div", "subtract": "sub", "multiply": "mul",
    "divide": "div", "concat": "cat", "concatenate": "cat", "absolute": "abs",
    "negative": "neg", "swapaxes": "transpose", "view": "reshape", "clip": "clamp",
    "upsample": "interpolate",
}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "prod", "std", "var"}
# Values stay, whatever these say about memory, precision or gradients.
IDENTITIES = {"contiguous", "clone", "detach", "to", "type", "type_as", "float", "double", "half"}
SPLITS = {"chunk", "split", "tensor_split", "unbind"}
CHECKS = {"_assert"}


# ---- Tracing ------------------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """Takes the modules listed above as single steps and looks into all others."""

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return _kind(module) is not None or super().is_leaf_module(module, module_qualified_name)


def _kind(module: nn.Module) -> str | None:
    """The known class of torch.nn that the module is, or behaves as because it adds no forward."""
    for cls in type(module).__mro__:
        if cls.__name__ in MODULES and getattr(nn, cls.__name__, None) is cls:
            same = all(
                getattr(type(module), name, None) is getattr(cls, name, None)
                for name in ("forward", "_conv_forward")
            )
            return cls.__name__ if same else None
    return None


class Symbolic:
    """A model's copy without weights, traced: `graph` holds torch.fx's nodes, `names` ours."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.root = _meta_copy(model)
        self.graph = self._trace(stack_traces=False)
        self.names = _names(self.graph, self.root)

    def _trace(self, stack_traces: bool) -> fx.Graph:
        tracer = _Tracer()
        tracer.record_stack_traces = stack_traces
        defaults = {
            name: parameter.default
            for name, parameter in list(inspect.signature(self.root.forward).parameters.items())[1:]
            if parameter.default is not inspect.Parameter.empty
        }
        try:
            return tracer.trace(self.root, concrete_args=defaults or None)
        except Exception as error:
            raise NotTraceable(
                f"{type(self.model).__name__} cannot be traced: {_first_line(error)}\n"
                f"  It stopped at {_failing_line(error) or _class_line(self.model)}.\n"
                "  The trace runs `forward` without pixel values, so it cannot take a decision "
                "that depends on them (if, while, for, int(), len()).\n"
                "  Decide by constants instead, compute both branches and choose with tensor "
                "arithmetic, or analyse the submodules before and after that line one by one."
            ) from error

    def run(self, input_shape: tuple[int, ...]) -> Graph:
        """Run the traced calls on the meta device and describe each one."""
        values: dict[fx.Node, Any] = {}
        nodes: list[Node] = []
        outputs: list[str] = []
        parameters = {id(value) for value in self.root.parameters()}
        with torch.no_grad():
            for fx_node in self.graph.nodes:
                if fx_node.op == "placeholder":
                    values[fx_node] = self._placeholder(fx_node, values, input_shape)
                elif fx_node.op == "get_attr":
                    value = operator.attrgetter(fx_node.target)(self.root)
                    values[fx_node] = value.to("meta") if isinstance(value, Tensor) else value
                elif fx_node.op == "output":
                    found = [one for one in _nodes_in(fx_node.args) if _has_tensor(values[one])]
                    outputs = list(dict.fromkeys(self.names[one] for one in found))
                else:
                    values[fx_node] = self._call(fx_node, values)
                    if isinstance(values[fx_node], Tensor):
                        nodes.append(self._describe(fx_node, values, parameters))
        return Graph(
            input_shape=input_shape,
            nodes=tuple(nodes),
            outputs=tuple(outputs),
            total_params=sum(value.numel() for value in self.model.parameters()),
        )

    def _placeholder(self, node: fx.Node, values: dict[fx.Node, Any], shape: tuple) -> Any:
        if not values:
            return torch.zeros(BATCH, *shape, device="meta")
        if node.args:
            return node.args[0]
        raise NotTraceable(
            f"{type(self.model).__name__}.forward takes a second input, {node.target!r}; "
            "only networks with one input are analysed. Wrap the model in a module that "
            "supplies the others."
        )

    def _call(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda one: values[one])
        try:
            if node.op == "call_module":
                return self.root.get_submodule(node.target)(*args, **kwargs)
            if node.op == "call_method":
                return getattr(args[0], node.target)(*args[1:], **kwargs)
            return node.target(*args, **kwargs)
        except Exception as error:
            given = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
            raise NotTraceable(
                f"{self.names[node]} fails on input of shape {given} (the trace uses a batch of "
                f"{BATCH}): {_first_line(error)}\n  It is called at {self.line(node)}."
            ) from error

    def line(self, node: fx.Node) -> str:
        """'file:line' in the model's source where the operation is called."""
        # Recording where each call came from makes a trace twenty times slower, so it is done
        # again, for the one node that needs it.
        position = list(self.graph.nodes).index(node)
        again = list(self._trace(stack_traces=True).nodes)[position]
        lines = (again.stack_trace or "").splitlines()
        frames = [text.split('"')[1::2][0] + ":" + text.split("line ")[1].split(",")[0]
                  for text in lines if text.lstrip().startswith('File "')]  # fmt: skip
        return _innermost_of_the_model(frames) or _class_line(self.model)

    def _unknown(self, node: fx.Node, what: str) -> UnknownOperation:
        return UnknownOperation(
            f"{self.names[node]}: {what} is not an operation that mnist_steps knows, so what its "
            f"output depends on would be a guess.\n  It is called at {self.line(node)}.\n"
            "  Known are convolutions, pools, padding, resizing, normalization, activations, "
            "linear layers, arithmetic, concatenation and reshaping; see mnist_steps/graph.py."
        )

    def _describe(self, node: fx.Node, values: dict[fx.Node, Any], own: set[int]) -> Node:
        """A call with a tensor as its result, as a Node."""
        tensors = [one for one in _nodes_in((node.args, node.kwargs)) if _has_tensor(values[one])]
        weights = {
            one.target: values[one] for one in tensors
            if one.op == "get_attr" and isinstance(values[one], Tensor)
        }  # fmt: skip
        module = None
        if node.op == "call_module":
            module = str(node.target)
            layer = self.root.get_submodule(module)
            weights |= {f"{module}.{name}": value for name, value in _tensors(layer)}
            op = _kind(layer)
            if op is None:
                raise self._unknown(node, f"the module {type(layer).__name__}")
            attributes = module_attributes(op, layer)
        else:
            op, attributes = self._function(node, values)
        source = None
        if op == "narrow":  # of a tuple: refer to what was split
            source = next(iter(_nodes_in(node.args))).all_input_nodes[0]
        batch = values[node].shape[:1] if self._depends_on_input(node) else ()
        shape = tuple(values[node].shape[len(batch) :])
        params = sum(value.numel() for value in weights.values() if id(value) in own)
        return Node(
            name=self.names[node],
            op=op,
            inputs=(self.names[source],)
            if source is not None
            else tuple(self.names[one] for one in tensors),
            attributes=attributes,
            output_shape=shape,
            params=params,
            macs=count_macs(op, shape, weights, _input_shape(node, values)),
            parameters={name: tuple(value.shape) for name, value in weights.items()},
            module=module,
        )

    def _depends_on_input(self, node: fx.Node) -> bool:
        waiting, seen = [node], set()
        while waiting:
            one = waiting.pop()
            if one.op == "placeholder":
                return True
            new = [before for before in one.all_input_nodes if before not in seen]
            seen.update(new)
            waiting.extend(new)
        return False

    def _function(self, node: fx.Node, values: dict[fx.Node, Any]) -> tuple[str, dict[str, Any]]:
        """Operation and attributes of a function or tensor method."""
        name = function_name(node)
        if name is None:
            raise self._unknown(node, f"the function {_spelled(node)}")
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda one: values[one])
        rest = args[1:]
        value = args[0] if args else kwargs.pop("input", None)
        rank = value.dim() if isinstance(value, Tensor) else 0

        def bound(names: str) -> dict[str, Any]:
            return dict(zip(names.split(), rest, strict=False)) | kwargs

        def axes(dims: Any) -> list[int]:
            if dims is None or dims == ():
                return list(range(rank))
            return sorted(dim % rank for dim in ((dims,) if isinstance(dims, int) else dims))

        if name in FUNCTIONS:
            kind, names = FUNCTIONS[name]
            return self._as_module(node, kind, bound(names), value)
        if name in WEIGHTED:
            kind, names = WEIGHTED[name]
            return _weighted(kind, bound(names), value)
        if name == "pad":
            given = bound("pad mode value")
            mode = {"constant": "Constant", "reflect": "Reflection", "replicate": "Replication",
                    "circular": "Circular"}[given.get("mode", "constant")]  # fmt: skip
            attributes: dict[str, Any] = {"padding": list(given["pad"])}
            if mode == "Constant":
                attributes["value"] = given.get("value") or 0
            return f"{mode}Pad{len(given['pad']) // 2}d", attributes
        if name in POINTWISE:
            return name, _plain(_without_irrelevant(bound(POINTWISE[name])))
        if name in BINARY:
            other = rest[0] if rest else kwargs["other"]
            attributes = {}
            if not isinstance(other, Tensor):
                attributes["other"] = other
            elif not isinstance(value, Tensor):
                attributes = {"other": value, "reversed": True}
            if kwargs.get("alpha", 1) != 1:
                attributes["alpha"] = kwargs["alpha"]
            if kwargs.get("rounding_mode"):
                raise self._unknown(node, f"{_spelled(node)} with rounding_mode")
            return name, _plain(attributes)
        if name in REDUCTIONS:
            given = bound("dim keepdim")
            extra = set(given) - {"dim", "keepdim", "axis", *IRRELEVANT}
            if extra:
                raise self._unknown(node, f"{_spelled(node)} with {', '.join(sorted(extra))}")
            dims = axes(given.get("dim", given.get("axis")))
            return name, {"dim": dims, "keepdim": bool(given.get("keepdim", False))}
        if name in ("cat", "stack"):
            dim = bound("dim").get("dim", kwargs.get("axis", 0))
            rank = value[0].dim() + (name == "stack")
            return name, {"dim": dim % rank}
        if name == "reshape":
            return name, {}  # the output shape says all
        if name in ("squeeze", "unsqueeze"):
            return "reshape", {}
        if name == "permute":
            dims = bound("dims").get("dims")
            dims = rest if isinstance(dims, int) else dims
            return name, {"dims": [dim % rank for dim in dims]}
        if name == "transpose":
            first, second = (
                bound("dim0 dim1")[key] % rank for key in ("dim0", "dim1")
            )  # fmt: skip
            dims = list(range(rank))
            dims[first], dims[second] = second, first
            return "permute", {"dims": dims}
        if name in IDENTITIES:
            return "identity", {}
        if name == "getitem":
            if isinstance(value, (tuple, list)):
                return self._piece(node, values)
            return name, {"index": self._index(node, rest[0])}
        if name in ("narrow", "select"):
            given = bound("dim start length" if name == "narrow" else "dim index")
            if name == "narrow":
                return name, {**given, "dim": given["dim"] % rank}
            index: list[Any] = [None] * (given["dim"] % rank)
            return "getitem", {"index": [*map(_slice, index), given["index"]]}
        if name == "expand":
            return name, {}
        if name == "stochastic_depth":
            given = bound("p mode training")
            return "StochasticDepth", {"p": given["p"], "mode": given["mode"]}
        raise self._unknown(node, f"the function {_spelled(node)}")

    def _as_module(
        self, node: fx.Node, kind: str, given: dict[str, Any], value: Tensor
    ) -> tuple[str, dict[str, Any]]:
        """Describe a function by building the module that does the same."""
        if given.pop("return_indices", False) or given.pop("antialias", False):
            raise self._unknown(node, f"{_spelled(node)} with these options")
        if kind == "Unflatten":
            given["unflattened_size"] = given.pop("sizes")
        if kind in ("Softmax", "LogSoftmax", "Softmin") and given.get("dim") is None:
            raise self._unknown(node, f"{_spelled(node)} without dim")
        training = given.pop("training", kind.endswith("Dropout"))
        if kind == "Flatten":  # the function starts at the batch axis, the module behind it
            given = {"start_dim": 0, "end_dim": -1} | given
        module = getattr(nn, kind)(**_without_irrelevant(given))
        attributes = module_attributes(kind, module)
        for name in {"start_dim", "end_dim", "dim"} & set(attributes):
            attributes[name] %= value.dim()
        if training:  # the call would also drop values in evaluation mode
            attributes["training"] = True
        return kind, attributes

    def _piece(self, node: fx.Node, values: dict[fx.Node, Any]) -> tuple[str, dict[str, Any]]:
        """One of the tensors that chunk, split or unbind made."""
        split, position = node.args
        name = function_name(split)
        if name not in SPLITS or not isinstance(position, int):
            raise self._unknown(node, f"taking a part of what {_spelled(split)} returns")
        pieces = values[split]
        position %= len(pieces)
        source = values[split.all_input_nodes[0]]
        dim = split.kwargs.get("dim", split.args[(1 if name == "unbind" else 2) :])
        dim = (dim if isinstance(dim, int) else dim[0] if dim else 0) % source.dim()
        if name == "unbind":
            return "narrow", {"dim": dim, "start": position, "length": 1, "drop": True}
        start = sum(piece.shape[dim] for piece in pieces[:position])
        return "narrow", {"dim": dim, "start": start, "length": pieces[position].shape[dim]}

    def _index(self, node: fx.Node, index: Any) -> list[Any]:
        index = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(one, (int, slice, types.EllipsisType, types.NoneType)) for one in index):
            raise self._unknown(node, "indexing with a tensor or list")
        return [_slice(one) for one in index]


def _slice(index: Any) -> Any:
    """An index as plain data: an int; 'new' for None; '...'; or [start, stop, step]."""
    if index is None:
        return "new"
    if index is Ellipsis:
        return "..."
    return [index.start, index.stop, index.step] if isinstance(index, slice) else index
