"""Receptive fields of convolutional networks, exact per unit.

A unit's receptive field is the set of input pixels that can change it. A layer's *size* is how
many pixels its field spans, its *jump* how many pixels lie between the fields of neighbouring
units, its *start* where the first unit's field begins; each has one value per axis, in input
pixels. Along one axis, a kernel that covers k units covers size + (k - 1) · jump pixels, and a
stride s multiplies the jump by s (Araujo, Norris and Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019). That arithmetic ends where units of one layer
differ and where branches merge, so this module follows the units themselves:

- Each layer says, along each axis, which of its input's units a unit looks at (`axes`).
  Following these steps back to the image gives, for each unit, the positions
  that it can see along one axis, as runs: dilation leaves holes between them.
- A unit sees the *product* of its rows and columns. Where branches merge, the products unite,
  and a union of products is not a product: a cross is not its bounding square. So a layer keeps
  a list of products, which further layers map one by one; products inside others are dropped.
- Padding is not part of the image. What a unit really reaches ends at the image's border, and
  that is what `box`, `mask` and `pixels` say. `size`, `jump` and `start` are meant without
  borders, as if the image went on for ever.

Channels are not told apart: a field is the union over a layer's channels, also with groups.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mnist_steps import graph
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import Node, Symbolic
from mnist_steps.receptive_field.axes import FAR, Booleans, Hull, Integers, Reach
from mnist_steps.receptive_field.rules import CHANNELS, Composer, Fields


class FieldMismatch(MnistStepsError):
    """The network does not do what `analyze` says."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation's receptive fields; all positions and sizes in input pixels.

    Tuples have one value per axis of the image: (height, width) for images, one value for
    signals, (depth, height, width) for volumes. A unit is named by `row` and `col`; for signals
    by `row` alone, for volumes by a tuple of three as `row`. Where a layer has no map (after
    `flatten`, `mean`, linear layers) there is one unit, (0, 0), which stands for all.

    name, kind, output_shape, params, macs: as in graph.Node
    units: how many units there are along each axis
    note: why a field is global where it is not by its own kernel, such as 'global by gating'
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    input_size: tuple[int, ...]
    units: tuple[int, ...]
    note: str
    products: tuple[tuple[Reach, ...], ...]
    hulls: tuple[Hull, ...]
    map_dims: tuple[int | None, ...]  # which axis of the output, batch included, counts the rows
    has_map: bool

    def _spans(self, axis: int, units: int) -> tuple[Integers, Integers]:
        hull = self.hulls[axis]
        chosen = slice(-hull.first, -hull.first + units)
        return hull.starts[chosen], hull.stops[chosen]

    def sizes(self, axis: int) -> tuple[int, ...]:
        """The field's size along one axis, for each unit along it, as if there were no borders."""
        starts, stops = self._spans(axis, self.units[axis])
        return tuple(np.maximum(stops - starts, 0).tolist())

    def starts(self, axis: int) -> tuple[int | None, ...]:
        """Where the field begins along one axis, for each unit along it, borders left aside.

        Negative where it begins in padding; None for a unit that sees nothing.
        """
        starts, _ = self._spans(axis, self.units[axis])
        return tuple(None if start == FAR else start for start in starts.tolist())

    @property
    def size(self) -> tuple[int, ...]:
        """Span of a unit's field, borders left aside; where units differ, of the largest."""
        return tuple(max(self.sizes(axis)) for axis in range(len(self.units)))

    @cached_property
    def jump(self) -> tuple[int | None, ...]:
        """Distance between the fields of neighbouring units.

        None where it is not the same for all (resizing, adaptive pooling), where the field is
        global (see `note`), and where there is no map. For a map of one unit, the distance to
        where a next one would look.
        """
        jumps: list[int | None] = []
        for axis, units in enumerate(self.units):
            starts, stops = self._spans(axis, max(units, 2))
            steps = set(np.diff(starts).tolist())
            regular = len(steps) == 1 and bool((stops > starts).all())
            step = steps.pop()
            jumps.append(step if regular and step > 0 and self.has_map and not self.note else None)
        return tuple(jumps)

    @property
    def start(self) -> tuple[int | None, ...]:
        """Input coordinate of the first unit's field; negative when it begins in padding."""
        return tuple(self.starts(axis)[0] for axis in range(len(self.units)))

    @property
    def uniform(self) -> bool:
        """Whether all units see as much, at the same distance, borders left aside."""
        return all(
            len(set(self.sizes(axis))) == 1 and (self.jump[axis] is not None or units == 1)
            for axis, units in enumerate(self.units)
        )

    def _unit(self, row: int | Sequence[int], col: int) -> tuple[int, ...]:
        unit = tuple(row) if isinstance(row, Sequence) else (row, col)[: len(self.units)]
        if len(unit) != len(self.units) or not all(
            0 <= position < units for position, units in zip(unit, self.units, strict=False)
        ):
            raise MnistStepsError(f"{self.name} has {times(self.units)} units; there is no {unit}")
        return unit

    def _rows(self, unit: tuple[int, ...]) -> Iterator[list[tuple[Integers, Integers]]]:
        """The runs that a unit sees along each axis, for each product that is not empty."""
        for product in self.products:
            runs = []
            for reach, position in zip(product, unit, strict=True):
                used = reach.starts[position] < FAR
                runs.append((reach.starts[position][used], reach.stops[position][used]))
            if all(len(starts) for starts, _ in runs):
                yield runs

    def box(self, row: int | Sequence[int] = 0, col: int = 0, clip: bool = True) -> tuple[int, ...]:
        """Smallest input box with all that one unit can see: (top, left, bottom, right), half-open.

        clip: of the image's own pixels, exact at borders; False counts padding as if the image
            went on there, so that the box may begin below 0 and end beyond the image
        All zero for a unit that sees nothing. Raises MnistStepsError when there is no such unit.
        """
        unit = self._unit(row, col)
        if clip:
            found = list(self._rows(unit))
            if not found:
                return (0,) * (2 * len(unit))
            first = [min(int(runs[axis][0][0]) for runs in found) for axis in range(len(unit))]
            stop = [max(int(runs[axis][1][-1]) for runs in found) for axis in range(len(unit))]
            return (*first, *stop)
        spans = [
            [int(edge[position]) for edge in self._spans(axis, self.units[axis])]
            for axis, position in enumerate(unit)
        ]
        if any(start >= stop for start, stop in spans):
            return (0,) * (2 * len(unit))
        return (*(start for start, _ in spans), *(stop for _, stop in spans))

    def mask(self, row: int | Sequence[int] = 0, col: int = 0) -> Tensor:
        """Which pixels really reach one unit: bool tensor of the input's size, such as (28, 28)."""
        seen = np.zeros(self.input_size, dtype=bool)
        for runs in self._rows(self._unit(row, col)):
            along = []
            for size, (starts, stops) in zip(self.input_size, runs, strict=True):
                places = np.arange(size)[:, None]
                along.append(np.any((places >= starts) & (places < stops), axis=1))
            product: Booleans = along[0]
            for one in along[1:]:
                product = np.logical_and(product[..., None], one)
            seen |= product
        return torch.from_numpy(seen)

    def pixels(self, row: int | Sequence[int] = 0, col: int = 0) -> int:
        """How many input pixels really reach one unit: inside its clipped box, without holes."""
        found = list(self._rows(self._unit(row, col)))
        if len(found) == 1:
            return prod(int((stops - starts).sum()) for starts, stops in found[0])
        return int(self.mask(row, col).sum()) if found else 0


