"""Receptive fields of convolutional networks, exact per unit.

A unit's receptive field is the set of input pixels that can change it. A layer's *size* is how
many pixels its field spans, its *jump* how many pixels lie between the fields of neighbouring
units, its *start* where the first unit's field begins; each has one value per axis, in input
pixels. Along one axis, a kernel that covers k units covers size + (k - 1) · jump pixels, and a
stride s multiplies the jump by s (Araujo, Norris and Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019). That arithmetic ends where units of one layer
differ and where branches merge, so this module follows the units themselves:

- Each layer says, along each axis, which of its input's units a unit looks at (the classes
  under "One axis"). Following these steps back to the image gives, for each unit, the positions
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
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from math import floor, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mnist_steps import graph
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT, Node, Symbolic

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
FAR = 1 << 40  # a position beyond every image: what is empty begins and ends there


class FieldMismatch(MnistStepsError):
    """The network does not do what `analyze` says."""


# ---- One axis: which input units does an output unit look at? -----------------------------------


class AxisMap:
    """How a layer looks at its input along one axis."""

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        """Input units of each output unit on an axis without borders, (units, taps), and which
        of the taps count."""
        raise NotImplementedError

    def real_sources(self, units: Integers) -> tuple[Integers, Booleans]:
        """The same at real borders. Sources outside of the input are padding, which is constant."""
        return self.sources(units)


@dataclass(frozen=True)
class Window(AxisMap):
    """Convolution and pooling: unit o looks at o·stride - padding + j·dilation, for j < kernel."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        taps = np.arange(self.kernel) * self.dilation
        found = units[:, None] * self.stride - self.padding + taps
        return found, np.ones_like(found, dtype=bool)


@dataclass(frozen=True)
class TransposedWindow(AxisMap):
    """Transposed convolution: input unit i adds to the units i·stride - padding + j·dilation."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        taps = np.arange(self.kernel) * self.dilation
        scaled = units[:, None] + self.padding - taps
        return scaled // self.stride, scaled % self.stride == 0


@dataclass(frozen=True)
class Adaptive(AxisMap):
    """Adaptive pooling: unit o looks at floor(o·in/out) and on, to before ceil((o+1)·in/out)."""

    size_in: int
    size_out: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        first = units * self.size_in // self.size_out
        stop = -(-(units + 1) * self.size_in // self.size_out)
        found = first[:, None] + np.arange((stop - first).max())
        return found, found < stop[:, None]


@dataclass(frozen=True)
class Everything(AxisMap):
    """Linear layers, means, normalization: each unit looks at the whole axis."""

    size_in: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        found = np.tile(np.arange(self.size_in), (len(units), 1))
        return found, np.ones_like(found, dtype=bool)


@dataclass(frozen=True)
class Broadcast(AxisMap):
    """One unit, given to all places."""

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        return np.zeros((len(units), 1), dtype=np.int64), np.ones((len(units), 1), dtype=bool)


@dataclass(frozen=True)
class Repeat(AxisMap):
    """Pixel shuffle: each unit becomes `factor` neighbours."""

    factor: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        return units[:, None] // self.factor, np.ones((len(units), 1), dtype=bool)


@dataclass(frozen=True)
class Piece(AxisMap):
    """Concatenation along the axis: the units from `first` to `stop` come from this input."""

    first: int
    stop: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        found = units[:, None] - self.first
        return found, ((units >= self.first) & (units < self.stop))[:, None]


@dataclass(frozen=True)
class Border(AxisMap):
    """Padding by another rule than zeros: torch's own rule says which unit stands where."""

    before: int
    after: int
    size_in: int
    mode: str

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        return (units - self.before)[:, None], np.ones((len(units), 1), dtype=bool)

    def real_sources(self, units: Integers) -> tuple[Integers, Booleans]:
        places = torch.arange(self.size_in, dtype=torch.float64)[None, None]
        places = F.pad(places, (self.before, self.after), mode=self.mode)
        return places.long().numpy()[0, 0][units][:, None], np.ones((len(units), 1), dtype=bool)


