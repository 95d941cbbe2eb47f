"""What people read: a page for each student, and one about the class.

A page is one file without scripts and without a single request, so that it can be sent by mail and
opened years later. Everything that a submission wrote passes through `html.escape`, and a policy in
the page forbids the browser whatever might slip through all the same.
"""

import html
from collections import Counter
from collections.abc import Iterable, Sequence

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
from mnist_steps.figures import Figure

WORDS = {
    PASS: "passed",
    FAIL: "not passed",
    ERROR: "could not be trained",
    UNGRADABLE: "could not be read",
    INFRASTRUCTURE: "not graded yet: something went wrong on our side",
}


def student_page(grading: Grading, grade: Grade) -> str:
    """One student's feedback. It names no seed and nobody else."""
    parts = [
        f'<p class="badge {_class(grade.status)}">{WORDS[grade.status]}</p>',
        f"<p class=points>{_points(grading, grade)}</p>",
        _list(_remarks(grading, grade)),
    ]
    if grade.parts:
        parts += ["<h2>Points</h2>", _points_table(grade)]
    if grade.findings:
        parts += ["<h2>What to put right</h2>", _findings(grade)]
    elif grade.status in (PASS, FAIL):
        parts += ["<h2>What to put right</h2>", "<p>The check found nothing.</p>"]
    if grade.runs:
        parts += [
            "<h2>Your network's training</h2>",
            "<p>Each line is one run with other random numbers. The dots are the epochs that count "
            "for consistency.</p>",
            _figure(plots.runs(grade.runs, grading.assignment)),
        ]
    if grade.checked is not None and grade.checked.network is not None:
        parts += ["<h2>Your network's layers</h2>", _layers_table(grade)]
    parts += ["<h2>How this was graded</h2>", _provenance(grading, grade)]
    return _page(f"Feedback: {grade.entry.name}", parts)


def class_page(grading: Grading, notes: Sequence[str] = ()) -> str:
    """The class: how it went, what went wrong most, and a row for each submission.

    notes: what a person should look at
    """
    counts = Counter(grade.status for grade in grading.grades)
    rows = [[WORDS[status], str(counts[status])] for status in STATUSES if counts[status]]
    parts = [_table(f"{len(grading.grades)} submissions", ["status", "count"], rows)]
    marked = [grade for grade in grading.grades if grade.points is not None]
    trained = [grade for grade in grading.grades if grade.accuracy is not None]
    if marked:
        parts += ["<h2>Points</h2>", _figure(plots.distribution(marked, grading.assignment))]
    if trained:
        parts += [
            "<h2>Accuracy for its parameters</h2>",
            _figure(plots.frontier(trained, grading.assignment)),
        ]
    parts += ["<h2>Common mistakes</h2>", _mistakes(grading)]
    remarks = [*notes, *_to_look_at(grading)]
    if remarks:
        parts += ["<h2>To look at</h2>", _list(map(html.escape, remarks))]
    parts += ["<h2>Submissions</h2>", _submissions_table(grading)]
    parts += ["<h2>How this was graded</h2>", _provenance(grading, None)]
    return _page("The class", parts, wide=True)


# ---- Parts of pages -----------------------------------------------------------------------------


def _points(grading: Grading, grade: Grade) -> str:
    if grade.points is None:
        return "No mark."
    text = f"<strong>{grade.points:g}</strong> of {grade.possible:g} points"
    if grade.waiting:
        text += f"; {grade.waiting:g} more, for the prose of the report, are given by a person"
    return f"{text}."


def _remarks(grading: Grading, grade: Grade) -> Iterable[str]:
    assignment = grading.assignment
    if grade.status == UNGRADABLE:
        yield "There is no mark. Hand in again what is described below."
    if grade.status == INFRASTRUCTURE:
        yield f"There is nothing that you have to do. {html.escape(grade.problem or '')}"
    if grade.runs and grade.status in (PASS, FAIL):
        reached = "reached" if grade.reaches_target(assignment) else "not reached"
        yield (
            f"The goal of the exercise, fewer than {assignment.parameters:,} parameters and "
            f"{assignment.accuracy:.2f} % in the last {assignment.last_epochs} epochs of every "
            f"run, is <strong>{reached}</strong>."
        )
    late = lateness(grade.entry, assignment)
    if late is not None:
        yield (
            f"Handed in {html.escape(late)} after it was due, by the files' times on the grader's "
            "machine. That changes no points here; what follows from it is for your instructor."
        )
    if grading.sandbox["level"] == "none":
        yield "The code ran without a sandbox."


