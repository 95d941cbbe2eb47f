"""What people read: a page for each student, and one about the class.

The pages are the templates in `templates/`; what they show is gathered here. Whatever a submission
wrote reaches them as text, and the templates escape all that is not known to be markup.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mnist_steps import markup, summary
from mnist_steps.assignment import plots
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
    odd_name,
)
from mnist_steps.markup import Html

WORDS = {
    PASS: "passed",
    FAIL: "not passed",
    ERROR: "could not be trained",
    UNGRADABLE: "could not be read",
    INFRASTRUCTURE: "not graded yet: something went wrong on our side",
}
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
    counts = Counter(grade.status for grade in grading.grades)
    marked = [grade for grade in grading.grades if grade.points is not None]
    trained = [grade for grade in grading.grades if grade.accuracy is not None]
    return _page(
        "class",
        title="The class",
        wide=True,
        provenance=_provenance(grading),
        grades=len(grading.grades),
        counts=[[WORDS[status], f"{counts[status]}"] for status in STATUSES if counts[status]],
        points=plots.distribution(marked, grading.assignment) if marked else None,
        accuracies=plots.frontier(trained, grading.assignment) if trained else None,
        mistakes=_mistakes(grading),
        remarks=[*notes, *_to_look_at(grading)],
        submissions=[_submission(grading, grade) for grade in grading.grades],
    )


def _page(template: str, **content: Any) -> str:
    return TEMPLATES.get_template(f"{template}.html.j2").render(content)


def _provenance(grading: Grading, digest: str | None = None) -> list[list[str]]:
    box, assignment = grading.sandbox, grading.assignment
    rows = [
        ["sandbox", f"{box['level']} ({box['version']})" if "version" in box else box["level"]],
        *([name, text] for name, text in grading.versions.items()),
        ["runs", f"{assignment.seeds} with secret seeds; {assignment.last_epochs} last epochs"],
    ]
    if grading.fast:
        rows.append(["computed", "the fast way (--fast), which rounds otherwise"])
    if digest is not None:
        rows.append(["SHA-256 of your files", digest])
    return rows


def _mistakes(grading: Grading) -> list[list[str]]:
    """Findings of the same kind give the same reason; each counts once for a submission."""
    kinds: Counter[str] = Counter()
    example: dict[str, str] = {}
    for grade in grading.grades:
        kinds.update(list(dict.fromkeys(one.why for one in grade.findings)))
        for one in grade.findings:
            example.setdefault(one.why, f"{one.where}: {one.what}")
    return [
        [why[0].upper() + why[1:], example[why], f"{count}"]
        for why, count in kinds.most_common(MOST_MISTAKES)
    ]


def _to_look_at(grading: Grading) -> Iterable[str]:
    seen: set[str] = set()
    for grade in grading.grades:
        name = grade.entry.name
        if (oddity := odd_name(name)) is not None:
            yield f"{name}: {oddity} ({grade.entry.folder})"
        if grade.problem:
            yield grade.problem
        for what, others in (("files", grade.same_files), ("network", grade.same_network)):
            if others and name not in seen:
                yield f"{name} handed in the same {what} as {', '.join(others)}"
                seen.update(others)


def _submission(grading: Grading, grade: Grade) -> list[str | Html]:
    data = grading.as_data(grade)
    word = WORDS[grade.status].partition(":")[0]
    return [
        markup.link(f"students/{grade.entry.folder}/feedback.html", grade.entry.name),
        Html(f'<span class="{grade.status.replace(" ", "-")}">{word}</span>', word),
        "" if grade.points is None else f"{grade.points:g} of {grade.possible:g}",
        "" if grade.accuracy is None else f"{grade.accuracy:.2f}",
        "" if data["parameters"] is None else f"{data['parameters']:,}",
        data["late"] or "",
    ]
