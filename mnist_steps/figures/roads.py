"""Roads to a small network: accuracy against what a network costs, each road a shape of its own."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mnist_steps.experiments.evidence import Interval
from mnist_steps.figures.containers import Beside
from mnist_steps.figures.fluid import Axis, curve, fluid, level, line, stretched, symbol, text
from mnist_steps.figures.style import Figure, colour
from mnist_steps.markup import typeset

# By name: a colour of PALETTE, and a path around (0, 0), about 8 pixels large.
SHAPES = {
    "redesign": ("test", "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z"),
    "single weights": ("wrong", "M0 -5L5 4L-5 4Z"),
    "channels": ("train", "M-4 -4H4V4H-4Z"),
    "low rank": ("accent", "M0 -5.5L5.5 0L0 5.5L-5.5 0Z"),
    "quantization": ("ink", "M0 5L5 -4L-5 -4Z"),
    "distillation": ("muted", "M-1.5 -5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z"),
}
WORST = 98.5  # percent: what is below stands at the bottom
MARKS = (98.5, 98.8, 99, 99.2, 99.4, 99.5, 99.6, 99.7)
LEFT, RIGHT = 12.0, 98.0  # percent of the width
TOP, HEIGHT = 34, 420  # pixels
WIDTHS = (300, 380, 500, 720)  # pixels: at each of these no label lies on another
LETTER, LINE = 6.6, 12.0  # pixels of a small label: the width of a letter, the height of all
REACH = 7.0  # pixels from a mark's middle to its label


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


@dataclass(frozen=True)
class Mark:
    """A place on one picture. x in percent of the width; y, low and high in pixels."""

    place: Place
    label: str
    x: float
    y: float
    low: float
    high: float


def roads_compared(places: Sequence[Place], target: float) -> Beside:
    """Two pictures: accuracy against the bytes of a file, and against time for an image.

    target: in percent
    Rounded networks stand on the first only: they take the time of those that they were.
    """
    timed = [one for one in places if one.road != "quantization"]
    return Beside(
        (
            _picture(places, [one.size for one in places], "bytes of the file", "bytes", target),
            _picture(
                timed, [one.microseconds for one in timed],
                "microseconds for an image, one thread", "µs", target,
            ),
        )
    )  # fmt: skip


def _picture(
    places: Sequence[Place], values: Sequence[float], axis: str, unit: str, target: float
) -> Figure:
    across = Axis(LEFT + 3, RIGHT - 3, min(values), max(values))
    highest = max(one.interval.high if one.interval else one.mean for one in places)
    best = max(0.93 * (100 - max(highest, target)), 0.01)
    upwards = Axis(HEIGHT, TOP, 100 - WORST, best)

    def down(accuracy: float) -> float:
        return upwards(min(max(100 - accuracy, best), 100 - WORST))

    marks = [
        Mark(
            place, _label(place), across(value), down(place.mean),
            down(place.interval.low if place.interval else place.mean),
            down(place.interval.high if place.interval else place.mean),
        )
        for place, value in zip(places, values, strict=True)
    ]  # fmt: skip
    parts = [text(0, 14, "test accuracy in percent", "muted")]
    for accuracy in MARKS:
        if 100 - accuracy > best:
            parts += level(down(accuracy), LEFT, RIGHT, f"{accuracy:g}", accuracy == target)
    parts += _powers(across, unit, TOP - 8, HEIGHT)
    parts.append(text((LEFT + RIGHT) / 2, HEIGHT + 38, axis, "muted", "middle"))
    parts += map(_drawn, marks)
    parts += (_named(mark, *spot) for mark, spot in zip(marks, spots(marks), strict=True) if spot)
    used = [road for road in SHAPES if any(place.road == road for place in places)]
    parts += _legend(used, HEIGHT + 62)
    listed = "; ".join(
        f"{place.road}, {place.label or 'no name'}: {value:,.0f} {unit}, {place.mean:.2f} %"
        + (f" ({place.interval:.2f})" if place.interval else "")
        for place, value in zip(places, values, strict=True)
    )
    height = HEIGHT + 72 + 20 * ((len(used) - 1) // 2)
    return fluid(parts, height, typeset(f"Test accuracy against {axis}. {listed}."))


def _label(place: Place) -> str:
    """What stands at the foot says how far below it would stand."""
    if place.label and place.mean < WORST:
        return typeset(f"{place.label}, {place.mean:.0f} %")
    return place.label


UNITS = {
    "bytes": (" B", " kB", " MB", " GB"),
    "µs": (" µs", " ms", " s", " ks"),
    "parameters": ("", "k", "M", "G"),
}


def _powers(across: Axis, unit: str, top: float, bottom: float) -> list[str]:
    """Lines up at the powers of ten, and what they say: '10 kB', '1 ms'. unit: one of UNITS"""
    ends = math.ceil(math.log10(across.first)), math.floor(math.log10(across.last))
    parts = []
    for power in range(ends[0], ends[1] + 1):
        x = across(10.0**power)
        words = f"{10 ** (power % 3)}{UNITS[unit][power // 3]}"
        parts.append(line(x, top, x, bottom, "grid", 0.8))
        parts.append(text(x, bottom + 20, words, "muted", "middle"))
    return parts


def _legend(roads: Sequence[str], top: float) -> list[str]:
    """In two columns, the first row at `top`."""
    parts = []
    for number, road in enumerate(roads):
        name, path = SHAPES[road]
        x, y = (4, 54)[number % 2], top + 20 * (number // 2)
        parts += [symbol(x, y, path, _filled(name)), text(x, y + 4, road, "ink", shift=11)]
    return parts


# --- One network, with ever less of it ------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """What is left of a network.

    road: one of SHAPES; at_once, trained_on: percent recognised; None where it was not trained on
    """

    road: str
    parameters: int
    at_once: float
    trained_on: float | None


LEVELS = (10, 50, 90, 98, 99, 99.4)  # percent
HIGHEST, LOWEST = 99.55, 10.0  # percent, at the picture's top and foot
FOOT = 250  # pixels


def what_is_left(
    title: str, parameters: int, accuracy: float, kept: Sequence[Kept], target: float
) -> Figure:
    """What a network reads with ever less of it: hollow marks at once, filled ones trained on.

    parameters, accuracy: of the whole network, which is the dot; in percent, as the target
    """
    across = Axis(LEFT + 3, RIGHT - 3, min(one.parameters for one in kept), parameters)
    upwards = Axis(FOOT, TOP, 100 - LOWEST, 100 - HIGHEST)

    def down(percent: float) -> float:
        return upwards(min(max(100 - percent, 100 - HIGHEST), 100 - LOWEST))

    parts = [text(0, 14, f"{title}, test accuracy in percent", "muted")]
    for percent in LEVELS:
        parts += level(down(percent), LEFT, RIGHT, f"{percent:g}", percent == target)
    parts += _powers(across, "parameters", TOP - 8, FOOT)
    parts.append(text((LEFT + RIGHT) / 2, FOOT + 38, "parameters left", "muted", "middle"))
    whole = across(parameters), down(accuracy)
    curves, marks, listed = [], [symbol(*whole, SHAPES["redesign"][1], _filled("ink"))], []
    roads = list(dict.fromkeys(one.road for one in kept))
    for road in roads:
        name, path = SHAPES[road]
        those = sorted((one for one in kept if one.road == road), key=lambda one: -one.parameters)
        at_once = [(one.parameters, one.at_once) for one in those]
        trained = [(one.parameters, one.trained_on) for one in those if one.trained_on is not None]
        for found, style, opacity in ((at_once, _hollow(name), 0.4), (trained, _filled(name), 1)):
            points = [(across(left), down(percent)) for left, percent in found]
            curves.append(curve([whole, *points], name, 1.4, opacity))
            marks += [symbol(*point, path, style) for point in points]
        listed += [
            f"{road}, {one.parameters:,} left: {one.at_once:.2f} % at once"
            + (f", {one.trained_on:.2f} % trained on" if one.trained_on is not None else "")
            for one in those
        ]
    parts += [*_legend(roads, FOOT + 62), stretched(curves, FOOT), *marks]
    parts.append(text(4, FOOT + 84, "hollow: at once; filled: trained on", "muted", shift=-5))
    alt = f"{title}: {accuracy:.2f} % with all {parameters:,} parameters. {'; '.join(listed)}."
    return fluid(parts, FOOT + 94, typeset(alt))


def _filled(name: str) -> str:
    return f'fill="{colour(name)}" fill-opacity="0.6" stroke="{colour(name)}"'


def _hollow(name: str) -> str:
    return f'fill="var(--md-default-bg-color, #fff)" stroke="{colour(name)}"'


# --- Marks, and where their labels find room ------------------------------------------------


def spots(marks: Sequence[Mark]) -> list[tuple[float, float] | None]:
    """Where each label begins, in pixels from its mark: to the right, or negative to the left.

    The nearest spot at which it lies on no mark, interval or other label, at any of WIDTHS; None
    for a mark without a label, and where there is no room: the table has it.
    """
    boxes = {width: [box for mark in marks for box in _boxes(mark, width)] for width in WIDTHS}
    taken: list[tuple[Mark, float, float]] = []
    found: list[tuple[float, float] | None] = []
    for mark in marks:
        free = (
            spot
            for spot in _around()
            if all(_fits(mark, *spot, boxes[width], taken, width) for width in WIDTHS)
        )
        spot = next(free, None) if mark.label else None
        if spot:
            taken.append((mark, *spot))
        found.append(spot)
    return found


@functools.cache
def _around() -> Sequence[tuple[float, float]]:
    """Spots around a mark, the nearest first; those on the right are tried before the left."""
    offsets = itertools.product((REACH, 16, 26, 38, 52, 68), range(-78, 79, 6), (1, -1))
    return sorted(
        ((side * away, float(up)) for away, up, side in offsets),
        key=lambda spot: (math.hypot(spot[0], 1.3 * spot[1]), -spot[0]),
    )


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def _boxes(mark: Mark, width: float) -> tuple[Box, Box]:
    """Of a mark and its interval on a picture of so many pixels."""
    x = mark.x * width / 100
    return (x - 5, mark.y - 5, x + 5, mark.y + 5), (x - 3, mark.high, x + 3, mark.low)


def label_box(mark: Mark, dx: float, dy: float, width: float) -> Box:
    """Of a label on a picture of so many pixels."""
    x, length = mark.x * width / 100 + dx, LETTER * len(mark.label)
    left = x if dx > 0 else x - length
    return left, mark.y + dy - LINE / 2, left + length, mark.y + dy + LINE / 2


def _fits(
    mark: Mark, dx: float, dy: float, boxes: Sequence[Box],
    taken: Sequence[tuple[Mark, float, float]], width: float,
) -> bool:  # fmt: skip
    left, top, right, bottom = box = label_box(mark, dx, dy, width)
    if left < LEFT * width / 100 or right > width or top < TOP - 12 or bottom > HEIGHT + 5:
        return False
    labels = [label_box(*one, width) for one in taken]
    if any(_touch(box, other) for other in itertools.chain(boxes, labels)):
        return False
    lines = itertools.chain.from_iterable(_leader(*one, width) for one in taken)
    return not any(_touch(point, box) for point in lines) and not any(
        _touch(point, label) for point in _leader(mark, dx, dy, width) for label in labels
    )


def _leader(mark: Mark, dx: float, dy: float, width: float) -> list[Box]:
    """Points of the line from a mark to its label; none where the label stands beside it."""
    if not _far(dx, dy):
        return []
    x, shares = mark.x * width / 100, [step / 12 for step in range(1, 13)]
    return [
        (x + dx * share, mark.y + dy * share, x + dx * share, mark.y + dy * share)
        for share in shares
    ]


def _far(dx: float, dy: float) -> bool:
    return math.hypot(dx, dy) > 2 * REACH


def _touch(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _named(mark: Mark, dx: float, dy: float) -> str:
    away = 2 if dx > 0 else -2
    leader = (
        f'<path d="M0 0L{dx - away:g} {dy:g}" fill="none" stroke="{colour("muted")}" '
        'stroke-width="0.8"/>'
    )
    words = (
        f'<text x="{dx:g}" y="{dy + 4:g}" font-size="11.5" fill="{colour("ink")}" '
        f'text-anchor="{"start" if dx > 0 else "end"}">{escape(mark.label)}</text>'
    )
    return _at(mark.x, mark.y, (leader if _far(dx, dy) else "") + words)


def _drawn(mark: Mark) -> str:
    name, _ = SHAPES[mark.place.road]
    ends = f"M-4 {mark.high - mark.y:.1f}h8m-4 0V{mark.low - mark.y:.1f}m-4 0h8"
    interval = f'<path d="{ends}" fill="none" stroke="{colour(name)}" stroke-width="1.3"/>'
    return _at(mark.x, mark.y, (interval if mark.place.interval else "") + _shape(mark.place.road))


def _shape(road: str) -> str:
    name, path = SHAPES[road]
    return f'<path d="{path}" {_filled(name)}/>'


def _at(x: float, y: float, inside: str) -> str:
    """x in percent, y in pixels; what is inside counts in pixels from there."""
    return f'<svg x="{x:.2f}%" y="{y:.1f}" width="1" height="1" overflow="visible">{inside}</svg>'
