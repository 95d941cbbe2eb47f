"""Pictures of networks, drawn from their graph: maps to scale, parameters as area.

A column is a layer that makes maps of its own: a convolution, a pooling, a linear layer. What
only changes the values in them (ReLU, normalization) is written below the column before it, and
its parameters count there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from mnist_steps import data, graph, receptive_field
from mnist_steps.figures.containers import Folded, Panels
from mnist_steps.figures.drawing import WIDTH, digit, drawn, heading, line, rectangle, text
from mnist_steps.figures.style import Figure
from mnist_steps.receptive_field import times
from mnist_steps.stages import Stage

# Of a column, in pixels.
ACROSS = 49  # seven are as wide as a telephone
MAP = 40  # side of a map as large as the image
SQUARE = 42  # side of the largest square of parameters
COLUMNS = 7  # in one panel, the image among them

WORDS = {
    "BatchNorm2d": "norm",
    "AvgPool2d": "mean",
    "AdaptiveAvgPool2d": "mean",
    "MaxPool2d": "largest",
    "LogSoftmax": "log-softmax",
    "Flatten": "vector",
}


@dataclass
class Column:
    """A layer that makes maps of its own, and what follows at the same place.

    shape: of its output, (C, H, W), or (C,) for a vector
    parameters: its own and those of what follows
    multiplications: of convolutions and linear layers, for one image
    sees: side of its units' receptive field in pixels; None where there is none
    kernel: such as '3×3', empty without one
    dilation: how far apart the kernel's weights lie, in units
    after: what follows, in words
    sources: names of the layers that it takes, where that is not just the one before it
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiplications: int
    sees: int | None
    kernel: str = ""
    dilation: int = 1
    after: list[str] = field(default_factory=list)
    sources: tuple[str, ...] = ()

    @property
    def side(self) -> int:
        """Of its largest axis, in units; 1 for a vector."""
        return max((1, *self.shape[1:]))

    @property
    def pools(self) -> bool:
        return bool(self.kernel) and not self.parameters

    @property
    def facts(self) -> tuple[object, ...]:
        """What makes two columns of two networks the same."""
        return self.name, self.shape, self.parameters, self.kernel, tuple(self.notes)

    @property
    def notes(self) -> list[str]:
        """How far apart its weights lie, where they do not touch, and what follows."""
        return [f"{self.dilation} apart"] * (self.dilation > 1) + self.after

    def __str__(self) -> str:
        spread = f", weights {self.dilation} apart" if self.dilation > 1 else ""
        kernel = f", kernel {self.kernel}{spread}" if self.kernel else ""
        count = f", {self.parameters:,} parameters" if self.parameters else ""
        sees = f", sees {self.sees}×{self.sees} pixels" if self.sees else ""
        after = f", then {' and '.join(self.after)}" if self.after else ""
        takes = f", takes {' and '.join(self.sources)}" if self.sources else ""
        return f"{self.name} {times(self.shape)}{takes}{kernel}{count}{sees}{after}"


def columns_of(model: nn.Module) -> list[Column]:
    """A network's columns in the order in which data flows. Raises as receptive_field.analyze."""
    analysis = receptive_field.analyze(model, data.INPUT_SHAPE)
    fields = {layer.name: layer for layer in analysis}
    found: list[Column] = []
    taken, products = analysis.graph.input_shapes(), graph.count_multiplications(analysis.graph)
    previous = graph.INPUT
    for node in analysis.graph.nodes:
        alone = node.inputs == (previous,)
        same = [node.output_shape] == taken[node.name] or graph.OPERATIONS[node.op].minor
        if found and alone and same and not products[node.name]:
            found[-1].after.append(WORDS.get(node.op, node.op))
            found[-1].parameters += node.params
        else:
            layer = fields.get(node.name)
            found.append(
                Column(
                    node.name,
                    node.output_shape,
                    node.params,
                    products[node.name],
                    max(layer.size) if layer else None,
                    times(node.attributes.get("kernel_size") or ()) or WORDS.get(node.op, ""),
                    max(node.attributes.get("dilation") or (1,)),
                    sources=() if alone else node.inputs,
                )
            )
        previous = node.name
    return found


# --- The picture ----------------------------------------------------------------------------


def network(stage: Stage | nn.Module) -> Panels:
    """A network as a row of maps: their size and the parameters' area to scale."""
    columns = columns_of(_model(stage))
    most = max(column.parameters for column in columns)
    return Panels(
        _panels(_title(stage), columns, most, set()),
        caption=CAPTION + _key(most),
        folded=Folded("What one unit of each layer sees", Panels(_fields(columns))),
    )


