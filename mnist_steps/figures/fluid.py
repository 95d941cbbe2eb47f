"""Figures as wide as their place, whose words keep their size: for phones and for desks.

Across, a place is a share of the width in percent; down, it is in pixels.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_steps.figures.style import Figure, colour

FLUID_WIDTH = 640  # pixels, of a fluid figure outside a page
Point = tuple[float, float]  # percent of the width, pixels from the top


def fluid(parts: Sequence[str], height: float, alt: str, widest: int = 720) -> Figure:
    """A figure as wide as its place, whose words keep their size: for phones and for desks.

    parts: SVG elements, colours as `colour` gives them; x in percent of the width, y in pixels
    height, widest: in pixels
    """
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{FLUID_WIDTH}" height="{height:.0f}" '
        f'style="width: 100%; max-width: {widest}px; height: {height:.0f}px" '
        'font-family="system-ui, sans-serif" font-size="13" role="img" '
        f'aria-label="{html.escape(alt)}">{"".join(parts)}</svg>'
    )
    return Figure(svg, alt)


@dataclass(frozen=True)
class Axis:
    """Values between two ends to percent of a figure's width, logarithmic.

    start, end: percent; first, last: what stands there
    """

    start: float
    end: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.first) / math.log(self.last / self.first)
        return self.start + share * (self.end - self.start)


def text(
    x: float,
    y: float,
    words: str,
    name: str,
    anchor: str = "start",
    shift: float = 0,
    small: bool = False,
    grounded: bool = False,
) -> str:
    """x in percent, y and shift in pixels; the shift points away from the anchor.

    grounded: a line that was drawn before does not run through the letters
    """
    away = f' dx="{-shift if anchor == "end" else shift:g}"' if shift else ""
    size = ' font-size="11.5"' if small else ""
    ground = ""
    if grounded:
        ground = (
            ' style="paint-order: stroke" stroke="var(--md-default-bg-color, #fff)" '
            'stroke-width="4"'
        )
    return (
        f'<text x="{x:.2f}%" y="{y:g}"{away} text-anchor="{anchor}"{size}{ground} '
        f'fill="{colour(name)}">{html.escape(words)}</text>'
    )


def line(
    x: float, y: float, to_x: float, to_y: float, name: str, width: float, opacity: float = 1
) -> str:
    """x and to_x in percent, y, to_y and width in pixels; name: of the colour."""
    see_through = f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<line x1="{x:.2f}%" y1="{y:g}" x2="{to_x:.2f}%" y2="{to_y:g}" '
        f'stroke="{colour(name)}" stroke-width="{width:g}"{see_through}/>'
    )


def dot(
    x: float, y: float, radius: float, name: str, opacity: float = 1, ring: bool = False
) -> str:
    """A filled circle, or a ring; x in percent, y and radius in pixels."""
    style = f'fill="{colour(name)}"' + (f' fill-opacity="{opacity:g}"' if opacity < 1 else "")
    if ring:
        style = f'fill="none" stroke="{colour(name)}" stroke-width="1.4"'
    return f'<circle cx="{x:.2f}%" cy="{y:.1f}" r="{radius:g}" {style}/>'


def symbol(x: float, y: float, path: str, style: str) -> str:
    """A path around (0, 0), in pixels, at a place. style: its attributes, such as fill"""
    return (
        f'<svg x="{x:.2f}%" y="{y:.1f}" width="1" height="1" overflow="visible">'
        f'<path d="{path}" {style}/></svg>'
    )


def level(y: float, x: float, to_x: float, words: str, aim: bool = False) -> list[str]:
    """A line across and the words before it; an aim stands out."""
    name, width = ("accent", 1.4) if aim else ("grid", 0.8)
    return [
        line(x, y, to_x, y, name, width),
        text(x - 1.5, y + 4, words, "accent" if aim else "muted", "end"),
    ]


def stretched(shapes: Sequence[str], height: float) -> str:
    """Curves and areas, whose places across are in percent, in a frame as wide as the figure."""
    return (
        f'<svg width="100%" height="{height:g}" viewBox="0 0 1000 {height:g}" '
        f'preserveAspectRatio="none" overflow="visible">{"".join(shapes)}</svg>'
    )


def curve(points: Sequence[Point], name: str, width: float, opacity: float = 1) -> str:
    """For `stretched`; however wide that is, the curve is `width` pixels thick."""
    see_through = f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<polyline points="{_places(points)}" fill="none" stroke="{colour(name)}" '
        f'stroke-width="{width:g}"{see_through} vector-effect="non-scaling-stroke"/>'
    )


def area(points: Sequence[Point], name: str, opacity: float) -> str:
    """For `stretched`: what lies within the points."""
    return f'<polygon points="{_places(points)}" fill="{colour(name)}" fill-opacity="{opacity:g}"/>'


def _places(points: Sequence[Point]) -> str:
    return " ".join(f"{10 * x:.1f},{y:.1f}" for x, y in points)


def below(lines: Sequence[str], x: float, top: float) -> list[str]:
    """Lines of words below each other, such as a legend. top: of the first, in pixels"""
    return [text(x, top + 17 * place, words, "muted") for place, words in enumerate(lines)]
