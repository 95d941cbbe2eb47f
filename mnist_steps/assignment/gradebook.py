"""Marks for other programs: tables for a class, and the files that learning platforms read.

Names and rosters come from anybody, and spreadsheets run what looks like a formula. So every cell
that is written goes through `neutral`.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_steps.assignment.findings import one_line
from mnist_steps.assignment.grading import INFRASTRUCTURE, UNGRADABLE, Entry, Grade, Grading
from mnist_steps.assignment.rubric import PROSE, Manual
from mnist_steps.assignment.rules import Assignment
from mnist_steps.data import write_atomically
from mnist_steps.errors import MnistStepsError

LARGEST = 10 << 20  # bytes of a table
MOST_ROWS = 100_000
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?( ?%)?")


# ---- Tables -------------------------------------------------------------------------------------


def neutral(cell: object) -> str:
    """The cell's text, with an apostrophe before what a spreadsheet would take for a formula.

    Source: OWASP, CSV Injection. Signs that only look like those, such as the full-width ＝, are
    treated alike, and so is what hides behind spaces.
    """
    text = str(cell)
    if NUMBER.fullmatch(text):
        return text
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    risky = text[:1] in ("\t", "\r", "\n") or (first != "" and first[0] in "=+-@|%")
    return f"'{text}" if risky else text


@dataclass
class Table:
    """A CSV file. delimiter: ',' or ';'"""

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","

    def column(self, name: str, where: str) -> int:
        """The position of a column. Raises MnistStepsError unless there is exactly one."""
        exact = [i for i, one in enumerate(self.header) if _same(one) == _same(name)]
        found = exact or [i for i, one in enumerate(self.header) if _same(one).startswith(
            _same(name))]  # fmt: skip
        if len(found) == 1:
            return found[0]
        count = "no column" if not found else f"{len(found)} columns"
        raise MnistStepsError(
            f"{where} has {count} {one_line(name)!r}: its columns are "
            f"{one_line(', '.join(self.header))}."
        )

    def text(self) -> str:
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=self.delimiter)
        writer.writerows([map(neutral, row) for row in (self.header, *self.rows)])
        return lines.getvalue()


def read_table(file: Path) -> Table:
    """Read a CSV file with a header. Raises MnistStepsError, in one line, when it is none."""
    try:
        if file.stat().st_size > LARGEST:
            raise MnistStepsError(f"{file.name} is larger than {LARGEST >> 20} MB: no class is.")
        text = file.read_bytes().decode("utf-8-sig")
        first = text.split("\n", 1)[0]
        delimiter = ";" if first.count(";") > first.count(",") else ","
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MnistStepsError(
            f"{one_line(file.name)} cannot be read as a table ({one_line(error)}): save it as CSV "
            "in UTF-8."
        ) from error
    lines = [line for line in lines if any(line)]
    if not lines or len(lines) > MOST_ROWS:
        raise MnistStepsError(
            f"{file.name} has {len(lines)} rows: expected a header and a row for each student."
        )
    header, *rows = lines
    width = len(header)
    if any(len(row) > width for row in rows):
        raise MnistStepsError(f"{file.name} has a row with more cells than the header's {width}.")
    return Table(header, [row + [""] * (width - len(row)) for row in rows], delimiter)


# ---- Who is who ---------------------------------------------------------------------------------

# How platforms name what they give out: Canvas 'doejane_LATE_4711_99_work.zip', where 4711 is the
# student's ID; Moodle 'Jane Doe_4711_assignsubmission_file', where it is 'Participant 4711'.
CANVAS = re.compile(r"[^_]+_(?:LATE_)?(\d+)_\d+_.*")
MOODLE = re.compile(r".+_(\d+)_assignsubmission_file.*")
PARTICIPANT = re.compile(r"^participant (\d+)$")
KEYS = ("Identifier", "ID")  # Moodle's and Canvas's columns; else the first one


def identity(entry: Entry) -> set[str]:
    """All that a row of a roster may call this entry."""
    found = {_same(entry.name)}
    for pattern in (MOODLE, CANVAS):
        if number := pattern.fullmatch(entry.name):
            return found | {number[1]}
    return found


@dataclass(frozen=True)
class Match:
    """grades: for each row of the table its grade; notes: what could not be told, for a person"""

    grades: list[Grade | None]
    notes: list[str]


def match_rows(table: Table, where: str, grades: Sequence[Grade], key: str | None = None) -> Match:
    """Which row is whose. key: the column to go by

    Only what is equal matches, up to capitals and to how Unicode composes letters. A row or a
    submission that fits twice is matched with nobody.
    """
    if key is None:
        known = [name for name in KEYS if name in table.header]
        key = known[0] if known else table.header[0]
    column = table.column(key, where)
    keys = [_same(row[column]) for row in table.rows]
    keys = [PARTICIPANT.sub(r"\1", one) for one in keys]
    fits = [[grade for grade in grades if one and one in identity(grade.entry)] for one in keys]
    notes = []
    for row, found in zip(table.rows, fits, strict=True):
        if len(found) > 1:
            names = ", ".join(grade.entry.name for grade in found)
            notes.append(f"{where}: {one_line(row[column])} fits several submissions ({names})")
    owners = [grade.entry.folder for found in fits if len(found) == 1 for grade in found]
    for grade in grades:
        count = owners.count(grade.entry.folder)
        if count != 1:
            rows = "no row" if count == 0 else f"{count} rows"
            notes.append(f"{where}: {grade.entry.name} has {rows}")
    return Match(
        [
            found[0] if len(found) == 1 and owners.count(found[0].entry.folder) == 1 else None
            for found in fits
        ],
        notes,
    )


def _same(text: str) -> str:
    """One form of all spellings that are the same word."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