def network_change(before: Stage | nn.Module, after: Stage | nn.Module) -> Panels:
    """Two networks below each other on the same scale; what is not in the other has a colour."""
    first, second = columns_of(_model(before)), columns_of(_model(after))
    most = max(column.parameters for column in first + second)
    gone = {one.name for one in first} - _kept(first, second)
    new = {one.name for one in second} - _kept(first, second)
    changes = "nothing but what is not drawn" if not gone | new else "the layers in orange"
    return Panels(
        (
            *_panels(f"{_title(before)}, before", first, most, gone),
            *_panels(f"{_title(after)}, now", second, most, new),
        ),
        caption=f"What changes: {changes}. {CAPTION}{_key(most)}",
        folded=Folded("What one unit of each layer sees now", Panels(_fields(second))),
    )


CAPTION = (
    "Above, each layer's maps, their size to scale; the higher the stack, the more maps, by "
    "powers of four. Below, its parameters as an area, those of its normalization included."
)


def _key(most: int) -> str:
    return f" The largest square stands for {most:,}."


def _kept(first: Sequence[Column], second: Sequence[Column]) -> set[str]:
    """The names of the columns that both networks have just alike."""
    facts = {one.facts for one in first} & {one.facts for one in second}
    return {str(fact[0]) for fact in facts}


def _model(stage: Stage | nn.Module) -> nn.Module:
    return stage.build() if isinstance(stage, Stage) else stage


def _title(stage: Stage | nn.Module) -> str:
    return f"Stage {stage.number}" if isinstance(stage, Stage) else type(stage).__name__


def _panels(
    title: str, columns: Sequence[Column], most: int, coloured: set[str]
) -> tuple[Figure, ...]:
    image = Column("image", data.INPUT_SHAPE, 0, 0, 1)
    total = sum(column.parameters for column in columns)
    lines = max(len(column.notes) + len(column.sources) for column in columns)
    figures = []
    for number, part in enumerate(_split([image, *columns])):
        words = f"{title}: {total:,} parameters" if number == 0 else f"{title}, continued"
        figures.append(_panel(words, part, most, coloured, lines))
    return tuple(figures)


def _split(columns: Sequence[Column]) -> list[list[Column]]:
    """As many columns as a narrow screen has room for; a panel likes to end with a pooling."""
    parts: list[list[Column]] = [[]]
    for position, column in enumerate(columns):
        last = parts[-1][-1] if parts[-1] else column
        pooled = last.pools and 3 < len(parts[-1])
        if len(parts[-1]) == COLUMNS or (pooled and position < len(columns) - 2):
            parts.append([])
        parts[-1].append(column)
    return parts


def _panel(
    title: str, columns: Sequence[Column], most: int, coloured: set[str], lines: int
) -> Figure:
    """lines: room for so many below the maps, in all panels of a network alike"""
    parts = [heading(title)]
    top, labels = 24, 90  # of the maps; of the first line below them
    squares = labels + 13 * (4 + lines)
    for position, column in enumerate(columns):
        middle = ACROSS * position + ACROSS / 2
        ink = "train" if column.name in coloured else "test"
        parts += _maps(column, middle, top, ink)
        maps, *size = column.shape
        words = [
            (_brief(column.name), "ink"),
            (times(size) if size else "vector", "ink"),
            (f"{maps} map{'s' if maps > 1 else ''}" if size else f"of {maps}", "ink"),
            (f"sees {column.sees}" if column.sees and column.name != "image" else "", "muted"),
            *((f"← {_brief(name)}", "train") for name in column.sources),
            *((word, "muted") for word in column.notes),
        ]
        for row, (word, shade) in enumerate(words):
            parts.append(
                text(middle, labels + 13 * row, word, size=_size(word),
                     ink=shade, bold=row == 0)
            )  # fmt: skip
        if column.parameters:
            side = SQUARE * math.sqrt(column.parameters / most)
            count = f"{column.parameters:,}"
            parts.append(rectangle(middle - side / 2, squares, side, side, ink, opacity=0.85))
            parts.append(text(middle, squares + SQUARE + 12, count, size=_size(count)))
    alt = f"{title}. From left to right: {'; '.join(map(str, columns))}."
    return drawn(parts, max(ACROSS * len(columns), 6.6 * len(title)), squares + SQUARE + 18, alt)


def _seven() -> Tensor:
    """The first test digit: uint8 (1, 28, 28)."""
    return data.mnist().test.images[0]


def _size(word: str) -> float:
    """Of a word's letters in pixels: long ones must not touch their neighbours."""
    return 9.5 if len(word) < 8 else 8.5


