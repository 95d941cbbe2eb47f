"""Roads to a small network: accuracy against what a network costs, each road a shape of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from mnist_steps.experiments.evidence import Interval
from mnist_steps.figures.containers import Beside
from mnist_steps.figures.fluid import fluid
from mnist_steps.figures.style import Figure, colour

# By name: a colour of PALETTE, and a path around (0, 0), about 10 pixels large.
SHAPES = {
    "redesign": ("test", "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z"),
    "single weights": ("wrong", "M0 -6L6 5L-6 5Z"),
    "channels": ("train", "M-4.5 -4.5H4.5V4.5H-4.5Z"),
    "low rank": ("accent", "M0 -6.5L6.5 0L0 6.5L-6.5 0Z"),
    "quantization": ("ink", "M0 6L6 -5L-6 -5Z"),
    "distillation": ("muted", "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z"),
}
WORST = 97.0  # percent: what is below stands at the bottom
MARKS = (97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7)
LEFT, RIGHT = 11.0, 96.0  # percent of the width
TOP, HEIGHT = 40, 270  # pixels


@dataclass(frozen=True)
class Place:
    """A network on the figure.

    road: one of SHAPES; label: a few letters beside it, '' for none
    mean: test accuracy in percent; interval: of the mean, if there is one
    """

    road: str
    label: str
    size: float
    microseconds: float
    mean: float
    interval: Interval | None


def roads_compared(places: Sequence[Place], target: float) -> Beside:
    """Two pictures: accuracy against the bytes of a file, and against time for an image.

    target: in percent
    """
    return Beside(
        (
            _picture(places, [one.size for one in places], "bytes of the file", "bytes", target),
            _picture(
                places, [one.microseconds for one in places],
                "microseconds for an image, one thread", "µs", target,
            ),
        )
    )  # fmt: skip


def _picture(
    places: Sequence[Place], values: Sequence[float], axis: str, unit: str, target: float
) -> Figure:
    low, high = math.log10(0.7 * min(values)), math.log10(1.5 * max(values))
    highest = max(one.interval.high if one.interval else one.mean for one in places)
    first, last = math.log(100 - WORST), math.log(max(0.85 * (100 - highest), 0.01))

    def across(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (math.log10(value) - low) / (high - low)

    def down(accuracy: float) -> float:
        error = min(100 - accuracy, 100 - WORST)
        return TOP + (HEIGHT - TOP) * (1 - (math.log(error) - first) / (last - first))

    parts = [f'<text x="0" y="14" fill="{colour("muted")}">test accuracy in percent</text>']
    for mark in MARKS:
        if 100 - mark >= math.exp(last):
            aim = mark == target
            name, width = ("accent", 1.4) if aim else ("grid", 0.8)
            y = down(mark)
            parts.append(
                f'<line x1="{LEFT}%" x2="{RIGHT}%" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{colour(name)}" stroke-width="{width}"/>'
                f'<text x="{LEFT - 1.5}%" y="{y + 4:.1f}" text-anchor="end" '
                f'fill="{colour("accent" if aim else "muted")}">{mark:g}</text>'
            )
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = across(10.0**power)
        parts.append(
            f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="{TOP - 8}" y2="{HEIGHT}" '
            f'stroke="{colour("grid")}" stroke-width="0.8"/>'
            f'<text x="{x:.2f}%" y="{HEIGHT + 18}" text-anchor="middle" '
            f'fill="{colour("muted")}">{_short(10**power, unit)}</text>'
        )
    middle = (LEFT + RIGHT) / 2
    parts.append(
        f'<text x="{middle}%" y="{HEIGHT + 36}" text-anchor="middle" '
        f'fill="{colour("muted")}">{axis}</text>'
    )
    named: list[tuple[float, float]] = []
    for place, value in zip(places, values, strict=True):
        x, y = across(value), down(place.mean)
        # A label that would run over another one is left out: the text and the table have it.
        free = all(abs(x - a) > 10 or abs(y - b) > 12 for a, b in named)
        if place.label and free:
            named.append((x, y))
        parts.append(_mark(place, x, down, labelled=free))
    used = [road for road in SHAPES if any(place.road == road for place in places)]
    for number, road in enumerate(used):
        x, y = (2, 52)[number % 2], HEIGHT + 58 + 20 * (number // 2)
        parts.append(
            _shape(road, f"{x + 2}%", y)
            + f'<text x="{x + 2}%" dx="11" y="{y + 4}" fill="{colour("ink")}">{road}</text>'
        )
    below = HEIGHT + 62 + 20 * ((len(used) - 1) // 2)
    listed = "; ".join(
        f"{place.road}, {place.label or 'no name'}: {value:,.0f} {unit}, {place.mean:.2f} %"
        + (f" ({place.interval.low:.2f} to {place.interval.high:.2f})" if place.interval else "")
        for place, value in zip(places, values, strict=True)
    )
    return fluid(parts, below + 8, f"Test accuracy against {axis}. {listed}.")


def _short(value: float, unit: str) -> str:
    """A tick: '10 kB', '1 ms'."""
    units = ("B", "kB", "MB", "GB") if unit == "bytes" else ("µs", "ms", "s", "ks")
    power = int(math.log10(value) + 1e-9) // 3
    return f"{value / 1000**power:g} {units[power]}"


def _mark(place: Place, x: float, down: Callable[[float], float], labelled: bool) -> str:
    parts = ""
    if place.interval:
        ends = down(place.interval.low), down(place.interval.high)
        parts = (
            f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" '
            f'stroke="{colour(SHAPES[place.road][0])}" stroke-width="2" stroke-opacity="0.5"/>'
        )
    y = down(place.mean)
    parts += _shape(place.road, f"{x:.2f}%", y)
    if place.label and labelled:
        end = x > 88
        parts += (
            f'<text x="{x:.2f}%" dx="{-9 if end else 9}" y="{y + 4:.1f}" font-size="11.5" '
            f'text-anchor="{"end" if end else "start"}" '
            f'fill="{colour("ink")}">{escape(place.label)}</text>'
        )
    return parts


def _shape(road: str, x: str, y: float) -> str:
    name, path = SHAPES[road]
    return (
        f'<svg x="{x}" y="{y:.1f}" width="1" height="1" overflow="visible">'
        f'<path d="{path}" fill="{colour(name)}" fill-opacity="0.85"/></svg>'
    )
