"""Following a model's code: each call with a tensor as its result becomes a Node.

`torch.fx` runs the model's Python code once with a stand-in for the image and notes every call.
The calls are then run on torch's 'meta' device, where a tensor has a shape but no values, and
described as `operations` says.

All of this happens on a copy whose weights are on the meta device too, so the model itself is
never run, hooked, switched to another mode or moved.
"""

import copy
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from mnist_steps.graph.nodes import Attributes, Graph, Node, NotTraceable, UnknownOperation
from mnist_steps.graph.operations import (
    AXES,
    CONSTANTS,
    OPERATIONS,
    RETURNS_SEVERAL,
    Call,
    NotKnown,
    bound,
    form_of,
    from_batch,
    module_attributes,
    op_of,
    shape_of,
)
from mnist_steps.graph.places import (
    calling_line,
    changes_its_input,
    class_line,
    failing_line,
    first_line,
    names_of,
    scope_of,
    spelled,
)
from mnist_steps.graph.shapes import count_macs

# The trace runs with two images: an operation that confuses the batch with another axis then
# shows, while with a single image `squeeze()` and `view(1, -1)` would pass unseen.
BATCH = 2

Values = dict[fx.Node, Any]

DECISION = (
    "  The trace runs `forward` without pixel values, so it cannot take a decision that depends on "
    "them (if, while, for, int(), len()).\n"
    "  Decide by constants instead, compute both branches and choose with tensor arithmetic, or "
    "analyse the submodules before and after that line one by one."
)
FAILURE = (
    "  The trace calls it with a stand-in for the images and no other argument; a stand-in has no "
    "values, and nothing can be assigned to parts of it. Call the model on a batch of images to "
    "see whether that fails as well."
)
# What Python says of a decision that fx does not notice itself.
_DECIDES = re.compile(r"(int|float)\(\) argument|'len' is not supported|as an integer")


def trace(model: nn.Module, input_shape: tuple[int, ...], training: bool = False) -> Graph:
    """The operations that the model performs on one image, in evaluation or in training mode.

    input_shape: channels, then height and width (or one or three spatial axes), no batch
    Raises NotTraceable, or UnknownOperation; both name the place in the model's source.
    """
    return Symbolic(model, training).run(tuple(input_shape))


class _Tracer(fx.Tracer):
    """Takes the modules of `operations` as single steps and looks into all others."""

    # What is computed from a buffer is part of the trace: the copy has no values for it.
    proxy_buffer_attributes = True

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return op_of(module) is not None or super().is_leaf_module(module, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if m not in (self.submodule_paths or {}):  # made in forward, or kept in a list
            if next(m.parameters(), None) is not None:
                raise NotKnown(
                    f"the {type(m).__name__} is no part of the model, so that no optimizer finds "
                    "its weights: make it in __init__, and keep layers in nn.ModuleList, not in a "
                    "list"
                )
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list[Any]]:
        # One stand-in, for the image; other arguments of `forward` keep their defaults.
        return root_fn, [self.root, self.create_proxy("placeholder", "input", (), {})]