# ---- The class as a table -----------------------------------------------------------------------

COLUMNS = ("submission", "status", "points", "possible so far", "waiting", "total",
           "target reached", "accuracy", "parameters", "late", "feedback")  # fmt: skip


def grades_table(
    grading: Grading, roster: Table | None = None, matched: Match | None = None
) -> Table:
    """A row for each submission; with a roster, its columns first, and its absentees too."""
    if roster is None or matched is None:
        return Table(list(COLUMNS), [_row(grading, grade) for grade in grading.grades])
    rows = [
        row + (_row(grading, grade) if grade else ["", "missing", *[""] * (len(COLUMNS) - 2)])
        for row, grade in zip(roster.rows, matched.grades, strict=True)
    ]
    there = {grade.entry.folder for grade in matched.grades if grade}
    rows += [
        [""] * len(roster.header) + _row(grading, grade)
        for grade in grading.grades
        if grade.entry.folder not in there
    ]
    return Table([*roster.header, *COLUMNS], rows, roster.delimiter)


def _row(grading: Grading, grade: Grade) -> list[str]:
    data = grading.as_data(grade)
    return [
        grade.entry.name,
        grade.status,
        *(_figure(data[name]) for name in ("points", "possible", "waiting", "total")),
        "yes" if data["reaches_target"] else "no",
        _figure(data["accuracy"]),
        _figure(data["parameters"]),
        data["late"] or "",
        f"students/{grade.entry.folder}/feedback.html",
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"


def fill(
    template: Table, where: str, column: str | None, grading: Grading, key: str | None = None
) -> tuple[Table, list[str]]:
    """A copy of a platform's table with the marks in one column, and what a person should know.

    column: its name, or how it begins; None takes Moodle's 'Grade'
    A mark that waits for a person, or that there is none of, leaves its cell as it was. Where the
    table states what the assignment is worth, marks are scaled to that.
    """
    place = template.column(column or "Grade", where)
    matched = match_rows(template, where, grading.grades, key)
    notes, rows = list(matched.notes), []
    possible = _points_possible(template, place)
    for row, grade in zip(template.rows, matched.grades, strict=True):
        row = list(row)
        if grade is not None and grade.points is not None and not grade.waiting:
            most = _maximum(template, row) or possible or grading.assignment.rubric.total
            share = grade.points / grading.assignment.rubric.total
            row[place] = f"{round(share * most, 2):g}"
        elif grade is not None:
            reason = "its report waits for a person" if grade.points is not None else grade.status
            notes.append(f"{where}: {grade.entry.name} was not filled in: {reason}")
        rows.append(row)
    return Table(template.header, rows, template.delimiter), notes


def _points_possible(template: Table, place: int) -> float | None:
    """Canvas states them in a row of its own below the header."""
    for row in template.rows[:3]:
        if _same(row[0]) == "points possible":
            return _positive(row[place])
    return None


def _maximum(template: Table, row: Sequence[str]) -> float | None:
    """Moodle states it in a column."""
    if "Maximum grade" not in template.header:
        return None
    return _positive(row[template.header.index("Maximum grade")])


def _positive(text: str) -> float | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


# ---- What a person gives for the prose ----------------------------------------------------------

MANUAL = "manual.csv"
MANUAL_COLUMNS = ["folder", "submission", "prose", "comment"]


def read_manual(out: Path, assignment: Assignment) -> dict[str, Manual]:
    """The points and comments in manual.csv, by the entry's folder; empty without the file.

    Raises MnistStepsError for points that the rubric does not have.
    """
    file = out / MANUAL
    if not file.is_file():
        return {}
    table = read_table(file)
    folder, prose, comment = (table.column(name, MANUAL) for name in ("folder", "prose", "comment"))
    most = round(assignment.rubric.report * PROSE, 1)
    found = {}
    for row in table.rows:
        if not row[prose].strip():
            continue
        try:
            points = float(row[prose].replace(",", "."))
        except ValueError:
            points = -1
        if not 0 <= points <= most:
            raise MnistStepsError(
                f"{file}, {one_line(row[folder])}: found {one_line(row[prose])!r} as points for "
                f"the prose, expected a number from 0 to {most:g}."
            )
        found[row[folder]] = Manual(points, one_line(row[comment]))
    return found


def write_manual(out: Path, grading: Grading) -> None:
    """Add a row for each submission that has none yet; what a person wrote stays."""
    file = out / MANUAL
    table = read_table(file) if file.is_file() else Table(list(MANUAL_COLUMNS), [])
    folder = table.column("folder", MANUAL)
    there = {row[folder] for row in table.rows}
    for grade in grading.grades:
        if grade.entry.folder not in there and grade.status not in (UNGRADABLE, INFRASTRUCTURE):
            new = {"folder": grade.entry.folder, "submission": grade.entry.name}
            table.rows.append([new.get(name, "") for name in table.header])
    write_atomically(file, table.text().encode("utf-8-sig"))


# ---- Gradescope ---------------------------------------------------------------------------------


def gradescope(grade: Grade) -> dict[str, Any] | None:
    """The results.json of Gradescope's autograder; None when there is no mark.

    Source: gradescope-autograders.readthedocs.io, Output Format. What waits for a person is left
    to Gradescope's own rubric.
    """
    if grade.points is None:
        return None
    judged = [part for part in grade.parts if part.points is not None]
    told = [f"Status: {grade.status}."]
    if grade.waiting:
        told.append(f"{grade.waiting:g} more points, for the prose, are given by a person.")
    return {
        "score": grade.points,
        "output": "\n".join([*told, *map(str, grade.findings)]),
        "output_format": "text",
        "visibility": "visible",
        "tests": [
            {
                "name": part.title,
                "score": part.points,
                "max_score": part.most,
                "output": part.why,
                "output_format": "text",
            }
            for part in judged
        ],
    }
