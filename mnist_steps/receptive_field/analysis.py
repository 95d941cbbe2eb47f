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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from mnist_steps import graph
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import Node, Symbolic
from mnist_steps.receptive_field.axes import FAR, Booleans, Hull, Integers, Reach
from mnist_steps.receptive_field.rules import CHANNELS, Composer, Fields


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

    def _spans(self, axis: int, units: int = 0) -> tuple[Integers, Integers]:
        """Of at least so many units, and of all that there are."""
        hull = self.hulls[axis]
        chosen = slice(-hull.first, -hull.first + max(units, self.units[axis]))
        return hull.starts[chosen], hull.stops[chosen]

    def sizes(self, axis: int) -> tuple[int, ...]:
        """The field's size along one axis, for each unit along it, as if there were no borders."""
        starts, stops = self._spans(axis)
        return tuple(np.maximum(stops - starts, 0).tolist())

    def starts(self, axis: int) -> tuple[int | None, ...]:
        """Where the field begins along one axis, for each unit along it, borders left aside.

        Negative where it begins in padding; None for a unit that sees nothing.
        """
        starts, _ = self._spans(axis)
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
        for axis in range(len(self.units)):
            starts, stops = self._spans(axis, 2)
            steps = set(np.diff(starts).tolist())
            regular = len(steps) == 1 and bool((stops > starts).all())
            step = steps.pop()
            jumps.append(step if regular and step > 0 and self.has_map and not self.note else None)
        return tuple(jumps)

    @property
    def start(self) -> tuple[int | None, ...]:
        """Input coordinate of the first unit's field; negative when it begins in padding."""
        return tuple(self.starts(axis)[0] for axis in range(len(self.units)))

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
            [int(edge[position]) for edge in self._spans(axis)]
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
    return analyze_traced(Symbolic(model), tuple(input_shape))


def analyze_traced(symbolic: Symbolic, input_shape: tuple[int, ...]) -> Analysis:
    """The same for a model that is traced already, so that its calls can be performed as well."""
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
