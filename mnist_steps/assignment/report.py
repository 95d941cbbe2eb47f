"""What can be checked of a REPORT.md: its sections, and its claims against what was computed.

Whether the prose is any good is for a person to judge.
"""

import re
from collections.abc import Mapping
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


def check(text: str, layers: Mapping[str, Layer], parameters: int) -> list[Finding]:
    """Everything that is missing or wrong in a report.

    layers: of the submission's network, by name, in execution order
    parameters: of the submission's network, as counted
    """
    sections = split(text)
    return [*_check_steps(sections, parameters), *_check_table(sections, layers)]


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


def _check_steps(sections: list[Section], parameters: int) -> list[Finding]:
    findings: list[Finding] = []
    steps = [place for place, one in enumerate(sections) if _is(one, 2, "Step")]
    if not steps:
        findings.append(
            Finding(
                REPORT,
                "found no step, expected at least one heading such as '## Step 1: the skeleton'",
                "the way to the network is worth as much as the network",
                "write one step for each network that you tried, what you hoped for first",
            )
        )
    results = None
    for place in steps:
        inside = []
        for one in sections[place + 1 :]:
            if one.level <= 2:
                break
            inside.append(one)
        where = f"{REPORT}, {one_line(sections[place].title)}"
        for title in SECTIONS:
            found = next((one for one in inside if _is(one, 3, title)), None)
            if found is None or not found.text or PLACEHOLDER in found.text:
                state = "is missing" if found is None else "is not written yet"
                findings.append(
                    Finding(
                        where,
                        f"the section '### {title}' {state}",
                        "a step is a question, its answer, and what follows from it",
                        f"write '### {title}' and below it at least one sentence",
                    )
                )
            elif title == "Results":
                results = found
    if results is not None:
        findings += _check_claim(results, parameters)
    return findings[:MOST_FINDINGS]


def _check_claim(results: Section, parameters: int) -> list[Finding]:
    """The last step's parameter count: that step is the network that was handed in."""
    claim = PARAMETERS.search(results.text)
    claimed = int(re.sub(r"\D", "", claim[1])[:12]) if claim else None
    if claimed == parameters:
        return []
    found = "no parameter count" if claimed is None else f"{claimed:,} parameters"
    return [
        Finding(
            f"{REPORT}, Results of the last step",
            f"found {found}, counted {parameters:,}",
            "the last step describes the network in model.py",
            f"write 'Parameters: {parameters:,}', or hand in the network that you describe",
        )
    ]


def _check_table(sections: list[Section], layers: Mapping[str, Layer]) -> list[Finding]:
    where = f"{REPORT}, Receptive field"
    section = next((one for one in sections if one.title.lower().startswith("receptive f")), None)
    rows = table(section) if section else {}
    if not rows:
        return [
            Finding(
                where,
                "found no table, expected the columns layer and field below '## Receptive field'",
                "a network can only recognise what its last layers see",
                "compute it by hand first; `mnist-steps assignment check` compares it",
            )
        ]
    findings = []
    for name, layer in layers.items():
        if name not in rows and layer.kind.startswith(WINDOWS):
            findings.append(
                Finding(
                    where,
                    f"the layer {name} is missing",
                    "each convolution and each pool changes what a unit sees",
                    f"add the row '| {name} | its field |'",
                )
            )
    for name, cell in rows.items():
        if name not in layers:
            findings.append(
                Finding(
                    where,
                    f"the network has no layer {name!r}",
                    "a table of another network says nothing about this one",
                    f"its layers are {one_line(', '.join(layers))}",
                )
            )
            continue
        size = SIZE.fullmatch(cell)
        claimed = None if size is None else (int(size[1]), int(size[2] or size[1]))
        if claimed != layers[name].size:
            findings.append(
                Finding(
                    f"{where}, {name}",
                    f"found {one_line(cell)!r}, another size than computed",
                    "one wrong layer makes all layers after it wrong",
                    "field = field before + (kernel - 1) × jump before, and the jump is the "
                    "product of all strides before this layer",
                )
            )
    return findings[:MOST_FINDINGS]


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