@dataclass(frozen=True)
class Resize(AxisMap):
    """Nearest-neighbour or linear resizing; torch's own weights say which units count."""

    size_in: int
    size_out: int
    mode: str
    rank: int  # of the image: 1, 2 or 3 axes
    align_corners: bool | None
    scale: float | None  # as the model gives it; torch rounds positions differently with it

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        step = (
            Fraction(self.size_in, self.size_out)
            if self.scale is None
            else 1 / Fraction(self.scale)
        )
        linear, found = "linear" in self.mode, []
        for unit in units.tolist():
            if self.align_corners:
                place = Fraction(unit * (self.size_in - 1), max(1, self.size_out - 1))
            elif linear:
                place = (unit + Fraction(1, 2)) * step - Fraction(1, 2)
            elif self.mode == "nearest-exact":
                place = (unit + Fraction(1, 2)) * step
            else:
                place = unit * step
            below = floor(place)
            found.append((below, below + (1 if linear and place != below else 0)))
        return np.array(found), np.ones((len(units), 2), dtype=bool)

    def real_sources(self, units: Integers) -> tuple[Integers, Booleans]:
        # With as many axes as the model has: in torch 2.15 nearest-neighbour resizing by a scale
        # of 2.3 takes other neighbours on an image than on a signal.
        each_alone = torch.eye(self.size_in, dtype=torch.float64)[:, None]
        each_alone = each_alone.reshape(self.size_in, 1, *[1] * (self.rank - 1), self.size_in)
        ones = [1] * (self.rank - 1)
        weights = F.interpolate(
            each_alone,
            size=[*ones, self.size_out] if self.scale is None else None,
            scale_factor=None if self.scale is None else [*map(float, ones), self.scale],
            mode=self.mode,
            align_corners=self.align_corners,
        ).reshape(self.size_in, self.size_out)
        # A weight of zero is no dependence; rounding leaves some at 1e-17 or, in float32, 1e-8.
        counts = (weights.T.numpy() > 1e-6)[units]
        taps = np.argsort(~counts, axis=1, kind="stable")[:, : max(1, counts.sum(axis=1).max())]
        return taps, np.take_along_axis(counts, taps, axis=1)


# ---- One axis: what has been reached ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reach:
    """Along one axis, the image positions that each unit of a layer can see, as runs.

    starts, stops: (units, runs), first position and one past the last, in order and apart;
        a unit with fewer runs than others has empty ones at FAR
    """

    starts: Integers
    stops: Integers

    def __len__(self) -> int:
        return len(self.starts)

    def through(self, axis_map: AxisMap, units: int) -> "Reach":
        """What the units of a layer see that looks at this one."""
        sources, valid = axis_map.real_sources(np.arange(units))
        valid = valid & (sources >= 0) & (sources < len(self))
        sources = np.where(valid, sources, 0)
        starts = np.where(valid[:, :, None], self.starts[sources], FAR).reshape(units, -1)
        stops = np.where(valid[:, :, None], self.stops[sources], FAR).reshape(units, -1)
        return Reach.of(starts, stops)

    @staticmethod
    def of(starts: Integers, stops: Integers) -> "Reach":
        """From runs in any order, which may overlap or touch."""
        order = np.argsort(starts, axis=1, kind="stable")
        starts = np.take_along_axis(starts, order, axis=1)
        stops = np.maximum.accumulate(np.take_along_axis(stops, order, axis=1), axis=1)
        opens = np.ones(starts.shape, dtype=bool)
        opens[:, 1:] = starts[:, 1:] > stops[:, :-1]
        closes = np.ones(starts.shape, dtype=bool)
        closes[:, :-1] = opens[:, 1:]
        run = np.cumsum(opens, axis=1) - 1
        merged = np.full((2, len(starts), int(run.max()) + 1), FAR)
        row = np.broadcast_to(np.arange(len(starts))[:, None], starts.shape)
        merged[0, row[opens], run[opens]] = starts[opens]
        merged[1, row[closes], run[closes]] = stops[closes]
        used = max(1, int((merged[0] < FAR).any(axis=0).sum()))
        return Reach(merged[0, :, :used], merged[1, :, :used])

    def united(self, other: "Reach") -> "Reach":
        return Reach.of(
            np.concatenate((self.starts, other.starts), axis=1),
            np.concatenate((self.stops, other.stops), axis=1),
        )

    def covers(self, other: "Reach") -> bool:
        """Whether each unit sees at least what the same unit of `other` sees."""
        if self is other:
            return True
        both = self.united(other)
        return np.array_equal(both.starts, self.starts) and np.array_equal(both.stops, self.stops)

    def sees(self, positions: Integers) -> Booleans:
        """Whether each unit sees each of these positions: (units, positions)."""
        inside = (positions >= self.starts[:, :, None]) & (positions < self.stops[:, :, None])
        return np.any(inside, axis=1)

    def counts(self) -> Integers:
        return (self.stops - self.starts).sum(axis=1)