def _points_table(grade: Grade) -> str:
    rows = [
        [
            part.title,
            "open" if part.points is None else f"{part.points:g}",
            f"{part.most:g}",
            part.why,
        ]
        for part in grade.parts
    ]
    return _table("Points by the rubric", ["part", "points", "of", "why"], rows, prose=(3,))


def _findings(grade: Grade) -> str:
    items = "".join(
        f"<li><p><strong>{html.escape(one.where)}</strong>: {html.escape(one.what)}.</p>"
        f"<p><span>Why it matters:</span> {html.escape(one.why)}.</p>"
        f"<p><span>Hint:</span> {html.escape(one.hint)}.</p></li>"
        for one in grade.findings
    )
    return f"<ol class=findings>{items}</ol>"


def _layers_table(grade: Grade) -> str:
    assert grade.checked is not None and grade.checked.network is not None
    network = grade.checked.network
    nodes = {node.name: node for node in network.graph.nodes}
    rows = []
    for name, layer in network.layers.items():
        node = nodes[name]
        size = f"{layer.size[0]}×{layer.size[1]}"
        shape = "×".join(map(str, node.output_shape))
        rows.append([name, layer.kind, shape, f"{node.params:,}", f"{node.macs:,}", size])
    headings = ["layer", "kind", "output", "parameters", "multiply-adds", "field"]
    return _table("As counted and computed; the field in pixels", headings, rows)


def _provenance(grading: Grading, grade: Grade | None) -> str:
    box = grading.sandbox
    level = f"{box['level']} ({box['version']})" if "version" in box else box["level"]
    assignment = grading.assignment
    rows = [
        ["sandbox", level],
        *([name, text] for name, text in grading.versions.items()),
        ["runs", f"{assignment.seeds} with secret seeds; {assignment.last_epochs} last epochs"],
        *([["computed", "the fast way (--fast), which rounds otherwise"]] if grading.fast else []),
    ]
    if grade is not None and grade.digest is not None:
        rows.append(["SHA-256 of your files", grade.digest])
    return _table("Everything that decides the grade", ["what", "which"], rows, prose=(1,))


def _mistakes(grading: Grading) -> str:
    """Findings of the same kind give the same reason; each counts once for a submission."""
    kinds: Counter[str] = Counter()
    example: dict[str, str] = {}
    for grade in grading.grades:
        for why in dict.fromkeys(one.why for one in grade.findings):
            kinds[why] += 1
        for one in grade.findings:
            example.setdefault(one.why, f"{one.where}: {one.what}")
    if not kinds:
        return "<p>None was found.</p>"
    rows = [
        [f"{count}", example[why], why[0].upper() + why[1:]] for why, count in kinds.most_common(12)
    ]
    headings = ["submissions", "for example", "why it matters"]
    return _table("The most frequent findings", headings, rows, prose=(1, 2), named=False)


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


def _submissions_table(grading: Grading) -> str:
    body = ""
    for grade in grading.grades:
        data = grading.as_data(grade)
        accuracy = "" if grade.accuracy is None else f"{grade.accuracy:.2f}"
        count = "" if data["parameters"] is None else f"{data['parameters']:,}"
        points = "" if grade.points is None else f"{grade.points:g} of {grade.possible:g}"
        late = html.escape(data["late"] or "")
        link = f'<a href="students/{grade.entry.folder}/feedback.html">'
        body += (
            f'<tr><th scope="row">{link}{html.escape(grade.entry.name)}</a></th>'
            f'<td class="{_class(grade.status)}">{WORDS[grade.status].partition(":")[0]}</td>'
            f"<td>{points}</td><td>{accuracy}</td><td>{count}</td><td>{late}</td></tr>"
        )
    heads = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("submission", "status", "points", "accuracy", "parameters", "late")
    )
    caption = "Accuracy in percent after the last epoch, of the worst seed"
    return _framed(
        f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
        caption,
    )


