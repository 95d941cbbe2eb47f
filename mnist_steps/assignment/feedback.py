"""What people read: a page for each student, and one about the class.

The pages are the templates in `templates/`; what they show is gathered here. Whatever a submission
wrote reaches them as text, and the templates escape all that is not known to be markup.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mnist_steps import markup, summary
from mnist_steps.assignment import plots
from mnist_steps.assignment.entries import odd_name
from mnist_steps.assignment.findings import Finding, cause
from mnist_steps.assignment.grading import (
    ERROR,
    FAIL,
    INFRASTRUCTURE,
    PASS,
    STATUSES,
    UNGRADABLE,
    Grade,
    Grading,
    lateness,
)
from mnist_steps.markup import Html

RETURNED = "returned for repair"  # which is another thing than to fail
WORDS = {
    PASS: "passed",
    FAIL: "not passed",
    ERROR: f"{RETURNED}: could not be trained",
    UNGRADABLE: f"{RETURNED}: could not be read",
    INFRASTRUCTURE: "not graded yet: something went wrong on our side",
}
# What a person has to do something about stands first.
BY_PROBLEM = (INFRASTRUCTURE, UNGRADABLE, ERROR, FAIL, PASS)
MOST_MISTAKES = 12  # kinds of them on the class's page

TEMPLATES = Environment(
    loader=PackageLoader("mnist_steps.assignment"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.globals.update(table=markup.table, UNGRADABLE=UNGRADABLE, INFRASTRUCTURE=INFRASTRUCTURE)


def student_page(grading: Grading, grade: Grade) -> str:
    """One student's feedback. It names no seed and nobody else."""
    assignment = grading.assignment
    network = grade.checked and grade.checked.network
    return _page(
        "student",
        title=f"Feedback: {grade.entry.name}",
        wide=False,
        provenance=_provenance(grading, grade.digest),
        grade=grade,
        assignment=assignment,
        word=WORDS[grade.status],
        judged=grade.status in (PASS, FAIL),
        late=lateness(grade.entry, assignment),
        unboxed=grading.sandbox["level"] == "none",
        points=[
            [
                part.title,
                "open" if part.points is None else f"{part.points:g}",
                f"{part.most:g}",
                part.why,
            ]
            for part in grade.parts
        ],
        runs=plots.runs(grade.runs, assignment) if grade.runs else None,
        layers=network
        and summary.of_graph("Your network", network.graph, network.layers, everything=True),
    )


def class_page(grading: Grading, notes: Sequence[str] = ()) -> str:
    """The class: how it went, what went wrong most, and a row for each submission.

    notes: what a person should look at
    """
    graded = grading.marked
    trained, _ = grading.ranked
    return _page(
        "class",
        title="The class",
        wide=True,
        provenance=_provenance(grading),
        **_overview(grading, notes),
        points=plots.distribution(graded, grading.assignment) if graded else None,
        accuracies=plots.frontier(trained, grading.assignment) if trained else None,
        submissions=[
            _submission(grading, grade) for grade in sorted(grading.grades, key=_by_problem)
        ],
    )


def screening_page(grading: Grading) -> str:
    """The class after one short run each: a ranking, what went wrong, and no marks."""
    trained, others = grading.ranked
    return _page(
        "screening",
        title="The class, screened",
        wide=True,
        provenance=_provenance(grading),
        **_overview(grading, (), {PASS: "trained", FAIL: "trained"}),
        ranking=[
            [
                f"{rank}",
                grade.entry.name,
                f"{grade.accuracy:.2f}",
                f"{grade.parameters:,}",
                _count(len(grade.findings)),
            ]
            for rank, grade in enumerate(trained, start=1)
        ],
        others=[
            [grade.entry.name, WORDS[grade.status], grade.cause]
            for grade in sorted(others, key=_by_problem)
        ],
    )


