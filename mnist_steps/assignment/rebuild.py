"""A network built again from its description, and all that the grader measures about it.

The description holds no weights and no code, only names, operations and checked numbers
(see `schema`). The network built from it has fresh weights from torch's random generator.
"""

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnist_steps import graph, receptive_field
from mnist_steps.assignment import schema
from mnist_steps.assignment.schema import Description, GraphRefused, Operation
from mnist_steps.data import INPUT_SHAPE
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT, Graph
from mnist_steps.graph.places import first_line
from mnist_steps.receptive_field import Layer

MOST_PARAMETERS = 10_000_000  # stage 1 has 6.4 million; the assignment's own limit comes later
MOST_MACS = 1_000_000_000  # for one image; stage 1 needs 159 million
MOST_VALUES = 1_000_000  # in all layers' outputs for one image; stage 1 has 0.4 million


OPERATIONS = "the operations"  # an attribute that no layer can be called


class RebuiltNetwork(nn.Module):
    """The described operations, one after the other, with new random weights.

    Takes images (N, 1, 28, 28) and returns log-probabilities (N, 10).
    """

    def __init__(self, description: Description) -> None:
        super().__init__()
        setattr(self, OPERATIONS, description.operations)
        for operation in description.operations:
            if operation.layer is not None:
                _put(self, operation.layer, operation)
        _tie(self, description.operations)

    def forward(self, images: Tensor) -> Tensor:
        values = {INPUT: images}
        operations = getattr(self, OPERATIONS)
        for operation in operations:
            given = [values[name] for name in operation.inputs]
            if operation.layer is not None:
                values[operation.name] = self.get_submodule(operation.layer)(*given)
            else:
                values[operation.name] = compute(operation, given)
        return values[operations[-1].name]


def compute(operation: Operation, given: list[Tensor]) -> Tensor:
    """What an operation without a layer gives."""
    op, settings, x = operation.op, operation.attributes, given[0]
    if op == "reshape":
        return x.reshape(-1, *operation.shape)
    if op == "expand":
        return x.expand(-1, *operation.shape)
    if op == "identity":
        return x.contiguous()
    if op == "getitem":
        return x[tuple(map(_index, settings["index"]))]
    if op in ("cat", "stack"):
        return cast(Tensor, getattr(torch, op)(given, **settings))
    if op == "prod":  # the one that takes a single axis
        return x.prod(settings["dim"][0], keepdim=settings["keepdim"])
    operands: list[Any] = [*given, *(settings[key] for key in ("other",) if key in settings)]
    if "reversed" in settings:
        operands.reverse()
    named = {key: value for key, value in settings.items() if key not in ("other", "reversed")}
    return cast(Tensor, getattr(torch, op)(*operands, **named))


def _index(one: Any) -> Any:
    """As Python spells it; see graph's getitem."""
    if isinstance(one, list):
        return slice(*one)
    return {"new": None, "...": ...}.get(one, one) if isinstance(one, str) else one


def _put(root: nn.Module, path: str, operation: Operation) -> None:
    """Add the operation's layer at its path, with the containers on the way, unless it is there."""
    *containers, last = path.split(".")
    for name in containers:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    if last not in root._modules:
        root.add_module(last, make_layer(operation))


def make_layer(operation: Operation) -> nn.Module:
    """The operation's layer. Raises GraphRefused for settings that torch refuses."""
    kind = getattr(nn, operation.op)
    known = inspect.signature(kind).parameters
    given = {
        name: tuple(one) if isinstance(one, list) else one
        for name, one in operation.attributes.items() if name in known
    }  # fmt: skip
    try:
        layer: nn.Module = kind(**given)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise GraphRefused(f"{operation.name}: {first_line(error).rstrip('.')}.") from error
    return layer


def _tie(root: nn.Module, operations: Sequence[Operation]) -> None:
    """Let layers share the weights that they state by the same name."""
    owners: dict[str, nn.Parameter] = {}
    for operation in operations:
        layer = root.get_submodule(operation.layer) if operation.layer else nn.Module()
        for weight in operation.weights:
            part = weight.rpartition(".")[2]
            own = layer._parameters.get(part)
            if own is None:
                continue
            first = owners.setdefault(weight, own)
            if first.shape != own.shape:
                raise GraphRefused(
                    f"{operation.name}: {weight} is {tuple(first.shape)} in another layer and "
                    f"{tuple(own.shape)} here; what layers share must have one shape."
                )
            layer._parameters[part] = first


