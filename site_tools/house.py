"""The house on the contributors' page: the package's rooms on their floors, and who imports whom.

A room is a file of the package, or a folder with one purpose. Floors are those that `make lint`
holds, arrows the import graph, purposes the first lines of the modules: nothing is drawn by hand.
"""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from site_tools.dependencies import Imports
from site_tools.made import project_of

PAGE = "contributing.md"
PLACE = "<!-- the house -->"
PACKAGE = "mnist_steps"

Arrows = dict[str, set[str]]  # for each room, those that it imports

# Of the drawing, in pixels of a narrow telephone; a wide screen shows it larger.
LETTER = 6.65  # width, in a font with letters of one width, 11 pixels high
BOX, STOREY, EDGE = 24, 56, 4  # height of a room, from floor to floor, of a floor above its rooms
LEFT, GAP, LANE = 13, 7, 5  # width of a floor's number, between rooms, between arrows


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Put picture and table where the page asks for them."""
    if page.file.src_uri != PAGE:
        return None
    project = project_of(config)
    floors, arrows = floors_of(project), arrows_of(project)
    purposes = {room: purpose(project / PACKAGE, room) for room in arrows}
    return markdown.replace(
        PLACE, f"{picture(floors, arrows)}\n\n{table(floors, arrows, purposes)}"
    )


def floors_of(project: Path) -> list[list[str]]:
    """The rooms of each floor, from the top, as pyproject.toml gives them to import-linter."""
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [layer.split(" | ") for layer in contract["layers"]]


def arrows_of(project: Path) -> Arrows:
    """Which rooms each room imports. The package's face, which has its version, is no room."""
    graph = Imports(project, [PACKAGE]).graph
    rooms = graph.find_children(PACKAGE)
    for room in rooms:
        graph.squash_module(room)
    return {
        room.rpartition(".")[2]: {
            imported.rpartition(".")[2]
            for imported in graph.find_modules_directly_imported_by(room) & rooms - {room}
        }
        for room in rooms
    }


def purpose(package: Path, room: str) -> str:
    """The first line of what the room says about itself."""
    file = package / room / "__init__.py"
    file = file if file.is_file() else package / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def table(floors: list[list[str]], arrows: Arrows, purposes: dict[str, str]) -> str:
    """All rooms from the ground up, as a table in Markdown."""
    order = [room for floor in reversed(floors) for room in floor]
    lines = ["| room | what for | imports |", "|---|---|---|"]
    for number, floor in enumerate(reversed(floors), start=1):
        lines.append(f"| **Floor {number}** | | |")
        for room in floor:
            imported = ", ".join(name for name in order if name in arrows[room])
            lines.append(f"| `{room}` | {purposes[room]} | {imported} |")
    return "\n".join(lines)


def picture(floors: list[list[str]], arrows: Arrows) -> str:
    """A drawing of the house, with words for those who cannot see it.

    Raises PluginError when a room has no floor, or an arrow does not lead down.
    """
    levels = {room: level for level, floor in enumerate(floors) for room in floor}
    for room in arrows.keys() - levels.keys():
        raise PluginError(f"{room} has no floor; give it one in pyproject.toml, under layers")
    for room, imported in arrows.items():
        for other in imported:
            if levels[other] <= levels[room]:
                raise PluginError(f"{room} imports {other}, which is not below it; see `make lint`")
    drawn = needed(arrows)
    width = LEFT + max(sum(_width(room) + GAP for room in floor) + GAP for floor in floors)
    height = STOREY * (len(floors) - 1) + BOX + 2 * EDGE
    middles = {room: middle for floor in floors for room, middle in _spread(floor, width)}

    shapes = []
    for level in range(len(floors)):
        y, number = STOREY * level, len(floors) - level
        shapes.append(
            f'<rect class="floor" y="{y}" width="{width:.0f}" height="{BOX + 2 * EDGE}" rx="4"/>'
            f'<text class="number" x="{LEFT / 2}" y="{y + EDGE + 16}">{number}</text>'
        )
    for way in _ways(drawn, floors, levels, middles, width):
        shapes.append(f'<path d="{way}" marker-end="url(#house-arrow)"/>')
    for room, middle in middles.items():
        y = STOREY * levels[room] + EDGE
        shapes.append(
            f'<rect class="room" x="{middle - _width(room) / 2:.1f}" y="{y}"'
            f' width="{_width(room):.1f}" height="{BOX}" rx="3"/>'
            f'<text x="{middle:.1f}" y="{y + 16}">{room}</text>'
        )
    count = sum(map(len, arrows.values()))
    words = (
        f"A house of {len(arrows)} rooms on {len(floors)} floors, from the top: "
        + "; ".join(", ".join(floor) for floor in floors)
        + ". Arrows lead down only, from a room to those that it imports; the table names them."
    )
    return (
        f'<figure class="house"><svg role="img" aria-label="{words}"'
        f' viewBox="0 0 {width:.0f} {height}"><defs>'
        '<marker id="house-arrow" markerWidth="6" markerHeight="6" refX="5" refY="3" orient="auto">'
        f'<path d="M0 0L6 3L0 6z"/></marker></defs>{"".join(shapes)}</svg>\n'
        f"<figcaption>{len(arrows)} rooms and {count} arrows between them, all of them down."
        f" {len(drawn)} are drawn: an arrow is left out where a way along others leads to the"
        " same room.</figcaption></figure>"
    )