class Hull:
    """Along one axis without borders, the span of image positions that each unit can see.

    A padded layer looks at units beyond its input's borders, which look further out still; how
    far is known only when the whole network has been seen. So the steps are written down first
    and computed at the end, in `compute`.
    """

    def __init__(self, looks_at: "list[tuple[Hull, AxisMap]]") -> None:
        self.looks_at = looks_at
        self.first, self.last = 0, 1  # the units that are asked for
        self.starts = self.stops = np.zeros(0, dtype=np.int64)

    def ask(self, first: int, last: int) -> None:
        self.first, self.last = min(self.first, first), max(self.last, last)

    @staticmethod
    def compute(hulls: "Sequence[Hull]") -> None:
        """Fill in the starts and stops of all hulls, given in the order in which they arose."""
        steps: dict[int, list[tuple[Hull, Integers, Booleans]]] = {}
        for hull in reversed(hulls):
            units = np.arange(hull.first, hull.last + 1)
            steps[id(hull)] = []
            for source, axis_map in hull.looks_at:
                found, valid = axis_map.sources(units)
                if valid.any():
                    source.ask(int(found[valid].min()), int(found[valid].max()))
                steps[id(hull)].append((source, found, valid))
        for hull in hulls:
            if not hull.looks_at:  # the image itself
                hull.starts = np.arange(hull.first, hull.last + 1)
                hull.stops = hull.starts + 1
                continue
            hull.starts = np.full(hull.last - hull.first + 1, FAR)
            hull.stops = np.full(hull.last - hull.first + 1, -FAR)
            for source, found, valid in steps[id(hull)]:
                place = np.where(valid, found - source.first, 0)
                starts = np.where(valid, source.starts[place], FAR).min(axis=1)
                stops = np.where(valid, source.stops[place], -FAR).max(axis=1)
                hull.starts = np.minimum(hull.starts, starts)
                hull.stops = np.maximum(hull.stops, stops)


SAME = Window(kernel=1)

# ---- All axes: the fields of one tensor ---------------------------------------------------------

