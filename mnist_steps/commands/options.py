"""What several commands share: options with one wording each, how they are read, and tables."""

import codecs
import json
import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_steps.errors import MnistStepsError

Number = Annotated[int, typer.Argument(help="The stage's number, as `mnist-steps stages` lists.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run [default: 8, as the original's].")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Engine = Annotated[
    str,
    typer.Option(
        help="auto, torch or engine. The engine is C code, on CPUs several times as fast for small "
        "networks, with other rounding. It needs a C compiler; auto takes PyTorch where it must."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print data for machines.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes here, one thread each [default: one a CPU core]."),
]


def refuse_workers_of_a_cluster(workers: int | None, scheduler: str | None) -> None:
    """Raises MnistStepsError when both options are given."""
    if workers is not None and scheduler is not None:
        raise MnistStepsError("found --workers and --scheduler: a cluster has its own workers.")


def parse_numbers(option: str, text: str) -> list[int]:
    """'1,4-6' as [1, 4, 5, 6]. Raises MnistStepsError for anything else, or above 9999."""
    numbers: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if ends is None:
            raise MnistStepsError(
                f"{option} {text!r} names no numbers: give some such as 3-8 or 1,4-6."
            )
        first, last = ends[1], ends[2] or ends[1]
        if max(len(first), len(last)) > 4:
            raise MnistStepsError(f"{option} {text!r} goes too far: give numbers up to 9999.")
        if int(last) < int(first):
            raise MnistStepsError(f"{option} {text!r} counts down: write {last}-{first}.")
        numbers.update(range(int(first), int(last) + 1))
    return sorted(numbers)


output = Console()

# What this project writes beyond ASCII, for terminals that have nothing else.
PLAIN = {
    "–": "-", "−": "-", "±": "+-", "×": "x", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "·": ".",
}  # fmt: skip


def write_plainly_where_needed() -> None:
    """Let standard output and error replace what their encoding lacks, instead of failing."""

    def replacement(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        missing = error.object[error.start : error.end]
        return "".join(PLAIN.get(character, "?") for character in missing), error.end

    codecs.register_error("mnist_steps", replacement)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test or a program reads along
            stream.reconfigure(errors="mnist_steps")


def say(line: str) -> None:
    """Beside the results, which go to standard output."""
    print(f"mnist-steps: {line}", file=sys.stderr)


def print_json(content: Any) -> None:
    """What a command found, for machines."""
    print(json.dumps(content, indent=1))


def or_dash(value: float | None, form: str) -> str:
    """A figure in its form, such as '.2f'; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}"


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]], **options: Any) -> None:
    """headings: with a '>' before that of a column of figures, which stand to the right.

    options: as rich's, such as a caption. Cells are text as it is, without rich's markup. However
    narrow the terminal, no figure is broken between two lines.
    """
    table = Table(**options)
    cells = [list(row) for row in rows]
    if output.options.ascii_only:  # before columns are measured: some replacements are longer
        plain = {ord(sign): text for sign, text in PLAIN.items()}
        cells = [[cell.translate(plain) for cell in row] for row in cells]
    for column, heading in enumerate(headings):
        figures = heading.startswith(">")
        justify: Literal["left", "right"] = "right" if figures else "left"
        words = [word for row in cells if figures for word in row[column].split()]
        table.add_column(
            heading.removeprefix(">"),
            justify=justify,
            overflow="fold",
            min_width=max(map(len, words), default=None),
        )
    for row in cells:
        table.add_row(*map(Text, row))
    output.print(table)
