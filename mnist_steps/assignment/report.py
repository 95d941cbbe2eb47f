"""What can be checked of a REPORT.md: its sections, and its claims against what was computed.

Whether the prose is any good is for a person to judge.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mnist_steps.assignment.findings import Finding, one_line
from mnist_steps.assignment.submission import REPORT
from mnist_steps.receptive_field import Layer

SECTIONS = ("Target", "Results", "Analysis")
PLACEHOLDER = "TODO"  # in the starter's report
WINDOWS = ("Conv", "MaxPool", "AvgPool", "Adaptive", "Linear")  # kinds that the table must list
MOST_FINDINGS = 20  # of one kind; the first few say enough

HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*")
PARAMETERS = re.compile(r"parameters\W*([\d][\d,. '’_]*)", re.IGNORECASE)
ACCURACY = re.compile(r"accuracy\W*(\d{1,3}(?:[.,]\d{1,6})?)(?!\d)", re.IGNORECASE)
SIZE = re.compile(r"(\d{1,6})(?:\s*[×xX*]\s*(\d{1,6}))?")


@dataclass(frozen=True)
class Section:
    """A heading, its level (1 to 6), and the lines up to the next heading."""

    level: int
    title: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


@dataclass(frozen=True)
class Facts:
    """What a report is worth, as far as a program can tell; the rubric makes points of it.

    sections_written, sections_expected: of all steps together
    fields_right, fields_expected: rows of the receptive-field table; a row for a layer that the
        network does not have is expected to be absent, and counts as one that is wrong
    claimed_parameters, claimed_accuracy: of the last step, the accuracy in percent; None without
    """

    sections_written: int
    sections_expected: int
    fields_right: int
    fields_expected: int
    claimed_parameters: int | None
    claimed_accuracy: float | None


def check(text: str, layers: Mapping[str, Layer], parameters: int) -> list[Finding]:
    """Everything that is missing or wrong in a report.

    layers: of the submission's network, by name, in execution order
    parameters: of the submission's network, as counted
    """
    sections = split(text)
    kinds = (_check_steps(sections, parameters), _check_table(sections, layers))
    return [finding for kind in kinds for finding in itertools.islice(kind, MOST_FINDINGS)]


def facts(text: str, layers: Mapping[str, Layer]) -> Facts:
    """What `check` finds, as numbers. layers: as for `check`"""
    sections = split(text)
    steps = _steps(sections)
    results = _last_results(steps)
    rows = _rows(sections)
    expected = [name for name, layer in layers.items() if layer.kind.startswith(WINDOWS)]
    return Facts(
        sections_written=sum(_is_written(one) for step in steps for one in step.parts.values()),
        sections_expected=len(SECTIONS) * max(1, len(steps)),
        fields_right=sum(
            name in layers and _claimed_size(cell) == layers[name].size
            for name, cell in rows.items()
        ),
        fields_expected=len(dict.fromkeys([*expected, *rows])),
        claimed_parameters=_claimed_parameters(results) if results else None,
        claimed_accuracy=_claimed_accuracy(results) if results else None,
    )


def split(text: str) -> list[Section]:
    """The sections in their order. What stands in code blocks is no heading."""
    sections: list[tuple[int, str, list[str]]] = [(0, "", [])]
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if fenced else HEADING.fullmatch(line)
        if heading:
            sections.append((len(heading[1]), heading[2], []))
        else:
            sections[-1][2].append(line)
    return [Section(level, title, tuple(lines)) for level, title, lines in sections]


@dataclass(frozen=True)
class _Step:
    """A step's heading, and its sections by the titles in SECTIONS; None where one is missing."""

    title: str
    parts: dict[str, Section | None]


def _steps(sections: list[Section]) -> list[_Step]:
    steps = []
    for place, heading in enumerate(sections):
        if not _is(heading, 2, "Step"):
            continue
        inside = list(itertools.takewhile(lambda one: one.level > 2, sections[place + 1 :]))
        parts = {
            title: next((one for one in inside if _is(one, 3, title)), None) for title in SECTIONS
        }
        steps.append(_Step(heading.title, parts))
    return steps


def _is_written(section: Section | None) -> bool:
    return section is not None and section.text != "" and PLACEHOLDER not in section.text