# A tensor's axis is made of factors, each a length and what it counts: an axis of the image
# (0, 1, 2), the images of the batch, or nothing that matters here (channels). Axes of length 1
# have no factors. After `flatten`, one axis has several.
IMAGES, CHANNELS = -1, -2
Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fields:
    """What the units of one tensor can see.

    dims: the factors of each of the tensor's axes
    products: a unit sees the union of these products of rows and columns; one Reach per image
        axis, with one unit only where the tensor no longer tells places on that axis apart
    hulls: the same without borders, one per image axis
    """

    dims: tuple[Factors, ...]
    products: tuple[tuple[Reach, ...], ...]
    hulls: tuple[Hull, ...]
    note: str = ""

    def dim_of(self, axis: int) -> int | None:
        """The tensor's axis that counts this axis of the image, alone or among others."""
        for dim, factors in enumerate(self.dims):
            if any(counted == axis for _, counted in factors):
                return dim
        return None

    def units(self, axis: int) -> int:
        return len(self.products[0][axis])

    @property
    def is_map(self) -> bool:
        """Whether the tensor is laid out as batch, channels, then the axes of the image."""
        places = [self.dim_of(axis) for axis in range(len(self.hulls))]
        return len(self.dims) == 2 + len(places) and all(
            place in (None, 2 + axis) for axis, place in enumerate(places)
        )

    def with_dim(self, dim: int, factors: Factors) -> "Fields":
        return replace(self, dims=(*self.dims[:dim], factors, *self.dims[dim + 1 :]))


