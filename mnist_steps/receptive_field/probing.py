"""A second opinion on receptive fields: not-a-number, followed through the real network."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mnist_steps import graph
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import Symbolic
from mnist_steps.receptive_field.analysis import Layer, analyze_traced
from mnist_steps.receptive_field.axes import Integers
from mnist_steps.receptive_field.execution import Perform, execute, several, twin_of


class FieldMismatch(MnistStepsError):
    """The network does not do what `analyze` says."""


@dataclass(frozen=True)
class Proof:
    """What `verify` compared: `comparisons` is the number of pairs of a unit and a pixel."""

    layers: int
    units: int
    pixels: int
    comparisons: int


def verify(model: nn.Module, input_shape: tuple[int, ...], pixels: int = 1024) -> Proof:
    """Prove `analyze` right by running the real network on images with one NaN pixel each.

    NaN ("not a number") stays NaN in every sum and product, also times a weight of zero, and
    torch's pools and activations keep it. So the units that turn NaN are those that the pixel
    reaches. Nothing of `analyze` is used to find them.

    pixels: of an image with more pixels than this, a sample is probed: corners, middle, and the
        rest at random places, the same in every call
    Runs on a copy of the model, on the CPU. Raises FieldMismatch naming layer, unit and pixel on
    a difference; MnistStepsError when the network gives NaN on an image without.
    """
    symbolic = Symbolic(model)
    analysis = analyze_traced(symbolic, tuple(input_shape))
    twin = twin_of(model)
    dtype = next((one.dtype for one in twin.parameters()), torch.float32)
    image = torch.rand(analysis.input_shape, generator=torch.Generator().manual_seed(0))
    probed = _probed_pixels(analysis.input_shape[1:], pixels)
    largest = max((prod(layer.output_shape) for layer in analysis.layers), default=1)
    batch = int(min(128, max(1, 2**24 // largest)))
    layers = {layer.name: layer for layer in analysis.layers}
    resized = {
        node.name for node in analysis.graph.nodes if "linear" in node.attributes.get("mode", "")
    }
    perform = _reached_by_weight(symbolic, resized)
    comparisons = 0

    def check(pixels: Integers, name: str, value: Any) -> None:
        nonlocal comparisons
        if name in layers and isinstance(value, Tensor):
            comparisons += _compare(layers[name], value[: len(pixels)], pixels)
        elif isinstance(value, Tensor) and value.isnan().any():
            raise FieldMismatch(f"{name} sees the image, but by analyze() it is a constant.")

    def check_clean(name: str, value: Any) -> None:
        if isinstance(value, Tensor) and value.isnan().any():
            raise MnistStepsError(
                f"{name} is NaN on an image without NaN, so NaN cannot show what it sees. "
                "Check the network's weights."
            )

    with torch.no_grad(), _each_output_from_its_own_inputs():
        execute(symbolic, twin, several(image[None].to(dtype)), check_clean)
        for chosen in np.array_split(probed, -(-len(probed) // batch)):
            images = image.to(dtype).repeat(len(chosen), *[1] * image.dim())
            for position, pixel in enumerate(chosen.tolist()):
                images[(position, slice(None), *pixel)] = float("nan")
            execute(symbolic, twin, several(images.clone()), partial(check, chosen), perform)
        _check_trace(symbolic, twin, several(images[:4]))
    return Proof(
        layers=len(layers),
        units=sum(prod(layer.units) for layer in analysis.layers),
        pixels=len(probed),
        comparisons=comparisons,
    )


def _check_trace(symbolic: Symbolic, twin: nn.Module, images: Tensor) -> None:
    """Whether the model's own `forward` gives NaN where its traced calls do.

    They differ when one tensor has two names and is changed in place under one of them.
    """
    output, last = symbolic.output(), [images]

    def keep_output(name: str, value: Any) -> None:
        if name == output:
            last[0] = value

    execute(symbolic, twin, images.clone(), keep_output)
    own: Any = twin(images.clone())
    if isinstance(own, Tensor) and not torch.equal(own.isnan(), last[0].isnan()):
        raise FieldMismatch(
            "the model's forward() gives NaN elsewhere than its traced operations, so the trace "
            "does not show what it does. Does it change a tensor in place that has a second name?"
        )


@contextmanager
def _each_output_from_its_own_inputs() -> Iterator[None]:
    """Switch off the fast convolutions that compute a tile at once and spread NaN over it.

    NNPACK does (Winograd and Fourier transforms), oneDNN may on some processors.
    """
    onednn, *_ = torch.backends.mkldnn.set_flags(False, _fp32_precision=None)
    try:
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.mkldnn.set_flags(onednn, _fp32_precision=None)


def _probed_pixels(sizes: tuple[int, ...], limit: int) -> Integers:
    """Positions to probe: (pixels, axes)."""
    if prod(sizes) <= limit:
        return np.stack([one.ravel() for one in np.indices(sizes)], axis=1)
    ends = np.array([0, 1]) * (np.array(sizes)[:, None] - 1)
    corners = np.stack([one.ravel() for one in np.meshgrid(*ends)], axis=1)
    middle = np.array([sizes]) // 2
    random = np.random.default_rng(0).integers(0, sizes, size=(max(0, limit), len(sizes)))
    return np.concatenate((corners, middle, random))[: max(limit, 1)]


def _reached_by_weight(symbolic: Symbolic, resized: Collection[str]) -> Perform:
    """Linear resizing multiplies some neighbours by exactly zero, where NaN would stay NaN.

    Resizing an image of ones at the NaN pixels shows the true weights instead.
    resized: names of the calls that resize so
    """

    def perform(
        node: fx.Node, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if symbolic.names[node] not in resized:
            return graph.perform(node, root, args, kwargs)
        ones = args[0].isnan().to(args[0].dtype)
        reached = graph.perform(node, root, (ones, *args[1:]), kwargs)
        return torch.where(reached > 1e-6, float("nan"), 0.0)

    return perform


def _compare(layer: Layer, value: Tensor, pixels: Integers) -> int:
    """Raise FieldMismatch unless exactly the expected units are NaN; the number of comparisons.

    value: a batch, one image for each probed pixel
    """
    expected = np.zeros((len(pixels), *layer.units), dtype=bool)
    for product in layer.products:
        seen = np.ones((len(pixels), *layer.units), dtype=bool)
        for axis, reach in enumerate(product):
            shape = [len(pixels), *[1] * len(layer.units)]
            shape[1 + axis] = layer.units[axis]
            seen &= reach.sees(pixels[:, axis]).T.reshape(shape)
        expected |= seen

    # Bring the axes that count rows and columns to the front, unite over all others (channels).
    found = value.isnan()[..., None]
    kept = [dim for dim in layer.map_dims if dim is not None]
    others = [dim for dim in range(1, found.dim()) if dim not in kept]
    found = found.permute(0, *kept, *others).flatten(1 + len(kept))
    found = found.any(dim=-1)
    different = found.reshape(expected.shape).numpy() != expected
    if different.any():
        pixel, *unit = np.argwhere(different)[0].tolist()
        place, names = tuple(pixels[pixel].tolist()), ("sees", "does not see")
        sees = bool(expected[(pixel, *unit)])
        raise FieldMismatch(
            f"{layer.name}: unit {tuple(unit)} {names[sees]} input pixel {place}, but by analyze() "
            f"it {names[not sees]} it.\n  Its clipped box by analyze() is "
            f"{layer.box(tuple(unit))}; {int(different.sum())} pairs of unit and pixel differ."
        )
    return expected.size
