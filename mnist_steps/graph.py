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
import os
import traceback
import types
from collections.abc import Callable
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

ACTIVATIONS: dict[str, str] = {
    **dict.fromkeys(
        "ReLU ReLU6 SELU SiLU Mish Hardswish Hardsigmoid Sigmoid Tanh Softsign Tanhshrink "
        "LogSigmoid Softmax2d".split(),
        "",
    ),
    "LeakyReLU": "negative_slope",
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
}
DROPOUTS: dict[str, str] = dict.fromkeys(
    "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout".split(), "p"
)
MODULES: dict[str, str] = {
    **ACTIVATIONS,
    **DROPOUTS,
    "GroupNorm": "num_groups num_channels eps affine",
    "Identity": "",
    "PReLU": "num_parameters",
    "Linear": "in_features out_features bias",
    "LayerNorm": "normalized_shape eps elementwise_affine bias",
    "RMSNorm": "normalized_shape eps elementwise_affine",
    "LocalResponseNorm": "size alpha beta k",
    "Flatten": "start_dim end_dim",
    "Unflatten": "dim unflattened_size",
    "PixelShuffle": "upscale_factor",
    "PixelUnshuffle": "downscale_factor",
    "ChannelShuffle": "groups",
    "Upsample": "size scale_factor mode align_corners recompute_scale_factor",
    "UpsamplingNearest2d": "size scale_factor mode align_corners recompute_scale_factor",
    "UpsamplingBilinear2d": "size scale_factor mode align_corners recompute_scale_factor",
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
        f"ZeroPad{_rank}d": "padding",
        f"ConstantPad{_rank}d": "padding value",
        f"ReflectionPad{_rank}d": "padding",
        f"ReplicationPad{_rank}d": "padding",
        f"CircularPad{_rank}d": "padding",
    }

# Attributes with one number per spatial axis: an int stands for the same on every axis.
PER_AXIS = {"kernel_size", "stride", "dilation", "output_padding", "output_size"}

# Attributes that number an axis of the input; they count from the batch, and never backwards.
AXES = {"start_dim", "end_dim", "dim"}

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
    **dict.fromkeys("exp log log1p log2 sqrt rsqrt square abs neg".split(), ""),
    **dict.fromkeys("sin cos erf reciprocal".split(), ""),
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