class _Composer:
    """Follows a graph node by node: each node's Fields from those of its inputs."""

    def __init__(self, traced: graph.Graph, symbolic: Symbolic) -> None:
        self.symbolic = symbolic
        self.hulls: list[Hull] = []
        # Most images are square and most kernels too: what was computed for the rows holds for
        # the columns. `through` is a Reach seen through a map, `hull_through` the same for Hulls.
        self.through: dict[tuple[int, AxisMap, int], Reach] = {}
        self.hull_through: dict[tuple[int, AxisMap], Hull] = {}
        self.inside: dict[tuple[int, int], bool] = {}
        self.kept: list[Reach] = []  # keeps ids above valid

        _, *sizes = traced.input_shape
        self.axes = len(sizes)
        identities = {size: Reach(np.arange(size)[:, None], np.arange(size)[:, None] + 1)
                      for size in sizes}  # fmt: skip
        image = self._hull([])
        dims: list[Factors] = [((graph.BATCH, IMAGES),), _channels(traced.input_shape[0])]
        dims += [((size, axis),) if size > 1 else () for axis, size in enumerate(sizes)]
        self.fields: dict[str, Fields] = {
            INPUT: Fields(
                dims=tuple(dims),
                products=(tuple(identities[size] for size in sizes),),
                hulls=(image,) * self.axes,
            )
        }

    def _hull(self, looks_at: list[tuple[Hull, AxisMap]]) -> Hull:
        self.hulls.append(Hull(looks_at))
        return self.hulls[-1]

    def follow(self, node: Node) -> Fields | None:
        """The node's fields; None when it does not depend on the image."""
        given = [self.fields[name] for name in node.inputs if name in self.fields]
        if not given:
            return None
        fields = _rule(node.op)(self, node, given)
        self.fields[node.name] = fields
        return fields

    def unknown(self, node: Node, why: str) -> MnistStepsError:
        return self.symbolic.unknown(node.name, f"{node.op} {why}")

    # -- steps that the rules below are made of --

    def along(self, fields: Fields, axis: int, axis_map: AxisMap, units: int) -> Fields:
        """Units along one image axis become others that look at them."""
        products = []
        for product in fields.products:
            key = (id(product[axis]), axis_map, units)
            if key not in self.through:
                self.kept.append(product[axis])
                self.through[key] = product[axis].through(axis_map, units)
            products.append((*product[:axis], self.through[key], *product[axis + 1 :]))
        hull = fields.hulls[axis]
        if (id(hull), axis_map) not in self.hull_through:
            self.hull_through[id(hull), axis_map] = self._hull([(hull, axis_map)])
        hull = self.hull_through[id(hull), axis_map]
        return replace(
            fields,
            products=tuple(products),
            hulls=(*fields.hulls[:axis], hull, *fields.hulls[axis + 1 :]),
        )

    def attached(self, node: Node, fields: Fields, dim: int) -> tuple[Fields, int]:
        """Make the tensor's axis `dim` count an axis of the image, alone; say which one."""
        factors = fields.dims[dim]
        if len(factors) == 1 and factors[0][1] >= 0:
            return fields, factors[0][1]
        free = [axis for axis in range(self.axes) if fields.dim_of(axis) is None]
        if not free or any(counted != CHANNELS for _, counted in factors):
            raise self.unknown(node, f"along axis {dim}, which mixes axes of the image,")
        axis = dim - 2 if dim - 2 in free else free[0]
        size = prod(length for length, _ in factors)
        if size > 1:  # all places have seen the same so far, such as after a linear layer
            fields = self.along(fields, axis, Broadcast(), size)
        return fields.with_dim(dim, ((size, axis),)), axis

    def look(self, node: Node, fields: Fields, dim: int, axis_map: AxisMap, units: int) -> Fields:
        """A layer that moves along the tensor's axis `dim`."""
        fields, axis = self.attached(node, fields, dim)
        fields = self.along(fields, axis, axis_map, units)
        return fields.with_dim(dim, ((units, axis),) if units > 1 else ())

    def mixed(self, node: Node, fields: Fields, dims: Sequence[int], pool: bool = False) -> Fields:
        """Each unit looks at the whole of these axes of the tensor; their lengths stay."""
        for dim in dims:
            for size, counted in fields.dims[dim]:
                if counted == IMAGES:
                    raise self.unknown(node, "over the images of a batch")
                if counted >= 0:
                    look: AxisMap = Adaptive(size, 1) if pool else Everything(size)
                    fields = self.along(fields, counted, look, 1)
            fields = fields.with_dim(dim, _channels(_length(fields.dims[dim])))
        return fields

    def united(self, several: Sequence[Fields]) -> Fields:
        """The fields of units that see what any of these see; shapes must agree by now."""
        first = several[0]
        products: list[tuple[Reach, ...]] = []
        for product in dict.fromkeys(one for fields in several for one in fields.products):
            if not any(self._covers(other, product) for other in products):
                products = [one for one in products if not self._covers(product, one)]
                products.append(product)
        hulls = []
        for axis in range(self.axes):
            different = list(dict.fromkeys(fields.hulls[axis] for fields in several))
            hulls.append(
                different[0] if len(different) == 1
                else self._hull([(hull, SAME) for hull in different])
            )  # fmt: skip
        notes = [fields.note for fields in several if fields.note]
        return Fields(first.dims, tuple(products), tuple(hulls), notes[0] if notes else "")

    def _covers(self, larger: tuple[Reach, ...], smaller: tuple[Reach, ...]) -> bool:
        for one, other in zip(larger, smaller, strict=True):
            key = (id(one), id(other))
            if key not in self.inside:
                self.kept += (one, other)
                self.inside[key] = one.covers(other)
            if not self.inside[key]:
                return False
        return True

    def broadcast(self, node: Node, given: Sequence[Fields]) -> Fields:
        """Elementwise on several tensors, by torch's broadcasting rules."""
        shape = (graph.BATCH, *node.output_shape)
        given = [
            replace(one, dims=((),) * (len(shape) - len(one.dims)) + one.dims) for one in given
        ]
        dims: list[Factors] = []
        for dim, size in enumerate(shape):
            choices = {one.dims[dim] for one in given if one.dims[dim]}
            # An axis that counts only channels agrees with anything of its length.
            telling = {factors for factors in choices if any(c != CHANNELS for _, c in factors)}
            if len(telling) > 1 or any(_length(factors) != size for factors in telling):
                raise self.unknown(node, f"of tensors that differ in what axis {dim} counts")
            dims.append(telling.pop() if telling else _channels(size))
        note = ""
        for axis in range(self.axes):
            units = max(one.units(axis) for one in given)
            for position, one in enumerate(given):
                if one.units(axis) < units:
                    given[position] = self.along(one, axis, Broadcast(), units)
                    note = "global by gating" if node.op == "mul" else "global by broadcasting"
        joined = self.united([replace(one, dims=tuple(dims)) for one in given])
        return replace(joined, note=f"{note} ({node.name})") if note else joined