# ---- Building blocks ----------------------------------------------------------------------------


def _class(status: str) -> str:
    return status.replace(" ", "-")


def _list(items: Iterable[str]) -> str:
    """items: markup"""
    found = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{found}</ul>" if found else ""


def _table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    prose: Sequence[int] = (),
    named: bool = True,
) -> str:
    """A table of text cells. prose: columns of sentences; named: the first column names the row"""
    head = "".join(
        f'<th scope="col"{" class=prose" if column in prose else ""}>{html.escape(heading)}</th>'
        for column, heading in enumerate(headings)
    )
    body = ""
    for row in rows:
        for column, cell in enumerate(row):
            kind = " class=prose" if column in prose else ""
            first = named and column == 0
            tag = 'th scope="row"' if first else f"td{kind}"
            body += "<tr>" if column == 0 else ""
            body += f"<{tag}>{html.escape(cell)}</{'th' if first else 'td'}>"
        body += "</tr>"
    return _framed(
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
        caption,
    )


def _framed(table: str, name: str) -> str:
    """On a narrow screen the table scrolls, not the page; by keyboard too."""
    label = html.escape(name, quote=True)
    return f'<div class=scroll role="group" aria-label="{label}" tabindex="0">{table}</div>'


def _figure(figure: Figure) -> str:
    return f'<div class=scroll role="group" aria-label="Figure" tabindex="0">{figure.svg}</div>'


def _page(title: str, parts: Sequence[str], wide: bool = False) -> str:
    shown = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # Styles stand in the page and in its figures; nothing else may load or run.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{shown}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<main{' class=wide' if wide else ''}>\n<h1>{shown}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


STYLE = """
:root {
  --ground: #ffffff; --soft: #f6f7f9; --line: #dfe3e8; --ink: #24303c; --quiet: #5d6773;
  --link: #1d5fbf; --good: #0b6b50; --bad: #b3261e;
  --figure-ink: #24303c; --figure-muted: #5d6773; --figure-grid: #d5dbe1;
  --figure-train: #c2570c; --figure-test: #1d5fbf; --figure-accent: #0f7b5f;
  --figure-wrong: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181e; --soft: #1a2028; --line: #313a45; --ink: #e3e7ec; --quiet: #9aa5b1;
    --link: #82b1ff; --good: #4cc9a4; --bad: #ff8a80;
    --figure-ink: #e3e7ec; --figure-muted: #9aa5b1; --figure-grid: #39434f;
    --figure-train: #ff9d5c; --figure-test: #7fb0ff; --figure-accent: #4cc9a4;
    --figure-wrong: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 50rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
main.wide { max-width: 62rem; }
h1, h2 { line-height: 1.25; letter-spacing: -0.012em; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; margin: 0 0 1.25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; }
p { margin: 0.5rem 0; }
ul, ol { padding-left: 1.3rem; margin: 0.75rem 0; }
a { color: var(--link); }
li { overflow-wrap: anywhere; }
.badge {
  display: inline-block; margin: 0; padding: 0.1rem 0.75rem; border: 1px solid currentColor;
  border-radius: 1rem; font-weight: 600; color: var(--quiet);
}
.pass { color: var(--good); }
.fail, .error, .ungradable { color: var(--bad); }
.points { font-size: 1.15rem; margin-top: 1rem; }
.points strong { font-size: 1.6rem; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: 0.9rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.4rem; }
th, td {
  text-align: right; padding: 0.4rem 0.75rem; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; white-space: nowrap;
}
th { font-weight: 600; }
thead th { color: var(--quiet); white-space: nowrap; }
th:first-child, td:first-child, .prose { text-align: left; }
tbody th, td.prose { white-space: normal; overflow-wrap: anywhere; }
td.prose { min-width: 14rem; }
tbody th { min-width: 8rem; }
tbody tr:hover { background: var(--soft); }
.findings > li { margin: 0 0 1rem; padding-left: 0.25rem; }
.findings p { margin: 0.15rem 0; }
.findings span { color: var(--quiet); }
svg { max-width: 100%; min-width: 26rem; height: auto; display: block; }
@media print { .scroll { overflow: visible; } body { font-size: 12px; } }
"""