def _brief(name: str) -> str:
    """Of a name with many parts, the last."""
    return name.rpartition(".")[2] if len(name) > 10 else name


def _maps(column: Column, middle: float, top: float, ink: str) -> list[str]:
    """A stack of squares, the frontmost last."""
    maps, side = column.shape[0], MAP * column.side / data.INPUT_SHAPE[1]
    if column.name == "image":
        left, above = middle - side / 2, top + 8
        return [
            digit(left, above, side, _seven()),
            rectangle(left, above, side, side, stroke="muted"),
        ]
    behind = math.ceil(math.log(maps, 4)) if maps > 1 else 0
    centre = top + 8 + MAP / 2
    parts = []
    for step in range(behind, -1, -1):
        # A map of one unit is smaller than a dot should be, so it is drawn as large as one.
        shown = max(side, 2.5)
        shift = min(2.5, shown / 2) * (step - behind / 2)
        parts += [
            rectangle(middle - shown / 2 + shift, centre - shown / 2 - shift, shown, shown,
                      "grid", ink),
        ]  # fmt: skip
    return parts


def _fields(columns: Sequence[Column]) -> tuple[Figure, ...]:
    """For each layer the digit, and on it what the unit in the middle of its map sees."""
    size = data.INPUT_SHAPE[1]
    figures = []
    for part in _split(columns):
        parts, seen = [], []
        for position, column in enumerate(part):
            middle, top = ACROSS * position + ACROSS / 2, 4
            left = middle - SQUARE / 2
            parts.append(digit(left, top, SQUARE, _seven()))
            parts.append(rectangle(left, top, SQUARE, SQUARE, stroke="grid"))
            if column.sees:
                side = SQUARE * min(column.sees, size) / size
                # To the middle of the image, for there the unit in the middle of a map looks.
                parts.append(
                    rectangle(middle - side / 2, top + SQUARE / 2 - side / 2, side, side,
                              "test", "test", 0.25, 1.5)
                )  # fmt: skip
                seen.append(f"{column.name} {column.sees}×{column.sees}")
            parts.append(text(middle, top + SQUARE + 13, _brief(column.name), bold=True))
            words = f"{column.sees}×{column.sees}" if column.sees else "–"
            parts.append(text(middle, top + SQUARE + 26, words, ink="muted"))
        alt = f"A digit with what one unit sees, layer by layer, in pixels: {'; '.join(seen)}."
        figures.append(drawn(parts, ACROSS * len(part), SQUARE + 36, alt))
    return tuple(figures)


# --- What it costs --------------------------------------------------------------------------


def budget(before: Stage | nn.Module, after: Stage | nn.Module) -> Panels:
    """Where parameters and multiplications go: a bar for each network, a part for each layer."""
    networks = [(_title(one), columns_of(_model(one))) for one in (before, after)]
    kept = _kept(networks[0][1], networks[1][1])
    return Panels(
        (
            _bars("parameters", networks, kept, [[c.parameters for c in n] for _, n in networks]),
            _bars("multiplications for one image", networks, kept,
                  [[c.multiplications for c in n] for _, n in networks]),
        ),
        caption="Each part is a layer, its normalization included; layers that changed are "
        "orange. Multiplications are those of convolutions and linear layers.",
    )  # fmt: skip


def _bars(
    title: str,
    networks: Sequence[tuple[str, Sequence[Column]]],
    kept: set[str],
    values: Sequence[Sequence[int]],
) -> Figure:
    most = max(map(sum, values))
    parts = [heading(title)]
    described = []
    for row, ((name, columns), counts) in enumerate(zip(networks, values, strict=True)):
        top, left = 36 + 52 * row, 2.0
        parts.append(text(2, top - 5, f"{name}: {sum(counts):,}", "start"))
        for column, count in zip(columns, counts, strict=True):
            width = (WIDTH - 4) * count / most
            ink = "test" if column.name in kept else "train"
            parts.append(rectangle(left, top, width, 26, ink, "ink", 0.3, 0.6))
            if width > 6.2 * len(column.name) + 8:
                parts.append(text(left + width / 2, top + 17, column.name))
            left += width
        shares = ", ".join(
            f"{column.name} {count:,}" for column, count in zip(columns, counts, strict=True)
            if count
        )  # fmt: skip
        described.append(f"{name}, {sum(counts):,}: {shares}")
    return drawn(parts, WIDTH, 36 + 52 * len(networks), f"{title}. {'. '.join(described)}.")


# --- The first layer's places ---------------------------------------------------------------