@dataclass(frozen=True)
class Network:
    """A described network that was built, traced again and found to be within bounds.

    graph: of the network built from the description, with the submission's own names
    """

    description: Description
    graph: Graph

    def build(self) -> RebuiltNetwork:
        """A new network with random weights from torch's global generator, on the CPU."""
        return RebuiltNetwork(self.description)

    def build_for_speed(self) -> nn.Module:
        """As `build`, with the same weights, in the form that `mnist_steps.engine` can compute.

        That is nn.Sequential, where every layer takes what the one before it gives; other networks
        stay as they are.
        """
        built, operations = self.build(), self.description.operations
        before = [(INPUT,), *((operation.name,) for operation in operations[:-1])]
        places = [operation.layer for operation in operations if operation.layer is not None]
        weights = [weight for operation in operations for weight in operation.weights]
        if (
            len(weights) != len(set(weights))  # two layers share one
            or [tuple(operation.inputs) for operation in operations] != before
            or len(places) != len(set(places))
            or not all(
                one.layer is not None or (one.op == "reshape" and len(one.shape) == 1)
                for one in operations
            )
        ):
            return built
        return nn.Sequential(
            *(
                nn.Flatten() if one.layer is None else built.get_submodule(one.layer)
                for one in operations
            )
        )

    @property
    def parameters(self) -> int:
        return self.graph.total_params

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Receptive fields, by the submission's own names, in execution order.

        Raises GraphRefused when nobody could say what a value depends on, as where images mix.
        """
        with torch.device("meta"):  # the network only: padding's maps are computed
            built = self.build()
        try:
            analysis = receptive_field.analyze(built, INPUT_SHAPE)
        except MnistStepsError as error:
            raise GraphRefused(f"no receptive fields: {first_line(error).rstrip('.')}.") from error
        names = _names(self.description, analysis.graph)
        return {names[layer.name]: layer for layer in analysis.layers}


def rebuild(description: Description) -> Network:
    """Build the network, trace it, and check what only the built network shows.

    Raises GraphRefused when layers do not fit together, when the result is not ten numbers for
    one image, or when the network computes or remembers too much.
    """
    with torch.device("meta"):  # nothing is allocated before the bounds are known
        model = RebuiltNetwork(description)
    total = sum(weight.numel() for weight in model.parameters())
    if total > MOST_PARAMETERS:
        raise GraphRefused(f"{total:,} parameters are more than {MOST_PARAMETERS:,}.")
    try:
        found = graph.trace(model, INPUT_SHAPE)
    except MnistStepsError as error:
        raise GraphRefused(
            f"the layers do not fit together: {first_line(error).rstrip('.')}."
        ) from error
    names = _names(description, found)
    found = Graph(
        input_shape=found.input_shape,
        nodes=tuple(
            dataclasses.replace(
                node,
                name=names[node.name],
                inputs=tuple(names.get(one, one) for one in node.inputs),
            )
            for node in found.nodes
        ),
        outputs=tuple(names[one] for one in found.outputs),
        total_params=found.total_params,
    )
    shape = found.nodes[-1].output_shape
    if shape != (schema.CLASSES,):
        raise GraphRefused(
            f"the network returns {' × '.join(map(str, shape))} values for one image, expected "
            f"{schema.CLASSES}: one for each digit."
        )
    values = sum(prod(node.output_shape) for node in found.nodes)
    for what, count, most in (
        ("multiply-accumulate operations", found.total_macs, MOST_MACS),
        ("values in the outputs of all layers", values, MOST_VALUES),
    ):
        if count > most:
            raise GraphRefused(f"{count:,} {what} for one image, expected at most {most:,}.")
    return Network(description, found)


def read(text: bytes | str) -> Network:
    """From the jail's JSON to a network that can be trained. Raises GraphRefused."""
    return rebuild(schema.parse(text))


def _names(description: Description, found: Graph) -> dict[str, str]:
    """The trace's names to the description's. Each operation gives exactly one node, in order."""
    pairs = zip(found.nodes, description.operations, strict=True)
    return {node.name: operation.name for node, operation in pairs}
