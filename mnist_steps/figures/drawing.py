"""SVG by hand, for figures whose every letter has to stay readable on a telephone.

Matplotlib scales a whole figure; these are as wide as a narrow screen and never scaled down.
"""

import base64
import functools
import html
import io
from collections.abc import Iterable

from PIL import Image
from torch import Tensor

from mnist_steps.figures.style import Figure, colour

WIDTH = 344  # pixels: what a screen of 360 has room for


def text(
    x: float, y: float, words: str, anchor: str = "middle", size: float = 10,
    ink: str = "ink", bold: bool = False,
) -> str:  # fmt: skip
    """x, y: of the anchor on the line that letters stand on; size: of letters; all in pixels."""
    weight = "; font-weight: 600" if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'style="fill: {colour(ink)}; font-size: {size:g}px{weight}">{html.escape(words)}</text>'
    )


def heading(words: str, x: float = 2, anchor: str = "start") -> str:
    """At the top of a figure, above what it names."""
    return text(x, 12, words, anchor, 11, bold=True)


def rectangle(
    x: float, y: float, width: float, height: float, fill: str = "", stroke: str = "",
    opacity: float = 1, thick: float = 1,
) -> str:  # fmt: skip
    """x, y: of its upper left corner, in pixels; fill, stroke: names of colours, '' for none."""
    style = f"fill: {colour(fill) if fill else 'none'}"
    if opacity < 1:
        style += f"; fill-opacity: {opacity:g}"
    if stroke:
        style += f"; stroke: {colour(stroke)}; stroke-width: {thick:g}"
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.2f}" style="{style}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, ink: str = "muted", thick: float = 1) -> str:
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" '
        f'style="fill: none; stroke: {colour(ink)}; stroke-width: {thick:g}"/>'
    )


def digit(x: float, y: float, side: float, image: Tensor) -> str:
    """A digit as black ink, which a dark page inverts. image: uint8 tensor (1, H, W)"""
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" '
        f'style="image-rendering: pixelated" href="{address_of(image)}"/>'
    )


def address_of(image: Tensor) -> str:
    """A digit as the address of a PNG: black ink, as opaque as it was inked. image: as `digit`"""
    return _address(bytes(image[0].flatten().tolist()), image.shape[2], image.shape[1])


@functools.lru_cache(maxsize=32)
def _address(pixels: bytes, width: int, height: int) -> str:
    opacity = Image.frombytes("L", (width, height), pixels)
    picture = Image.merge("LA", (Image.new("L", (width, height)), opacity))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def drawn(parts: Iterable[str], width: float, height: float, alt: str) -> Figure:
    """The parts as one figure of `width`×`height` pixels."""
    return Figure(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg" '
        f'style="width: {width:.0f}px" font-family="system-ui, sans-serif" '
        f'role="img" aria-label="{html.escape(alt)}">'
        f"{''.join(parts)}</svg>",
        alt,
    )