def _overview(
    grading: Grading, notes: Sequence[str], words: dict[str, str] | None = None
) -> dict[str, Any]:
    """What pages about the class have in common. words: instead of some in WORDS"""
    words = WORDS | (words or {})
    counts: Counter[str] = Counter()
    for status in STATUSES:
        counts[words[status]] += sum(grade.status == status for grade in grading.grades)
    return {
        "grades": len(grading.grades),
        "counts": [[word, f"{count}"] for word, count in counts.items() if count],
        "totals": _totals(grading),
        "mistakes": _mistakes(grading),
        "remarks": [*notes, *_to_look_at(grading)],
    }


def _totals(grading: Grading) -> str:
    """How it went, as of what could be graded: what was returned is no fail."""
    graded = grading.marked
    if not graded:
        return "None could be graded yet."
    shares = [grade.share for grade in graded]
    passed = sum(grade.status == PASS for grade in graded)
    reached = sum(grade.reaches_target(grading.assignment) for grade in graded)
    waiting = sum(grade.waiting > 0 for grade in graded)
    told = (
        f"Of {len(graded)} that could be graded, {passed} passed and {len(graded) - passed} did "
        f"not; {reached} reached the goal of the exercise. The middle one has "
        f"{statistics.median(shares):.0f} % of the points given so far."
    )
    return told + (f" The prose of {waiting} waits for a person." if waiting else "")


def _by_problem(grade: Grade) -> tuple[int, str, str]:
    return BY_PROBLEM.index(grade.status), grade.cause, grade.entry.name


def _page(template: str, **content: Any) -> str:
    return TEMPLATES.get_template(f"{template}.html.j2").render(content)


def _provenance(grading: Grading, digest: str | None = None) -> list[list[str]]:
    box, assignment = grading.sandbox, grading.assignment
    rows = [
        ["sandbox", f"{box['level']} ({box['version']})" if "version" in box else box["level"]],
        *([name, text] for name, text in grading.versions.items()),
        ["runs", f"{assignment.seeds} with secret seeds; {assignment.last_epochs} last epochs"],
    ]
    if any(run.environment.get("engine") == "engine" for one in grading.grades for run in one.runs):
        rows.append(["computed", "by the engine where it can, which rounds otherwise than PyTorch"])
    if digest is not None:
        rows.append(["SHA-256 of your files", digest])
    return rows


def _mistakes(grading: Grading) -> list[list[str]]:
    """Findings with the same cause; each counts once for a submission."""
    kinds: Counter[str] = Counter()
    example: dict[str, Finding] = {}
    for grade in grading.grades:
        for one in grade.findings:
            example.setdefault(cause(one), one)
        kinds.update({cause(one) for one in grade.findings})
    return [
        [
            f"{example[kind].where}: {example[kind].what}",
            example[kind].why[0].upper() + example[kind].why[1:],
            f"{count}",
        ]
        for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0]))[:MOST_MISTAKES]
    ]


def _to_look_at(grading: Grading) -> Iterable[str]:
    seen: set[str] = set()
    for grade in grading.grades:
        name = grade.entry.name
        if (oddity := odd_name(name)) is not None:
            yield f"{name}: {oddity} ({grade.entry.folder})"
        if grade.entry.handed_in is None:
            yield f"{name}: its files bear a time that no calendar has; it may be late"
        if grade.problem:
            yield grade.problem
        for what, others in (("files", grade.same_files), ("network", grade.same_network)):
            if others and name not in seen:
                yield f"{name} handed in the same {what} as {', '.join(others)}"
                seen.update(others)
    for alike in grading.alike:
        yield f"nearly the same from {', '.join(alike.names) or 'some'}: {alike.what}"


def _count(findings: int) -> str:
    return f"{findings} to put right" if findings else ""


def _submission(grading: Grading, grade: Grade) -> list[str | Html]:
    word = WORDS[grade.status].partition(":")[0]
    return [
        markup.link(f"students/{grade.entry.folder}/feedback.html", grade.entry.name),
        Html(f'<span class="{grade.status.replace(" ", "-")}">{word}</span>', word),
        grade.cause or _count(len(grade.findings)),
        "" if grade.points is None else f"{grade.points:g} of {grade.possible:g}",
        "" if grade.accuracy is None else f"{grade.accuracy:.2f}",
        "" if grade.parameters is None else f"{grade.parameters:,}",
        lateness(grade.entry, grading.assignment) or "",
    ]