class Symbolic:
    """A model's copy without weights, traced: `graph` holds torch.fx's nodes, `names` ours."""

    def __init__(self, model: nn.Module, training: bool = False) -> None:
        self.model = model
        self.root = _meta_copy(model).train(training)
        self.graph = self._trace(stack_traces=False)
        self.names = names_of(self.graph, self.root)

    def _trace(self, stack_traces: bool) -> fx.Graph:
        tracer = _Tracer()
        tracer.record_stack_traces = stack_traces
        try:
            return tracer.trace(self.root)
        except NotKnown as error:
            raise NotTraceable(
                f"{type(self.model).__name__} cannot be traced: {error}.\n"
                f"  It stopped at {failing_line(error) or class_line(self.model)}."
            ) from error
        except Exception as error:
            decides = isinstance(error, fx.proxy.TraceError) or bool(_DECIDES.search(str(error)))
            raise NotTraceable(
                f"{type(self.model).__name__} cannot be traced: "
                f"{'' if decides else f'its forward() fails with {type(error).__name__}: '}"
                f"{first_line(error)}\n"
                f"  It stopped at {failing_line(error) or class_line(self.model)}.\n"
                f"{DECISION if decides else FAILURE}"
            ) from error

    def run(self, input_shape: tuple[int, ...]) -> Graph:
        """Run the traced calls on the meta device and describe each one."""
        values: Values = {}
        nodes: list[Node] = []
        outputs: list[str] = []
        own = weight_names(self.root)
        moving: set[fx.Node] = set()
        with torch.no_grad():
            for fx_node in self.graph.nodes:
                # An image's size is no pixel: what only depends on that is a constant.
                form = form_of(fx_node)
                if not (form and form.op in CONSTANTS) and any(
                    one in moving and _has_tensor(values[one]) for one in fx_node.all_input_nodes
                ):
                    moving.add(fx_node)
                if fx_node.op == "placeholder":
                    moving.add(fx_node)
                    values[fx_node] = torch.zeros(BATCH, *input_shape, device="meta")
                elif fx_node.op == "get_attr":
                    value = operator.attrgetter(fx_node.target)(self.root)
                    values[fx_node] = value.to("meta") if isinstance(value, Tensor) else value
                elif fx_node.op == "output":
                    found = [one for one in _nodes_in(fx_node.args) if _has_tensor(values[one])]
                    outputs = list(dict.fromkeys(self.names[one] for one in found))
                else:
                    values[fx_node] = value = self._call(fx_node, values)
                    if isinstance(value, Tensor):
                        values[fx_node] = value.to("meta")
                        nodes.append(self._describe(fx_node, values, own, moving))
        return Graph(
            input_shape=input_shape,
            nodes=tuple(nodes),
            outputs=tuple(outputs),
            total_params=sum(value.numel() for value in self.model.parameters()),
        )

    def _call(self, node: fx.Node, values: Values) -> Any:
        """What a call gives, on the meta device."""
        args, kwargs = arguments(node, values)
        shape = None
        try:
            if node.op == "call_module":
                layer = self.root.get_submodule(str(node.target))
                op = op_of(layer)
                if op is None:
                    raise NotKnown(f"the module {type(layer).__name__}")
                if args:
                    shape = shape_of(op, layer, tuple(args[0].shape))
            if shape is not None:
                return torch.empty(shape, device="meta")
            if node.op == "call_method" and node.target in ("to", "cpu", "cuda"):
                return args[0]  # where a tensor lies is not its concern: x.to(device)
            result = perform(node, self.root, args, kwargs)
            if node.op != "call_module" and _has_tensor(result) and not isinstance(result, Tensor):
                form = form_of(node)
                if form is None or form.describe not in RETURNS_SEVERAL:
                    raise NotKnown(f"the function {spelled(node)}")
            return result
        except NotKnown as error:
            raise self.unknown(self.names[node], str(error)) from error
        except Exception as error:
            if node.op != "call_module" and form_of(node) is None:
                raise self.unknown(self.names[node], f"the function {spelled(node)}") from error
            given = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
            raise NotTraceable(
                f"{self.names[node]} fails on input of shape {given} (the trace uses a batch of "
                f"{BATCH}): {first_line(error)}\n  It is called at {self.line(node)}."
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
        return calling_line(again) or class_line(self.model)

    def unknown(self, name: str, what: str) -> UnknownOperation:
        """The error for the operation of this name; `what` completes '... is not known'."""
        node = next(one for one, its_name in self.names.items() if its_name == name)
        if self._in_attention(node):
            return UnknownOperation(
                f"{name}: {what} belongs to attention, which is not known to mnist_steps.\n"
                f"  It is called at {self.line(node)}.\n"
                "  Which pixels a unit of attention looks at depends on their values, so it has no "
                "receptive field that holds for every image."
            )
        return UnknownOperation(
            f"{name}: {what} is not known to mnist_steps, and what its output depends on would "
            f"be a guess.\n  It is called at {self.line(node)}.\n"
            "  Known are convolutions, pools, padding, resizing, normalization, activations, "
            "linear layers, arithmetic, concatenation and reshaping; see "
            "mnist_steps/graph/operations.py."
        )

    def _in_attention(self, node: fx.Node) -> bool:
        """Whether the module whose code makes this call computes attention, or one around it."""
        scopes = {scope_of(one) for one in self.graph.nodes if self._attends(one)}
        scope = scope_of(node)
        return scope in scopes or any(one and scope.startswith(f"{one}.") for one in scopes)

    def _attends(self, node: fx.Node) -> bool:
        """Whether the call is named attention, or is a product with a softmax."""
        if node.op == "call_module":
            called = type(self.root.get_submodule(str(node.target))).__name__
        else:
            called = getattr(node.target, "__name__", str(node.target))
        if called not in ("matmul", "bmm", "baddbmm", "einsum"):
            return "attention" in called.lower()
        # Between softmax and the product there may be a dropout and a change of type.
        return any("softmax" in str(one).lower() for one in _before(node, steps=3))

    def _describe(
        self, node: fx.Node, values: Values, own: dict[int, str], moving: set[fx.Node]
    ) -> Node:
        """A call with a tensor as its result, as a Node.

        own: the model's parameters, as `weight_names`; moving: the nodes that depend on the input
        """
        tensors = [one for one in _nodes_in((node.args, node.kwargs)) if _has_tensor(values[one])]
        weights: dict[str, Tensor] = {
            own.get(id(values[one]), str(one.target)): values[one] for one in tensors
            if one.op == "get_attr" and isinstance(values[one], Tensor)
        }  # fmt: skip
        module = None
        try:
            if node.op == "call_module":
                module = str(node.target)
                layer = self.root.get_submodule(module)
                weights |= {own[id(value)]: value for value in layer.parameters()}
                op = op_of(layer) or ""
                attributes = module_attributes(op, layer)
            else:
                op, attributes = self._function(node, values)
        except NotKnown as error:
            raise self.unknown(self.names[node], str(error)) from error
        if OPERATIONS[op].attributes is not None:
            rank = next(values[one].dim() for one in tensors if isinstance(values[one], Tensor))
            attributes |= {
                name: from_batch(attributes[name], rank) for name in AXES & {*attributes}
            }
        # A part of what chunk or split returned is a part of what they were given.
        inputs = [
            one if isinstance(values[one], Tensor) else one.all_input_nodes[0]
            for one in tensors
            if node in moving or one not in moving
        ]
        shape = tuple(values[node].shape)
        if node in moving:
            if changes_its_input(node) and inputs and node.args[0] not in moving:
                # Whoever reads the constant afterwards would read it as it was.
                raise self.unknown(self.names[node], f"{spelled(node)} on a constant")
            moves = op == "permute" and attributes["dims"][0] != 0
            if moves or (shape[:1] != (BATCH,) and self._in_attention(node)):
                what = " that moves the images of the batch to another axis" if moves else ""
                raise self.unknown(self.names[node], f"{spelled(node)}{what}")
            if shape[:1] != (BATCH,):
                raise NotTraceable(
                    f"{self.names[node]} does not keep the first axis for the images of a batch: "
                    f"for {BATCH} images its output has the shape {shape}.\n"
                    f"  It is called at {self.line(node)}.\n"
                    "  Leave that axis as it is, as in x.flatten(1) or x.squeeze(2)."
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

    def _function(self, node: fx.Node, values: Values) -> tuple[str, Attributes]:
        """Operation and attributes of a function or tensor method. Raises NotKnown."""
        form, what = form_of(node), spelled(node)
        args, kwargs = arguments(node, values)
        pieces: Any = ()
        position: Any = 0
        if node.target in (operator.getitem, getattr) and isinstance(args[0], tuple):
            pieces, position = args
            if isinstance(position, str):
                position = {"values": 0, "indices": 1}.get(position)  # of torch.max
            node = node.all_input_nodes[0]
            form = form_of(node)
            what = spelled(node)
            if form is None or form.describe not in RETURNS_SEVERAL or type(position) is not int:
                raise NotKnown(f"taking a part of what {what} returns")
            position %= len(pieces)
            args, kwargs = arguments(node, values)
        elif form is None or any(
            isinstance(values[one], tuple) and _has_tensor(values[one])
            for one in node.all_input_nodes
        ):
            raise NotKnown(f"the function {what}")
        args = args or (kwargs.pop("tensors", kwargs.pop("input", None)),)
        given = bound(form, args[1:], kwargs)
        return form.describe(Call(form.op, args[0], given, what, pieces, position))


def weight_names(root: nn.Module) -> dict[int, str]:
    """The name of each parameter, by its id: in the first layer that has it.

    So weights that several layers share have one name in all of them.
    """
    names: dict[int, str] = {}
    for path, module in root.named_modules():
        if op_of(module) is not None:
            for name, value in module.named_parameters(path, recurse=False):
                names.setdefault(id(value), name)
    for name, value in root.named_parameters():
        names.setdefault(id(value), name)
    return names


def arguments(node: fx.Node, values: Values) -> tuple[tuple[Any, ...], dict[str, Any]]:
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


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy whose tensors have shapes but no values, and without hooks."""
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
                # What is computed from a plain attribute leaves no trace: it keeps its values.
                plain = id(value) in map(id, vars(module).values())
                memo[id(value)] = value.detach().clone() if plain else value.detach().to("meta")
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise NotTraceable(
            f"{type(model).__name__} cannot be copied, and the original is never run: "
            f"{first_line(error)}"
        ) from error
    return without_hooks(twin)


def without_hooks(copied: nn.Module) -> nn.Module:
    """Silence the reader's hooks on our copy, so that they do not notice the analysis."""
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied


def _before(node: fx.Node, steps: int) -> set[fx.Node]:
    """What the node takes, and what these take, this many steps back."""
    found = {node}
    for _ in range(steps):
        found |= {source for one in found for source in one.all_input_nodes}
    return found - {node}


def _nodes_in(arguments: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, found.append)
    return found


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_tensor, value))
    return isinstance(value, Tensor)


def _input_shape(node: fx.Node, values: Values) -> tuple[int, ...]:
    for one in node.all_input_nodes:
        if isinstance(values[one], Tensor):
            return tuple(values[one].shape[1:])
    return ()