# ---- Tracing ------------------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """Takes the modules listed above as single steps and looks into all others."""

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return _kind(module) is not None or super().is_leaf_module(module, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list[Any]]:
        # One stand-in, for the image; other arguments of `forward` keep their defaults.
        return root_fn, [self.root, self.create_proxy("placeholder", "input", (), {})]


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
        try:
            return tracer.trace(self.root)
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
        own = {id(value) for value in self.root.parameters()}
        moving: set[fx.Node] = set()
        with torch.no_grad():
            for fx_node in self.graph.nodes:
                if fx_node.op == "placeholder" or not moving.isdisjoint(fx_node.all_input_nodes):
                    moving.add(fx_node)
                if fx_node.op == "placeholder":
                    values[fx_node] = torch.zeros(BATCH, *input_shape, device="meta")
                elif fx_node.op == "get_attr":
                    value = operator.attrgetter(fx_node.target)(self.root)
                    values[fx_node] = value.to("meta") if isinstance(value, Tensor) else value
                elif fx_node.op == "output":
                    found = [one for one in _nodes_in(fx_node.args) if _has_tensor(values[one])]
                    outputs = list(dict.fromkeys(self.names[one] for one in found))
                else:
                    self._refuse_unknown_module(fx_node)
                    values[fx_node] = self._call(fx_node, values)
                    if isinstance(values[fx_node], Tensor):
                        nodes.append(self._describe(fx_node, values, own, moving))
        return Graph(
            input_shape=input_shape,
            nodes=tuple(nodes),
            outputs=tuple(outputs),
            total_params=sum(value.numel() for value in self.model.parameters()),
        )

    def _refuse_unknown_module(self, node: fx.Node) -> None:
        if node.op == "call_module":
            layer = self.root.get_submodule(str(node.target))
            if _kind(layer) is None:
                raise self.unknown(self.names[node], f"the module {type(layer).__name__}")

    def _call(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args, kwargs = arguments(node, values)
        try:
            if node.op == "call_module" and args:
                layer = self.root.get_submodule(str(node.target))
                shape = _shape_by_formula(layer, args[0].shape)
                if shape is not None:
                    return torch.empty(shape, device="meta")
            return perform(node, self.root, args, kwargs)
        except Exception as error:
            if node.op != "call_module" and function_name(node) is None:
                raise self.unknown(self.names[node], f"the function {_spelled(node)}") from error
            given = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
            raise NotTraceable(
                f"{self.names[node]} fails on input of shape {given} (the trace uses a batch of "
                f"{BATCH}): {_first_line(error)}\n  It is called at {self.line(node)}."
            ) from error

    def output(self) -> str:
        """The name of the first node that the model returns."""
        return self.names[_nodes_in(list(self.graph.nodes)[-1].args)[0]]

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

    def unknown(self, name: str, what: str) -> UnknownOperation:
        """The error for the operation of this name; `what` completes '... is not known'."""
        node = next(one for one, its_name in self.names.items() if its_name == name)
        return UnknownOperation(
            f"{name}: {what} is not known to mnist_steps, and what its output depends on would "
            f"be a guess.\n  It is called at {self.line(node)}.\n"
            "  Known are convolutions, pools, padding, resizing, normalization, activations, "
            "linear layers, arithmetic, concatenation and reshaping; see mnist_steps/graph.py."
        )

    def _describe(
        self, node: fx.Node, values: dict[fx.Node, Any], own: set[int], moving: set[fx.Node]
    ) -> Node:
        """A call with a tensor as its result, as a Node.

        own: ids of the model's parameters; moving: the nodes that depend on the input
        """
        tensors = [one for one in _nodes_in((node.args, node.kwargs)) if _has_tensor(values[one])]
        weights: dict[str, Tensor] = {
            str(one.target): values[one] for one in tensors
            if one.op == "get_attr" and isinstance(values[one], Tensor)
        }  # fmt: skip
        module = None
        if node.op == "call_module":
            module = str(node.target)
            layer = self.root.get_submodule(module)
            weights |= {f"{module}.{name}": value for name, value in layer.named_parameters()}
            op = _kind(layer) or ""
            attributes = module_attributes(op, layer)
            if "dim" in attributes and attributes["dim"] is None:
                raise self.unknown(self.names[node], f"{op} without dim")
        else:
            op, attributes = self._function(node, values)
        if op in MODULES:
            rank = next(values[one].dim() for one in tensors if isinstance(values[one], Tensor))
            attributes |= {name: value % rank for name, value in attributes.items() if name in AXES}
        # A part of what chunk or split returned is a part of what they were given.
        inputs = [
            one if isinstance(values[one], Tensor) else one.all_input_nodes[0] for one in tensors
        ]
        shape = tuple(values[node].shape)
        if node in moving:
            if shape[:1] != (BATCH,):
                raise NotTraceable(
                    f"{self.names[node]} mixes the images of a batch: for {BATCH} images its "
                    f"output has the shape {shape}.\n  It is called at {self.line(node)}.\n"
                    "  Keep the first axis for the batch, as in x.flatten(1) or x.squeeze(2)."
                )
            shape = shape[1:]
        learnt = [value for value in weights.values() if id(value) in own]
        return Node(
            name=self.names[node],
            op=op,
            inputs=tuple(self.names[one] for one in inputs),
            attributes=attributes,
            output_shape=shape,
            params=sum(value.numel() for value in learnt),
            macs=count_macs(op, shape, learnt, _input_shape(node, values)),
            parameters={name: tuple(value.shape) for name, value in weights.items()},
            module=module,
        )

    def _function(self, node: fx.Node, values: dict[fx.Node, Any]) -> tuple[str, dict[str, Any]]:
        """Operation and attributes of a function or tensor method."""
        name = function_name(node)
        parts = [one for one in node.all_input_nodes if isinstance(values[one], tuple)]
        if name is None or (name != "getitem" and any(_has_tensor(values[one]) for one in parts)):
            raise self.unknown(self.names[node], f"the function {_spelled(node)}")
        args, kwargs = arguments(node, values)
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
            return self._as_module(node, kind, bound(names))
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
            other = rest[0] if rest else kwargs.get("other", kwargs.get("exponent"))
            attributes = {}
            if not isinstance(other, Tensor):
                attributes["other"] = other
            elif not isinstance(value, Tensor):
                attributes = {"other": value, "reversed": True}
            if kwargs.get("alpha", 1) != 1:
                attributes["alpha"] = kwargs["alpha"]
            if kwargs.get("rounding_mode"):
                raise self.unknown(self.names[node], f"{_spelled(node)} with rounding_mode")
            return name, _plain(attributes)
        if name in REDUCTIONS:
            given = bound("dim keepdim")
            extra = set(given) - {"dim", "keepdim", "axis", *IRRELEVANT}
            if extra:
                raise self.unknown(
                    self.names[node], f"{_spelled(node)} with {', '.join(sorted(extra))}"
                )
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
            order = rest if rest and isinstance(rest[0], int) else bound("dims")["dims"]
            return name, {"dims": [dim % rank for dim in order]}
        if name == "transpose":
            given = bound("dim0 dim1")
            first, second = given["dim0"] % rank, given["dim1"] % rank
            dims = list(range(rank))
            dims[first], dims[second] = second, first
            return "permute", {"dims": dims}
        if name in IDENTITIES:
            return "identity", {}
        if name == "getitem":
            if isinstance(value, (tuple, list)):
                return self._piece(node, values)
            return name, {"index": self._index(node, rest[0])}
        if name == "narrow":
            given = bound("dim start length")
            return _part(given["dim"] % rank, given["start"], given["start"] + given["length"])
        if name == "select":
            given = bound("dim index")
            return _part(given["dim"] % rank, given["index"])
        if name == "expand":
            return name, {}
        if name == "stochastic_depth":
            given = bound("p mode training")
            return "StochasticDepth", {"p": given["p"], "mode": given["mode"]}
        raise self.unknown(self.names[node], f"the function {_spelled(node)}")

    def _as_module(
        self, node: fx.Node, kind: str, given: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """Describe a function by building the module that does the same."""
        if given.pop("return_indices", False) or given.pop("antialias", False):
            raise self.unknown(self.names[node], f"{_spelled(node)} with these options")
        if kind == "Unflatten":
            given["unflattened_size"] = given.pop("sizes")
        if kind in ("Softmax", "LogSoftmax", "Softmin") and given.get("dim") is None:
            raise self.unknown(self.names[node], f"{_spelled(node)} without dim")
        training = given.pop("training", kind.endswith("Dropout"))
        if kind == "Flatten":  # the function starts at the batch axis, the module behind it
            given = {"start_dim": 0, "end_dim": -1} | given
        module = getattr(nn, kind)(**_without_irrelevant(given))
        attributes = module_attributes(kind, module)
        if training:  # the call would also drop values in evaluation mode
            attributes["training"] = True
        return kind, attributes

    def _piece(self, node: fx.Node, values: dict[fx.Node, Any]) -> tuple[str, dict[str, Any]]:
        """One of the tensors that chunk, split or unbind made."""
        split, position = node.all_input_nodes[0], node.args[1]
        name = function_name(split)
        if name not in SPLITS or not isinstance(position, int):
            raise self.unknown(self.names[node], f"taking a part of what {_spelled(split)} returns")
        pieces, source = values[split], values[split.all_input_nodes[0]]
        position %= len(pieces)
        given = split.args[1:] if name == "unbind" else split.args[2:]
        dim: Any = split.kwargs.get("dim", given[0] if given else 0)
        dim %= source.dim()
        if name == "unbind":
            return _part(dim, position)
        start = sum(piece.shape[dim] for piece in pieces[:position])
        return _part(dim, start, start + pieces[position].shape[dim])

    def _index(self, node: fx.Node, index: Any) -> list[Any]:
        index = index if isinstance(index, tuple) else (index,)
        if not all(
            isinstance(one, (int, slice, types.EllipsisType, types.NoneType)) for one in index
        ):
            raise self.unknown(self.names[node], "indexing with a tensor or list")
        return [_slice(one) for one in index]


# ---- Helpers ------------------------------------------------------------------------------------


def module_attributes(kind: str, module: nn.Module) -> dict[str, Any]:
    """The attributes of a known module in one normal form: numbers per axis, always as a list."""
    attributes: dict[str, Any] = {}
    rank = int(kind[-2]) if kind[-1] == "d" and kind[-2].isdigit() else None
    for name in MODULES[kind].split():
        value = getattr(module, name)
        if name == "bias":
            value = value is not None
        if rank and isinstance(value, int) and not isinstance(value, bool):
            if name in PER_AXIS or (name == "padding" and "Pad" not in kind):
                value = [value] * rank
        if name == "stride" and value is None:
            value = attributes["kernel_size"]
        attributes[name] = _plain(value)
    return attributes


def _weighted(kind: str, given: dict[str, Any], value: Tensor) -> tuple[str, dict[str, Any]]:
    """Operation and attributes of a function that takes its weights as arguments."""
    weight: Any = given.get("weight")
    bias = given.get("bias")
    if kind.startswith("Conv"):
        rank, groups = weight.dim() - 2, given.get("groups", 1)
        transposed = kind.startswith("ConvTranspose")
        attributes: dict[str, Any] = {
            "in_channels": weight.shape[0] if transposed else weight.shape[1] * groups,
            "out_channels": weight.shape[1] * groups if transposed else weight.shape[0],
            "kernel_size": list(weight.shape[2:]),
            "stride": _per_axis(given.get("stride", 1), rank),
            "padding": _per_axis(given.get("padding", 0), rank),
            "dilation": _per_axis(given.get("dilation", 1), rank),
            "groups": groups,
            "bias": bias is not None,
            "padding_mode": "zeros",
        }
        if transposed:
            attributes["output_padding"] = _per_axis(given.get("output_padding", 0), rank)
        return kind, attributes
    if kind == "Linear":
        return kind, {
            "in_features": weight.shape[1],
            "out_features": weight.shape[0],
            "bias": bias is not None,
        }
    eps = given.get("eps", 1e-5 if kind != "RMSNorm" else None)
    if kind in ("LayerNorm", "RMSNorm"):
        attributes = {
            "normalized_shape": list(given["normalized_shape"]),
            "eps": eps,
            "elementwise_affine": weight is not None,
        }
        return kind, attributes | ({"bias": bias is not None} if kind == "LayerNorm" else {})
    channels = value.shape[1]
    if kind == "GroupNorm":
        groups = given["num_groups"]
        affine = weight is not None
        return kind, {"num_groups": groups, "num_channels": channels, "eps": eps, "affine": affine}
    if kind == "PReLU":
        return kind, {"num_parameters": weight.numel()}
    batch_statistics = given.get("training", given.get("use_input_stats", kind == "InstanceNorm"))
    return f"{kind}{max(1, value.dim() - 2)}d", {
        "num_features": channels,
        "eps": eps,
        "momentum": given.get("momentum", 0.1),
        "affine": weight is not None,
        "track_running_stats": given.get("running_mean") is not None and not batch_statistics,
    }


def count_macs(
    op: str,
    output_shape: tuple[int, ...],
    weights: list[Tensor],
    input_shape: tuple[int, ...],
) -> int:
    """Multiply-accumulate operations for one image, as torchinfo counts mult-adds.

    A convolution's or linear layer's weight acts once per output position, and so does its bias.
    A transposed convolution's weight acts once per *input* position. Other weights
    (normalization, PReLU) count once each: after training they fold into their neighbours.
    What has no weights counts nothing, and neither does a factor such as a layer scale.
    shapes without the batch axis; weights: parameters, not buffers
    """
    matrices = sum(value.numel() for value in weights if value.dim() > 1)
    vectors = sum(value.numel() for value in weights if value.dim() <= 1)
    if op.startswith("ConvTranspose"):
        return matrices * prod(input_shape[1:]) + vectors * prod(output_shape[1:])
    if op.startswith("Conv"):
        return (matrices + vectors) * prod(output_shape[1:])
    if op == "Linear":
        return (matrices + vectors) * prod(output_shape[:-1])
    return matrices + vectors if op in MODULES else 0


def arguments(node: fx.Node, values: dict[fx.Node, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the node is called with, once the results of earlier nodes are known."""
    args: Any = fx.node.map_arg(node.args, lambda one: values[one])
    kwargs: Any = fx.node.map_arg(node.kwargs, lambda one: values[one])
    return args, dict(kwargs)


def perform(node: fx.Node, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what the node notes, with the modules of `root`."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def function_name(node: fx.Node) -> str | None:
    """Our one name for a function or method: 'add' for +, +=, torch.add and Tensor.add_."""
    if node.op == "call_method":
        name = str(node.target)
        found = name
    else:
        name = getattr(node.target, "__name__", "")
        places = (F, torch, operator)
        known = any(getattr(place, name, None) is node.target for place in places)
        # torchvision is not imported here: its one function is recognised by name.
        known |= getattr(node.target, "__module__", "") == "torchvision.ops.stochastic_depth"
        found = name if known else ""
    found = found.rstrip("_") if not found.startswith("_") else found
    found = ALIASES.get(found, found)
    listed = (
        found in FUNCTIONS or found in WEIGHTED or found in POINTWISE or found in BINARY
        or found in REDUCTIONS or found in IDENTITIES or found in SPLITS
        or found in {"pad", "cat", "stack", "reshape", "squeeze", "unsqueeze", "permute",
                     "transpose", "getitem", "narrow", "select", "expand", "stochastic_depth"}
    )  # fmt: skip
    return found if listed else None


def _names(graph: fx.Graph, root: nn.Module) -> dict[fx.Node, str]:
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
            scope = next(reversed(node.meta.get("nn_module_stack") or {"": None}))
            function = getattr(node.target, "__name__", target).strip("_")
            stem = f"{scope}.{function}" if scope else function
        name, number = stem, 0
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names[node] = name
    return names


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes but no values, and without hooks."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        tensors = {**module._parameters, **module._buffers, **vars(module)}
        for value in tensors.values():
            if isinstance(value, nn.UninitializedParameter):
                raise NotTraceable(
                    f"{type(model).__name__} has lazy layers that do not know their shapes yet: "
                    "call it once on an image, then trace it."
                )
            if isinstance(value, nn.Parameter):
                memo[id(value)] = nn.Parameter(value.detach().to("meta"), value.requires_grad)
            elif isinstance(value, Tensor):
                memo[id(value)] = value.detach().to("meta")
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise NotTraceable(
            f"{type(model).__name__} cannot be copied, and the original is never run: "
            f"{_first_line(error)}"
        ) from error
    return without_hooks(twin).eval()


def without_hooks(copied: nn.Module) -> nn.Module:
    """Silence the reader's hooks on our copy, so that they do not notice the analysis."""
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied


def _nodes_in(arguments: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, found.append)
    return found


def _shape_by_formula(layer: nn.Module, shape: torch.Size) -> tuple[int, ...] | None:
    """The output's shape, batch included, for the layers that nearly all networks consist of.

    The meta device would tell it too, but to run a convolution there torch imports sympy, and to
    run a batch normalization its whole compiler: 1.6 seconds in which nothing is computed.
    None for other layers, and where the input does not fit: running it then says why.
    """
    kind = _kind(layer) or ""
    if getattr(layer, "return_indices", False):
        return None
    if kind in ACTIVATIONS or kind in DROPOUTS:
        return tuple(shape)
    if kind.startswith("BatchNorm") and len(shape) == int(kind[-2]) + 2:
        return tuple(shape) if shape[1] == layer.num_features else None
    if kind.startswith("Adaptive") and len(shape) == int(kind[-2]) + 2:
        sizes = module_attributes(kind, layer)["output_size"]
        return (*shape[:2], *(new or old for new, old in zip(sizes, shape[2:], strict=True)))
    convolution = kind in ("Conv1d", "Conv2d", "Conv3d")
    if not (convolution or kind.startswith(("MaxPool", "AvgPool"))):
        return None
    settings = module_attributes(kind, layer)
    padding = settings["padding"]
    if len(shape) != int(kind[-2]) + 2 or isinstance(padding, str) or settings.get("ceil_mode"):
        return None
    if convolution and (shape[1] != settings["in_channels"] or settings["padding_mode"] != "zeros"):
        return None
    sizes = []
    for axis, (size, kernel) in enumerate(zip(shape[2:], settings["kernel_size"], strict=True)):
        if not convolution and 2 * padding[axis] > kernel:
            return None
        span = settings.get("dilation", [1, 1, 1])[axis] * (kernel - 1) + 1
        sizes.append((size + 2 * padding[axis] - span) // settings["stride"][axis] + 1)
    channels = settings["out_channels"] if convolution else shape[1]
    return (shape[0], channels, *sizes) if min(sizes) > 0 else None


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_tensor, value))
    return isinstance(value, Tensor)


def _input_shape(node: fx.Node, values: dict[fx.Node, Any]) -> tuple[int, ...]:
    for one in node.all_input_nodes:
        if isinstance(values[one], Tensor):
            return tuple(values[one].shape[1:])
    return ()


def _plain(value: Any) -> Any:
    """Lists, numbers, strings, True, False and None only, so that JSON keeps it as it is."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise MnistStepsError(f"the attribute {value!r} cannot be written as plain data")


def _per_axis(value: Any, rank: int) -> Any:
    return [value] * rank if isinstance(value, int) else _plain(value)


def _without_irrelevant(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in IRRELEVANT}


def _slice(index: Any) -> Any:
    """An index as plain data: an int; 'new' for None; '...'; or [start, stop, step]."""
    if index is None:
        return "new"
    if index is Ellipsis:
        return "..."
    return [index.start, index.stop, index.step] if isinstance(index, slice) else index


def _part(dim: int, start: int, stop: int | None = None) -> tuple[str, dict[str, Any]]:
    """x[:, ..., start:stop], or x[:, ..., start] without a stop, along axis `dim`."""
    index: list[Any] = [[None, None, None] for _ in range(dim)]
    return "getitem", {"index": [*index, start if stop is None else [start, stop, None]]}


def _spelled(node: fx.Node) -> str:
    if node.op == "call_method":
        return f"Tensor.{node.target}"
    module = getattr(node.target, "__module__", None) or ""
    return f"{module}.{getattr(node.target, '__name__', node.target)}".lstrip(".")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---- Where in the model's source ----------------------------------------------------------------

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"


def _innermost_of_the_model(frames: list[str]) -> str | None:
    """Of 'file:line' texts, outermost first, the last below this file and outside of torch."""
    own = [position for position, frame in enumerate(frames) if frame.startswith(f"{__file__}:")]
    below = frames[own[-1] + 1 :] if own else frames
    outside = [frame for frame in below if not frame.startswith(_TORCH)]
    return outside[-1] if outside else None


def _failing_line(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    return _innermost_of_the_model([f"{frame.filename}:{frame.lineno}" for frame in frames])


def _class_line(model: nn.Module) -> str:
    """Where the model's class begins: layers in a torch.nn.Sequential have no line of their own."""
    if type(model).__module__.startswith("torch.nn"):
        return f"the torch.nn.{type(model).__name__} itself, which calls its parts in order"
    try:
        lines = inspect.getsourcelines(type(model))
        return f"{inspect.getsourcefile(type(model))}:{lines[1]} (class {type(model).__name__})"
    except (OSError, TypeError):
        return f"class {type(model).__name__}"
