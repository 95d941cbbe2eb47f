"""Everything that a grading writes into its folder.

index.html                        the class
grades.csv                        a row for each submission
manual.csv                        where a person gives points for the prose
students/NAME/feedback.html       for the student
students/NAME/grade.json          all of it, with the seeds: not for the student
students/NAME/results.json        for Gradescope; only when there is a mark
journal/, seeds.json              what a later start goes on from
"""

import json
from pathlib import Path
from typing import Any

from mnist_steps.assignment import feedback, gradebook
from mnist_steps.assignment.gradebook import Table
from mnist_steps.assignment.grading import Grading
from mnist_steps.data import write_atomically


def write(
    grading: Grading, out: Path, roster: Path | None = None, key: str | None = None
) -> list[str]:
    """Write all but the journal. Returns what a person should know about the roster.

    roster: a CSV file to join the marks to, by its column `key`
    """
    table, matched, notes = None, None, []
    if roster is not None:
        table = gradebook.read_table(roster)
        matched = gradebook.match_rows(table, roster.name, grading.grades, key)
        notes = matched.notes
    for grade in grading.grades:
        folder = out / "students" / grade.entry.folder
        write_atomically(folder / "grade.json", _json(grading.as_data(grade)))
        page = feedback.student_page(grading, grade)
        write_atomically(folder / "feedback.html", page.encode())
        results = gradebook.gradescope(grade, grading.assignment)
        if results is not None:
            write_atomically(folder / "results.json", _json(results))
        else:  # of an earlier grading
            (folder / "results.json").unlink(missing_ok=True)
    write_table(out / "grades.csv", gradebook.grades_table(grading, table, matched))
    gradebook.write_manual(out, grading)
    write_atomically(out / "index.html", feedback.class_page(grading, notes).encode())
    return notes


def write_filled(
    grading: Grading, out: Path, template: Path, column: str | None, key: str | None
) -> tuple[Path, list[str]]:
    """Fill a platform's table; the result has the template's name. Returns it, and what to know."""
    table, notes = gradebook.fill(
        gradebook.read_table(template), template.name, column, grading, key
    )
    target = out / f"filled-{template.name}"
    write_table(target, table)
    return target, notes


def write_screening(grading: Grading, out: Path) -> Table:
    """The submissions by the accuracy of their short runs, best first."""
    header = ["rank", "submission", "accuracy of a short run", "parameters", "status"]
    trained = [grade for grade in grading.grades if grade.accuracy is not None]
    others = [grade for grade in grading.grades if grade.accuracy is None]
    rows = []
    for rank, grade in enumerate(sorted(trained, key=lambda one: -(one.accuracy or 0)), start=1):
        count = grading.as_data(grade)["parameters"]
        rows.append([f"{rank}", grade.entry.name, f"{grade.accuracy:.2f}", f"{count}", "trained"])
    rows += [["", grade.entry.name, "", "", grade.status] for grade in others]
    table = Table(header, rows)
    write_table(out / "screening.csv", table)
    return table


def write_table(target: Path, table: Table) -> None:
    # With a byte order mark, by which spreadsheets know UTF-8.
    write_atomically(target, table.text().encode("utf-8-sig"))


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