def _length(factors: Factors) -> int:
    return prod(length for length, _ in factors)


def _channels(size: int) -> Factors:
    return ((size, CHANNELS),) if size > 1 else ()


# ---- What each operation does -------------------------------------------------------------------

Rule = Callable[[_Composer, Node, list[Fields]], Fields]


def _convolution(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    settings = node.attributes
    fields = composer.mixed(node, given[0], [1])  # a convolution over mixed-up axes raises below
    mode = settings["padding_mode"]
    for axis, kernel in enumerate(settings["kernel_size"]):
        stride, dilation = settings["stride"][axis], settings["dilation"][axis]
        before = after = settings["padding"]
        if before in ("same", "valid"):
            total = dilation * (kernel - 1) if before == "same" else 0
            before, after = total // 2, total - total // 2
        else:
            before = after = before[axis]
        if mode != "zeros":
            size = _length(fields.dims[2 + axis])
            border = Border(before, after, size, mode)
            fields = composer.look(node, fields, 2 + axis, border, before + size + after)
            before = 0
        window = Window(kernel, stride, before, dilation)
        fields = composer.look(node, fields, 2 + axis, window, node.output_shape[1 + axis])
    return fields.with_dim(1, _channels(node.output_shape[0]))


def _transposed(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    fields = composer.mixed(node, given[0], [1])
    for axis, size in enumerate(node.output_shape[1:]):
        names = ("kernel_size", "stride", "padding", "dilation")
        window = TransposedWindow(*(node.attributes[name][axis] for name in names))
        fields = composer.look(node, fields, 2 + axis, window, size)
    return fields.with_dim(1, _channels(node.output_shape[0]))


def _pool(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    if node.attributes.get("return_indices"):
        raise composer.unknown(node, "with return_indices")
    fields, settings = given[0], node.attributes
    for axis, kernel in enumerate(settings["kernel_size"]):
        window = Window(
            kernel,
            settings["stride"][axis],
            settings["padding"][axis] if "padding" in settings else 0,
            settings["dilation"][axis] if "dilation" in settings else 1,
        )
        fields = composer.look(node, fields, 2 + axis, window, node.output_shape[1 + axis])
    return fields


def _adaptive_pool(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    for axis, size in enumerate(node.output_shape[1:]):
        before = _length(fields.dims[2 + axis])
        fields = composer.look(node, fields, 2 + axis, Adaptive(before, size), size)
    return fields


def _resize(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields, settings = given[0], node.attributes
    mode, align = settings["mode"], settings["align_corners"]
    if mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"):
        raise composer.unknown(node, f"with mode {mode!r}")
    scale = None if settings["recompute_scale_factor"] else settings["scale_factor"]
    rank = len(node.output_shape) - 1
    for axis, size in enumerate(node.output_shape[1:]):
        before = _length(fields.dims[2 + axis])
        look: AxisMap = Adaptive(before, size)
        if mode != "area":
            own_scale = scale[axis] if isinstance(scale, list) else scale
            look = Resize(before, size, mode, rank, align, own_scale)
        fields = composer.look(node, fields, 2 + axis, look, size)
    return fields


def _pad(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields, padding = given[0], node.attributes["padding"]
    mode = {"Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}.get(
        node.op[:-5]
    )
    if isinstance(padding, int):
        padding = [padding] * (2 * int(node.op[-2]))
    for position in range(len(padding) // 2):
        before, after = padding[2 * position : 2 * position + 2]
        dim = len(fields.dims) - 1 - position
        if before == after == 0:
            continue
        if all(counted == CHANNELS for _, counted in fields.dims[dim]) and dim < 2:
            fields = fields.with_dim(dim, _channels(node.output_shape[dim - 1]))
            continue
        look: AxisMap = Window(kernel=1, padding=before)
        if mode:
            look = Border(before, after, _length(fields.dims[dim]), mode)
        fields = composer.look(node, fields, dim, look, node.output_shape[dim - 1])
    return fields


def _pointwise(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    return given[0]


def _elementwise(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    return composer.broadcast(node, given)


def _normalize(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields, kind = given[0], node.op.rstrip("123d")
    if kind in ("BatchNorm", "InstanceNorm") and node.attributes["track_running_stats"]:
        return fields  # uses the mean and variance noted in training: one constant per channel
    if kind == "BatchNorm":
        raise composer.unknown(node, "without running statistics, over the images of a batch,")
    rank = len(fields.dims)
    if kind in ("LayerNorm", "RMSNorm"):
        dims = range(rank - len(node.attributes["normalized_shape"]), rank)
    else:
        dims = range(1 if kind == "GroupNorm" else 2, rank)
    mixes = [dim for dim in dims if any(counted >= 0 for _, counted in fields.dims[dim])]
    fields = composer.mixed(node, fields, dims)
    return replace(fields, note=f"global by normalization ({node.name})") if mixes else fields


def _softmax(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    dim = node.attributes.get("dim", len(fields.dims) - 3)  # Softmax2d: over the channels
    return composer.mixed(node, fields, [dim])


def _linear(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    last = len(given[0].dims) - 1
    fields = composer.mixed(node, given[0], [last])
    return fields.with_dim(last, _channels(node.output_shape[-1]))


def _reduce(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    over = node.attributes["dim"]
    fields = composer.mixed(node, given[0], over, pool=True)
    if node.attributes["keepdim"]:
        return replace(
            fields, dims=tuple(() if dim in over else one for dim, one in enumerate(fields.dims))
        )
    return replace(
        fields, dims=tuple(one for dim, one in enumerate(fields.dims) if dim not in over)
    )


def _reshape(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    """Factors are dealt out to the new axes in order; only channels can be cut."""
    fields = given[0]
    factors = [factor for dim in fields.dims for factor in dim]
    dims: list[Factors] = []
    for size in (graph.BATCH, *node.output_shape):
        taken: list[tuple[int, int]] = []
        while size > 1:
            length, counted = factors.pop(0)
            if length > size and length % size == 0 and counted == CHANNELS:
                factors.insert(0, (length // size, CHANNELS))
                length = size
            if size % length:
                raise composer.unknown(node, "that cuts an axis of the image")
            taken.append((length, counted))
            size //= length
        if len(taken) > 1 and all(counted == CHANNELS for _, counted in taken):
            taken = [(prod(length for length, _ in taken), CHANNELS)]
        dims.append(tuple(taken))
    return replace(fields, dims=tuple(dims))


def _permute(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    return replace(given[0], dims=tuple(given[0].dims[dim] for dim in node.attributes["dims"]))


def _getitem(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields, index = given[0], list(node.attributes["index"])
    missing = len(fields.dims) - sum(one not in ("new", "...") for one in index)
    everything = [None, None, None]
    if "..." in index:
        place = index.index("...")
        index[place : place + 1] = [everything] * missing
    else:
        index += [everything] * missing
    new: list[Factors] = []
    dim = 0
    for one in index:
        if one == "new":
            new.append(())
            continue
        size = _length(fields.dims[dim])
        whole = isinstance(one, list) and range(size)[slice(*one)] == range(size)
        if not whole:
            chosen = range(size)[slice(*one)] if isinstance(one, list) else range(size)[one:][:1]
            if all(counted == CHANNELS for _, counted in fields.dims[dim]) and dim != 0:
                fields = fields.with_dim(dim, _channels(len(chosen)))
            elif not chosen:
                raise composer.unknown(node, "that leaves nothing")
            else:
                look = Window(kernel=1, stride=chosen.step, padding=-chosen.start)
                fields = composer.look(node, fields, dim, look, len(chosen))
        if isinstance(one, list):
            new.append(fields.dims[dim])
        dim += 1
    return replace(fields, dims=tuple(new))


def _cat(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    dim = node.attributes["dim"]
    shape = (graph.BATCH, *node.output_shape)
    if len(given) < len(node.inputs):
        raise composer.unknown(node, "with a constant")
    counts_places = dim >= 2 and all(one.is_map for one in given)
    channels = all(counted == CHANNELS for one in given for _, counted in one.dims[dim])
    if channels and not counts_places:
        given = [one.with_dim(dim, _channels(shape[dim])) for one in given]
        return composer.broadcast(node, given)
    pieces, start = [], 0
    for fields in given:
        stop = start + _length(fields.dims[dim])
        fields = composer.look(node, fields, dim, Piece(start, stop), shape[dim])
        pieces.append(fields)
        start = stop
    return composer.broadcast(node, pieces)


def _stack(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    dim = node.attributes["dim"]
    size = _channels(len(node.inputs))
    return composer.broadcast(
        node, [replace(one, dims=(*one.dims[:dim], size, *one.dims[dim:])) for one in given]
    )


def _shuffle(composer: _Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    up = node.op == "PixelShuffle"
    factor = node.attributes["upscale_factor" if up else "downscale_factor"]
    for dim in (2, 3):
        look: AxisMap = Repeat(factor) if up else Window(factor, factor)
        fields = composer.look(node, fields, dim, look, node.output_shape[dim - 1])
    return fields.with_dim(1, _channels(node.output_shape[0]))


RULES: dict[str, Rule] = {
    **dict.fromkeys(graph.MODULES, _pointwise),  # activations and dropout; others follow below
    **dict.fromkeys(graph.POINTWISE, _pointwise),
    **dict.fromkeys(("identity", "StochasticDepth"), _pointwise),
    **dict.fromkeys(graph.BINARY, _elementwise),
    "expand": _elementwise,
    **dict.fromkeys(graph.REDUCTIONS, _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmin", "Softmax2d"), _softmax),
    **dict.fromkeys(("LayerNorm", "RMSNorm", "GroupNorm"), _normalize),
    **dict.fromkeys(("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"), _resize),
    **dict.fromkeys(("reshape", "Flatten", "Unflatten"), _reshape),
    **dict.fromkeys(("PixelShuffle", "PixelUnshuffle"), _shuffle),
    "Linear": _linear,
    "permute": _permute,
    "getitem": _getitem,
    "cat": _cat,
    "stack": _stack,
}
for _rank in (1, 2, 3):
    RULES[f"Conv{_rank}d"] = _convolution
    RULES[f"ConvTranspose{_rank}d"] = _transposed
    RULES |= dict.fromkeys((f"{kind}Pool{_rank}d" for kind in ("Max", "Avg", "LP")), _pool)
    RULES |= dict.fromkeys(
        (f"Adaptive{kind}Pool{_rank}d" for kind in ("Avg", "Max")), _adaptive_pool
    )
    RULES |= dict.fromkeys((f"{kind}Norm{_rank}d" for kind in ("Batch", "Instance")), _normalize)


def _rule(op: str) -> Rule:
    if re.fullmatch(r"(Zero|Constant|Reflection|Replication|Circular)Pad\dd", op):
        return _pad
    return RULES[op]


# ---- What a reader gets -------------------------------------------------------------------------


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
            raise MnistStepsError(f"{self.name} has {_times(self.units)} units; there is no {unit}")
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
    composer = _Composer(traced, symbolic)
    layers = []
    for node in traced.nodes:
        fields = composer.follow(node)
        if fields is not None:
            layers.append(_layer(composer, node, fields, traced.input_shape[1:]))
    Hull.compute(composer.hulls)
    return Analysis(traced.input_shape, tuple(layers), traced)


def _layer(composer: _Composer, node: Node, fields: Fields, input_size: tuple[int, ...]) -> Layer:
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


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


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