@dataclass(frozen=True)
class Analysis:
    """A network's layers with their receptive fields; look one up by name or by position.

    layers: in execution order, activations and reshapes included
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    graph: graph.Graph

    def __getitem__(self, layer: str | int) -> Layer:
        if isinstance(layer, int):
            return self.layers[layer]
        for one in self.layers:
            if one.name == layer:
                return one
        names = ", ".join(one.name for one in self.layers)
        raise MnistStepsError(f"there is no layer {layer!r}; there are {names}")

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def analyze(model: nn.Module, input_shape: tuple[int, ...]) -> Analysis:
    """The receptive fields of all layers, in evaluation mode; the model is not run or changed.

    input_shape: channels, then one to three sizes: (1, 28, 28)
    Raises graph.NotTraceable, or graph.UnknownOperation for what has no rule here.
    """
    return _analyze(Symbolic(model), tuple(input_shape))


def _analyze(symbolic: Symbolic, input_shape: tuple[int, ...]) -> Analysis:
    traced = symbolic.run(input_shape)
    if not 2 <= len(traced.input_shape) <= 4:
        raise MnistStepsError(
            f"the input shape {traced.input_shape} has {len(traced.input_shape)} values; expected "
            "channels and one to three sizes, such as (1, 28, 28)"
        )
    composer = Composer(traced, symbolic)
    layers = []
    for node in traced.nodes:
        fields = composer.follow(node)
        if fields is not None:
            layers.append(_layer(composer, node, fields, traced.input_shape[1:]))
    Hull.compute(composer.hulls)
    return Analysis(traced.input_shape, tuple(layers), traced)


def _layer(composer: Composer, node: Node, fields: Fields, input_size: tuple[int, ...]) -> Layer:
    merged = [dim for dim, factors in enumerate(fields.dims) if len(factors) > 1]
    fields = composer.mixed(node, fields, merged)  # a flattened axis: its units as one
    has_map = not merged and len(fields.dims) == 2 + composer.axes
    if has_map:  # count places also where all of them see the same
        for axis in range(composer.axes):
            counting = fields.dim_of(axis)
            place = fields.dims[2 + axis]
            if counting is None and place and all(counted == CHANNELS for _, counted in place):
                fields, _ = composer.attached(node, fields, 2 + axis)
    units = tuple(fields.units(axis) for axis in range(composer.axes))
    for hull, count in zip(fields.hulls, units, strict=True):
        hull.ask(0, count)
    return Layer(
        name=node.name,
        kind=node.op,
        output_shape=node.output_shape,
        params=node.params,
        macs=node.macs,
        input_size=input_size,
        units=units,
        note=fields.note,
        products=fields.products,
        hulls=fields.hulls,
        map_dims=tuple(fields.dim_of(axis) for axis in range(composer.axes)),
        has_map=has_map,
    )


def times(values: Sequence[int | None]) -> str:
    """(14, 14) as '14×14'; a value that differs from unit to unit as a dash."""
    return "×".join("–" if value is None else str(value) for value in values)


# ---- The second opinion: not-a-number, followed through the real network ------------------------


@dataclass(frozen=True)
class Verification:
    """What `verify` compared: `comparisons` is the number of pairs of a unit and a pixel."""

    layers: int
    units: int
    pixels: int
    comparisons: int


def verify(model: nn.Module, input_shape: tuple[int, ...], pixels: int = 1024) -> Verification:
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
    analysis = _analyze(symbolic, tuple(input_shape))
    twin = graph.without_hooks(copy.deepcopy(model)).cpu().eval()
    dtype = next((one.dtype for one in twin.parameters()), torch.float32)
    image = torch.rand(analysis.input_shape, generator=torch.Generator().manual_seed(0))
    probed = _probed_pixels(analysis.input_shape[1:], pixels)
    largest = max(prod(layer.output_shape) for layer in analysis.layers)
    batch = int(min(128, max(1, 2**24 // largest)))
    layers = {layer.name: layer for layer in analysis.layers}
    resized = {
        node.name for node in analysis.graph.nodes if "linear" in node.attributes.get("mode", "")
    }
    comparisons = 0

    def check(pixels: Integers, name: str, value: Any) -> None:
        nonlocal comparisons
        if name in layers and isinstance(value, Tensor):
            comparisons += _compare(layers[name], value, pixels)

    def check_clean(name: str, value: Any) -> None:
        if isinstance(value, Tensor) and value.isnan().any():
            raise MnistStepsError(
                f"{name} is NaN on an image without NaN, so NaN cannot show what it sees. "
                "Check the network's weights."
            )

    with torch.no_grad(), _each_output_from_its_own_inputs():
        _execute(symbolic, twin, image[None].to(dtype), check_clean)
        for chosen in np.array_split(probed, -(-len(probed) // batch)):
            images = image.to(dtype).repeat(len(chosen), *[1] * image.dim())
            for position, pixel in enumerate(chosen.tolist()):
                images[(position, slice(None), *pixel)] = float("nan")
            _execute(symbolic, twin, images.clone(), partial(check, chosen), resized)
        _check_trace(symbolic, twin, images[:4])
    return Verification(
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

    _execute(symbolic, twin, images.clone(), keep_output)
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


def _execute(
    symbolic: Symbolic,
    twin: nn.Module,
    images: Tensor,
    see: Callable[[str, Any], None],
    resized: Collection[str] = (),
) -> None:
    """Run the traced calls on the real layers and show each result, by its graph name, to `see`.

    A value is dropped after its last use. resized: names of linear resizing, for NaN probing
    """
    values: dict[fx.Node, Any] = {}
    uses = {node: len(node.users) for node in symbolic.graph.nodes}
    for node in symbolic.graph.nodes:
        args, kwargs = graph.arguments(node, values)
        if node.op == "placeholder":
            values[node] = images
        elif node.op == "get_attr":
            values[node] = _attribute(twin, symbolic.root, str(node.target))
        elif node.op == "output":
            return
        else:
            name = symbolic.names[node]
            if name in resized:
                values[node] = _reached_by_weight(node, twin, args[0], (args[1:], kwargs))
            else:
                values[node] = graph.perform(node, twin, args, kwargs)
            see(name, values[node])
        for source in node.all_input_nodes:
            uses[source] -= 1
            if not uses[source]:
                del values[source]


def _attribute(twin: nn.Module, traced: nn.Module, target: str) -> Any:
    """A parameter or buffer; a constant that `forward` made is known to the traced copy only."""
    for root in (twin, traced):
        *path, name = target.split(".")
        try:
            return getattr(root.get_submodule(".".join(path)), name)
        except AttributeError:
            continue
    raise MnistStepsError(f"the model has no attribute {target}")


def _reached_by_weight(node: fx.Node, twin: nn.Module, value: Tensor, rest: Any) -> Tensor:
    """Linear resizing multiplies some neighbours by exactly zero, where NaN would stay NaN.

    Resizing an image of ones at the NaN pixels shows the true weights instead.
    """
    reached = graph.perform(node, twin, (value.isnan().to(value.dtype), *rest[0]), rest[1])
    return torch.where(reached > 1e-6, float("nan"), 0.0)


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


# ---- What a trained network makes of its field --------------------------------------------------


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each input pixel moves the middle unit of a layer.

    map: float tensor (height, width), not negative, sums to 1
    size: side in pixels of the smallest square, centred on the unit's field, that holds `share`
        of the map's sum; it ends at the image's border
    """

    layer: str
    map: Tensor
    size: int
    share: float


