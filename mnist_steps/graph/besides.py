"""What a model does besides the operations that its graph lists.

A network that is built anew from a graph has fresh weights, all of them learn, and it does the
same in training as in evaluation, apart from dropout and batch statistics. What is different in
the model is listed here, so that it can be told.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mnist_steps.errors import MnistStepsError
from mnist_steps.graph.nodes import Graph
from mnist_steps.graph.operations import op_of
from mnist_steps.graph.tracing import trace, weight_names

# One difference: what kind, the layer or weight, and more about it.
Besides = tuple[str, str, str]
KINDS = ("hook", "parametrization", "training", "frozen", "initialization", "unused")

MOST_VALUES = 1000  # of a fresh layer's weights, to know within which bounds they lie
ENOUGH = 64  # weights whose spread by chance is never half of what it should be


def besides(model: nn.Module, traced: Graph) -> list[Besides]:
    """The differences between the model and a network that is built from its graph.

    traced: the model's graph, in evaluation mode
    """
    return [
        *_hooks(model),
        *_training(model, traced),
        *_frozen(model),
        *_initialization(model),
        *_unused(model, traced),
    ]


def _hooks(model: nn.Module) -> Iterator[Besides]:
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for tensor in module.parametrizations:
                yield "parametrization", f"{name}.{tensor}".lstrip("."), ""
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            # The older weight_norm and spectral_norm are hooks whose class comes from torch.
            older = type(hook).__module__.startswith("torch.nn.utils")
            yield "parametrization" if older else "hook", name, ""


def _training(model: nn.Module, traced: Graph) -> Iterator[Besides]:
    try:
        training = trace(model, traced.input_shape, training=True)
    except MnistStepsError as error:
        yield "training", "", str(error)
        return
    if _computed(training) != _computed(traced):
        yield "training", "", ""


def _computed(graph: Graph) -> list[tuple[object, ...]]:
    """What the operations do; names may differ, and whether dropout drops."""
    places = {node.name: place for place, node in enumerate(graph.nodes)}
    return [
        (
            node.op,
            {key: value for key, value in node.attributes.items()
             if key not in ("training", "track_running_stats")},
            [places.get(one, one) for one in node.inputs],
            node.output_shape,
            node.module,
        )
        for node in graph.nodes
    ]  # fmt: skip


def _frozen(model: nn.Module) -> Iterator[Besides]:
    names = weight_names(model)
    for value in model.parameters():
        if not value.requires_grad:
            yield "frozen", names[id(value)], ""


@torch.no_grad()
def _initialization(model: nn.Module) -> Iterator[Besides]:
    for name, module in model.named_modules():
        if op_of(module) is None or parametrize.is_parametrized(module):
            continue
        if not hasattr(module, "reset_parameters") or all(
            one is None for one in module._parameters.values()
        ):
            continue
        fresh = copy.deepcopy(module)
        drawn: dict[str, list[Tensor]] = {}
        while True:
            fresh.reset_parameters()
            for key, value in fresh.named_parameters():
                drawn.setdefault(key, []).append(value.flatten().clone())
            if all(sum(map(len, values)) >= MOST_VALUES for values in drawn.values()):
                break
        for key, value in module.named_parameters():
            if not _could_be_drawn(value, torch.cat(drawn[key])):
                yield "initialization", f"{name}.{key}".lstrip("."), ""


def _could_be_drawn(value: Tensor, fresh: Tensor) -> bool:
    """Whether weights look as if they came from where a fresh layer's weights come from.

    Those are constant, or uniform within bounds: beyond them lies no weight, and many together
    spread over all of the range.
    """
    if fresh.min() == fresh.max():
        return bool((value == fresh[0]).all())
    if not value.abs().max() <= 1.05 * fresh.abs().max():
        return False
    if value.numel() > 1 and value.min() == value.max():
        return False
    return value.numel() < ENOUGH or bool(value.std() > fresh.std() / 2)


def _unused(model: nn.Module, traced: Graph) -> Iterator[Besides]:
    names = weight_names(model)
    used = {name for node in traced.nodes for name in node.parameters}
    for path, module in model.named_modules():
        own = {id(value): value for value in module._parameters.values() if value is not None}
        left = {key: value for key, value in own.items() if names[key] not in used}
        count = sum(value.numel() for value in left.values())
        if left:
            kind = type(module).__name__ if len(left) == len(own) and path else "parameter"
            yield "unused", path or names[next(iter(left))], f"{kind}, {count:,}"
