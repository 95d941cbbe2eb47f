"""Everything that a grading writes into its folder.

index.html                        the class
grades.csv                        a row for each submission
manual.csv                        where a person gives points for the prose
students/NAME/feedback.html       for the student
students/NAME/grade.json          all of it, with the seeds: not for the student
screening.html, screening.csv     the class ranked, after `--screen`
students/NAME/results.json        for Gradescope; only when there is a mark
journal/, seeds.json              what a later start goes on from
"""

from dataclasses import replace
from pathlib import Path

from mnist_steps.assignment import feedback, gradebook
from mnist_steps.assignment.gradebook import Table
from mnist_steps.assignment.grading import Grade, Grading, broken
from mnist_steps.data import json_bytes, write_atomically


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
    described = [_described(grading, grade) for grade in grading.grades]
    grading = replace(grading, grades=tuple(grade for grade, _ in described))
    for grade, files in described:
        folder = out / "students" / grade.entry.folder
        for name, content in files.items():
            if content is not None:
                write_atomically(folder / name, content)
            else:  # of an earlier grading
                (folder / name).unlink(missing_ok=True)
    write_table(out / "grades.csv", gradebook.grades_table(grading, table, matched))
    gradebook.write_manual(out, grading)
    write_atomically(out / "index.html", feedback.class_page(grading, notes).encode())
    return notes


def _described(grading: Grading, grade: Grade) -> tuple[Grade, dict[str, bytes | None]]:
    """What is written about one student, by the file's name; None for a file not to be there."""
    try:
        results = gradebook.gradescope(grade)
        return grade, {
            "grade.json": json_bytes(grading.as_data(grade)),
            "feedback.html": feedback.student_page(grading, grade).encode(),
            "results.json": None if results is None else json_bytes(results),
        }
    except Exception as error:
        if grade.checked is None:
            raise  # there is nothing of theirs in it any more
        return _described(grading, broken(grade.entry, error))


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
    trained, others = grading.ranked
    rows = [
        [f"{rank}", grade.entry.name, f"{grade.accuracy:.2f}", f"{grade.parameters}", "trained"]
        for rank, grade in enumerate(trained, start=1)
    ]
    rows += [["", grade.entry.name, "", "", grade.status] for grade in others]
    table = Table(header, rows)
    write_table(out / "screening.csv", table)
    write_atomically(out / "screening.html", feedback.screening_page(grading).encode())
    return table


def write_table(target: Path, table: Table) -> None:
    # With a byte order mark, by which spreadsheets know UTF-8.
    write_atomically(target, table.text().encode("utf-8-sig"))