def needed(arrows: Arrows) -> list[tuple[str, str]]:
    """The arrows without those beside which a longer way leads to the same room."""

    def reached(room: str) -> set[str]:
        return arrows[room].union(*(reached(below) for below in arrows[room]))

    return [
        (room, below)
        for room in sorted(arrows)
        for below in sorted(arrows[room].difference(*(reached(other) for other in arrows[room])))
    ]


def _width(room: str) -> float:
    return LETTER * len(room) + 8


def _spread(floor: list[str], width: float) -> Iterator[tuple[str, float]]:
    """Each room of a floor with its middle, the free space shared out between them."""
    free = (width - LEFT - sum(map(_width, floor))) / (len(floor) + 1)
    x = float(LEFT)
    for room in floor:
        yield room, x + free + _width(room) / 2
        x += free + _width(room)


def _ways(
    drawn: list[tuple[str, str]],
    floors: list[list[str]],
    levels: dict[str, int],
    middles: dict[str, float],
    width: float,
) -> Iterator[str]:
    """The path of each arrow; on floors between its ends it passes between the rooms."""
    ways: list[list[float]] = []  # where each arrow leaves, passes floors, and arrives
    for room, below in drawn:
        start, storeys = middles[room], levels[below] - levels[room]
        slope = (middles[below] - start) / storeys
        way = [start]
        for step in range(1, storeys):
            openings = _openings(floors[levels[room] + step], middles, width)
            way.append(min(openings, key=lambda x: abs(x - start - slope * step)))  # noqa: B023
        ways.append([*way, middles[below]])

    # Arrows that share a place stand beside each other there, in the order of where they lead.
    places: dict[tuple[int, float, bool], list[tuple[int, int]]] = defaultdict(list)
    for arrow, way in enumerate(ways):
        for step, x in enumerate(way):
            places[levels[drawn[arrow][0]] + step, x, step == 0].append((arrow, step))
    apart = {
        stop: x + LANE * (position - (len(stops) - 1) / 2)
        for (_, x, _), stops in places.items()
        for position, stop in enumerate(
            sorted(stops, key=lambda stop: sum(ways[stop[0]][max(0, stop[1] - 1) : stop[1] + 2]))
        )
    }
    for arrow, way in enumerate(ways):
        x, y = apart[arrow, 0], STOREY * levels[drawn[arrow][0]] + EDGE + BOX
        path = f"M{x:.1f} {y}"
        for step in range(1, len(way)):
            to, half = apart[arrow, step], y + (STOREY - BOX) // 2
            path += f"C{x:.1f} {half} {to:.1f} {half} {to:.1f} {y + STOREY - BOX}v{BOX}"
            x, y = to, y + STOREY
        yield path.removesuffix(f"v{BOX}")


def _openings(floor: list[str], middles: dict[str, float], width: float) -> list[float]:
    """The middles of a floor's free spaces: left of its rooms, between them, right of them."""
    walls = [float(LEFT)]
    for room in floor:
        walls += [middles[room] - _width(room) / 2, middles[room] + _width(room) / 2]
    walls.append(width)
    return [(left + right) / 2 for left, right in zip(walls[::2], walls[1::2], strict=True)]