def places(stages: Sequence[Stage]) -> Panels:
    """Where the first convolution of each network looks: a dot in the middle of each patch."""
    return Panels(
        tuple(_places(stage) for stage in stages),
        caption="Each dot is a place at which the first layer looks, in the middle of what its "
        "kernel covers there. One patch is framed.",
    )


def _places(stage: Stage) -> Figure:
    first = next(layer for layer in stage.build().modules() if isinstance(layer, nn.Conv2d))
    kernel, stride = first.kernel_size[0], first.stride[0]
    size = data.INPUT_SHAPE[1]
    count = (size - kernel) // stride + 1
    left, top, pixel = 2.0, 20.0, 7.0
    title = f"{_title(stage)}: {count}×{count} places"
    parts = [
        heading(title, left),
        digit(left, top, size * pixel, _seven()),
        rectangle(left, top, size * pixel, size * pixel, stroke="grid"),
    ]
    for row in range(count):
        for column in range(count):
            x, y = (pixel * (stride * at + kernel / 2) for at in (column, row))
            parts.append(rectangle(left + x - 1, top + y - 1, 2, 2, "train"))
    framed = pixel * stride * (count // 2)
    parts.append(
        rectangle(left + framed, top + framed, pixel * kernel, pixel * kernel, stroke="train",
                  thick=2)
    )  # fmt: skip
    return drawn(
        parts, size * pixel + 4, top + size * pixel + 4,
        f"{title} of a kernel of {kernel}×{kernel} on an image of {size}×{size} pixels, a "
        f"stride of {stride} apart.",
    )  # fmt: skip


# --- The plan -------------------------------------------------------------------------------


def plan(stage: Stage | nn.Module) -> Figure:
    """Layer by layer, the side of a map at the left and what a unit sees at the right."""
    columns = [Column("image", data.INPUT_SHAPE, 0, 0, 1), *columns_of(_model(stage))]
    size = data.INPUT_SHAPE[1]
    widest = max(size, *(column.sees or 0 for column in columns))
    left, right, unit = 140, 204, 112 / widest  # where the bars begin, pixels for one pixel
    parts = [
        heading("map, side", left, "end"),
        heading("field, side", right),
    ]
    bottom = 22 + 20 * len(columns)
    parts += [line(left - size * unit, 18, left - size * unit, bottom, "accent"),
              line(right + size * unit, 18, right + size * unit, bottom, "accent")]  # fmt: skip
    for row, column in enumerate(columns):
        top = 20 + 20 * row
        side, sees = column.side, column.sees or 0
        ink = "muted" if column.pools else "test"
        parts += [
            rectangle(left - side * unit, top, side * unit, 16, ink, opacity=0.45),
            rectangle(right, top, sees * unit, 16, "train", opacity=0.45),
            text((left + right) / 2, top + 12, _brief(column.name), bold=True),
            text(left - _inside(side * unit), top + 12, str(side), "end"),
            text(right + _inside(sees * unit), top + 12, str(sees) if sees else "–", "start"),
        ]
    described = "; ".join(f"{column.name} {column.side} and {column.sees}" for column in columns)
    return drawn(
        parts, WIDTH, bottom + 4,
        f"{_title(stage)}, layer by layer, the side of a map and of a unit's field in pixels: "
        f"{described}. A line marks the image's {size}.",
    )  # fmt: skip


def _inside(long: float) -> float:
    """Where a bar's number begins: in the bar, or behind one that is narrower than a digit."""
    return 3 if long > 9 else long + 3


def channel_profile(stage: Stage | nn.Module) -> Figure:
    """How many maps each layer has, as bars in the order in which data flows."""
    columns = columns_of(_model(stage))
    most = max(column.shape[0] for column in columns)
    across, high = WIDTH / len(columns), 110
    bottom = 38 + high
    parts = [heading("maps of each layer")]
    for position, column in enumerate(columns):
        middle = across * (position + 0.5)
        maps = column.shape[0]
        tall = max(high * maps / most, 1)
        ink = "muted" if column.pools else "test"
        parts += [
            rectangle(middle - across * 0.36, bottom - tall, across * 0.72, tall, ink,
                      opacity=0.6),
            text(middle, bottom - 4 - tall, str(maps)),
            # Names turn where they would touch each other.
            f'<g transform="translate({middle + 3:.1f} {bottom + 6}) rotate(-60)">'
            f"{text(0, 0, column.name, 'end')}</g>",
        ]  # fmt: skip
    described = "; ".join(f"{column.name} {column.shape[0]}" for column in columns)
    return drawn(
        parts, WIDTH, bottom + 46, f"{_title(stage)}, maps of each layer in order: {described}."
    )
