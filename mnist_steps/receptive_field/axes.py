"""Along one axis: which units a unit looks at, and how far back it sees.

The maps say, for each kind of layer, which of its input's units an output unit looks at. A
Reach follows such steps back to the image, exactly, with holes and borders; a Hull does the
same as if the image had no borders. Both are in input pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
FAR = 1 << 40  # a position beyond every image: what is empty begins and ends there

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


def _all_of(found: Integers) -> tuple[Integers, Booleans]:
    """Sources of which each one counts."""
    return found, np.ones_like(found, dtype=bool)


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
        return _all_of(found)


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
        return _all_of(found)


@dataclass(frozen=True)
class Broadcast(AxisMap):
    """One unit, given to all places."""

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        return _all_of(np.zeros((len(units), 1), dtype=np.int64))


@dataclass(frozen=True)
class Repeat(AxisMap):
    """Pixel shuffle: each unit becomes `factor` neighbours."""

    factor: int

    def sources(self, units: Integers) -> tuple[Integers, Booleans]:
        return _all_of(units[:, None] // self.factor)


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
        return _all_of((units - self.before)[:, None])

    def real_sources(self, units: Integers) -> tuple[Integers, Booleans]:
        places = torch.arange(self.size_in, dtype=torch.float64)[None, None]
        places = F.pad(places, (self.before, self.after), mode=self.mode)
        return _all_of(places.long().numpy()[0, 0][units][:, None])


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


class Hull:
    """Along one axis without borders, the span of image positions that each unit can see.

    A padded layer looks at units beyond its input's borders, which look further out still; how
    far is known only when the whole network has been seen. So the steps are written down first
    and computed at the end, in `compute`.
    """

    def __init__(self, looks_at: "list[tuple[Hull, AxisMap]]") -> None:
        self.looks_at = looks_at
        self.first, self.last = 0, 1  # the units that are asked for
        self.starts: Integers  # these two are there once they are computed
        self.stops: Integers

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