def effective(
    model: nn.Module,
    images: Tensor,
    layer: int | str = -1,
    share: float = 0.95,
    batch_size: int = 250,
) -> EffectiveField:
    """The effective receptive field of a layer's middle unit, averaged over real images.

    The gradient of the unit, summed over channels, with respect to each pixel, as an absolute
    value, averaged over the images (Luo, Li, Urtasun and Zemel, "Understanding the Effective
    Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016, who show that it is
    bell-shaped and much smaller than the theoretical field). The paper counts the pixels above
    4.55 % of the peak; here the size is that of a square which holds a share of the whole, so
    that it can be compared with the theoretical size.

    images: float tensor (N, C, H, W), normalized as for the network
    Runs on a copy of the model, in evaluation mode, on the images' device.
    """
    if images.dim() != 4:
        raise MnistStepsError(
            f"effective() takes images (N, C, H, W), found a tensor of shape {tuple(images.shape)}"
        )
    symbolic = Symbolic(model)
    chosen = _analyze(symbolic, tuple(images.shape[1:]))[layer]
    twin = graph.without_hooks(copy.deepcopy(model)).to(images.device).eval().requires_grad_(False)
    middle = tuple(units // 2 for units in chosen.units)
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    for batch in images.split(batch_size):
        batch = batch.detach().clone().requires_grad_()
        # The image itself is a leaf, which an in-place activation must not overwrite.
        outputs: list[Tensor] = []

        def see(name: str, value: Any, outputs: list[Tensor] = outputs) -> None:
            if name == chosen.name:
                index: list[Any] = [slice(None)] * value.dim()
                for dim, position in zip(chosen.map_dims, middle, strict=True):
                    if dim is not None:
                        index[dim] = position
                outputs.append(value[tuple(index)].sum())

        _execute(symbolic, twin, batch * 1, see)
        (gradient,) = torch.autograd.grad(outputs[0], batch)
        total += gradient.abs().sum(dim=(0, 1)).double().cpu()
    if not total.sum() > 0:
        raise MnistStepsError(f"{chosen.name} has no gradient on these images: nothing to measure")
    energy = (total / total.sum()).float()
    return EffectiveField(chosen.name, energy, _side(energy, chosen.box(middle), share), share)


def _side(energy: Tensor, box: Sequence[int], share: float) -> int:
    """Side of the smallest square around the box's middle with this share of the energy."""
    top, left, bottom, right = box
    height, width = energy.shape
    for side in range(1, max(height, width) + 1):
        first_row, first_col = (top + bottom - side) // 2, (left + right - side) // 2
        rows = slice(max(0, first_row), max(0, first_row + side))
        cols = slice(max(0, first_col), max(0, first_col + side))
        if energy[rows, cols].sum() >= share - 1e-6:
            return side
    return max(height, width)