def _last_results(steps: list[_Step]) -> Section | None:
    """The last step is the network that was handed in."""
    found = steps[-1].parts["Results"] if steps else None
    return found if _is_written(found) else None


def _claimed_parameters(results: Section) -> int | None:
    claim = PARAMETERS.search(results.text)
    return int(re.sub(r"\D", "", claim[1])[:12]) if claim else None


def _claimed_accuracy(results: Section) -> float | None:
    claim = ACCURACY.search(results.text)
    return float(claim[1].replace(",", ".")) if claim else None


def _check_steps(sections: list[Section], parameters: int) -> Iterator[Finding]:
    steps = _steps(sections)
    if not steps:
        yield Finding(
            REPORT,
            "found no step, expected at least one heading such as '## Step 1: the skeleton'",
            "the way to the network is worth as much as the network",
            "write one step for each network that you tried, what you hoped for first",
        )
    for step in steps:
        for title, section in step.parts.items():
            if not _is_written(section):
                state = "is missing" if section is None else "is not written yet"
                yield Finding(
                    f"{REPORT}, {one_line(step.title)}",
                    f"the section '### {title}' {state}",
                    "a step is a question, its answer, and what follows from it",
                    f"write '### {title}' and below it at least one sentence",
                )
    results = _last_results(steps)
    if results is None:
        return
    where = f"{REPORT}, Results of the last step"
    claimed = _claimed_parameters(results)
    if claimed != parameters:
        found = "no parameter count" if claimed is None else f"{claimed:,} parameters"
        yield Finding(
            where,
            f"found {found}, counted {parameters:,}",
            "the last step describes the network in model.py",
            f"write 'Parameters: {parameters:,}', or hand in the network that you describe",
        )
    if _claimed_accuracy(results) is None:
        yield Finding(
            where,
            "found no accuracy",
            "grading compares what you measured with what it measures",
            "write 'Accuracy: ' and the percentage after the last epoch, as in 99.35 %",
        )


def _check_table(sections: list[Section], layers: Mapping[str, Layer]) -> Iterator[Finding]:
    where = f"{REPORT}, Receptive field"
    rows = _rows(sections)
    if not rows:
        yield Finding(
            where,
            "found no table, expected the columns layer and field below '## Receptive field'",
            "a network can only recognise what its last layers see",
            "compute it by hand first; `mnist-steps assignment check` compares it",
        )
        return
    for name, layer in layers.items():
        if name not in rows and layer.kind.startswith(WINDOWS):
            yield Finding(
                where,
                f"the layer {name} is missing",
                "each convolution and each pool changes what a unit sees",
                f"add the row '| {name} | its field |'",
            )
    for name, cell in rows.items():
        if name not in layers:
            yield Finding(
                where,
                f"the network has no layer {name!r}",
                "a table of another network says nothing about this one",
                f"its layers are {one_line(', '.join(layers))}",
            )
        elif _claimed_size(cell) != layers[name].size:
            yield Finding(
                f"{where}, {name}",
                f"found {one_line(cell)!r}, another size than computed",
                "one wrong layer makes all layers after it wrong",
                "field = field before + (kernel - 1) × jump before, and the jump is the "
                "product of all strides before this layer",
            )


def _rows(sections: list[Section]) -> dict[str, str]:
    """The receptive-field table: what stands beside each layer's name."""
    section = next((one for one in sections if one.title.lower().startswith("receptive f")), None)
    return table(section) if section else {}


def _claimed_size(cell: str) -> tuple[int, int] | None:
    """'28' and '28×28' as (28, 28); None for anything else."""
    size = SIZE.fullmatch(cell)
    return None if size is None else (int(size[1]), int(size[2] or size[1]))


def table(section: Section) -> dict[str, str]:
    """The first two columns of the section's table, below its rule of dashes."""
    rows: dict[str, str] = {}
    below_rule = False
    for line in section.lines:
        cells = [cell.strip().strip("`* ") for cell in line.strip().strip("|").split("|")]
        if "|" not in line or len(cells) < 2:
            below_rule = False
        elif all(cell and set(cell) <= set("-: ") for cell in cells):
            below_rule = True
        elif below_rule:
            rows.setdefault(one_line(cells[0]), one_line(cells[1]))
    return rows


def _is(section: Section, level: int, title: str) -> bool:
    return section.level == level and section.title.lower().startswith(title.lower())
