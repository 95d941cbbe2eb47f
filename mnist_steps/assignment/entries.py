"""What was handed in: a folder or a zip file for each student, under whatever name.

Names come from students and platforms, files from anywhere. Nothing about them stops the others.
"""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mnist_steps.assignment import submission
from mnist_steps.assignment.findings import Finding, SubmissionError, one_line, unforeseen
from mnist_steps.assignment.submission import LARGEST, Submission
from mnist_steps.errors import MnistStepsError


@dataclass(frozen=True)
class Entry:
    """One thing in the folder of submissions.

    name: the folder's or file's, as it may be shown; the zip file's without its ending
    folder: a name for output, of plain letters, different for each entry
    place: where the three files are
    handed_in: when the newest of its files was written, as far as this machine knows; None where
        the files bear a time that no calendar has
    """

    name: str
    folder: str
    place: Path
    handed_in: datetime | None


def find(submissions: Path) -> list[Entry]:
    """Everything that was handed in, by name. Hidden files are left out.

    Raises MnistStepsError when there is nothing.
    """
    if not submissions.is_dir():
        raise MnistStepsError(
            f"{one_line(submissions)} is no folder: give one that holds a folder or a .zip file "
            "for each student."
        )
    found = sorted(
        place
        for place in submissions.iterdir()
        if not place.name.startswith(".") and place.name != "__MACOSX"
    )
    if not found:
        raise MnistStepsError(
            f"{one_line(submissions)} is empty: put a folder or a .zip file for each student in."
        )
    return [_entry(place) for place in found]


def _entry(place: Path) -> Entry:
    try:
        return _described(place)
    except Exception as error:
        finding = unforeseen(error)
        name = f"submission-{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:8]}"
        return Entry(f"{name} ({finding.what})", name, place, None)


def _described(place: Path) -> Entry:
    raw = os.fsencode(place.name)
    name = place.stem if place.suffix.lower() == ".zip" else place.name
    shown = one_line(unicodedata.normalize("NFC", name)) or "(a name that cannot be shown)"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", shown).strip("-")[:40]
    # The digest tells apart names that look alike, and names without a single plain letter.
    folder = f"{readable or 'submission'}-{hashlib.sha256(raw).hexdigest()[:8]}"
    inner = _step_inside(place)
    files = [inner / one for one in LARGEST] if os.path.isdir(inner) else [inner]
    times = [file.lstat().st_mtime for file in files if os.path.lexists(file)]
    newest = max(times, default=place.lstat().st_mtime)
    try:
        handed_in = datetime.fromtimestamp(newest, UTC)
    except (ValueError, OverflowError, OSError):  # a file may come from the year 10,000
        handed_in = None
    return Entry(shown, folder, inner, handed_in)


def _step_inside(place: Path) -> Path:
    """Where a learning platform or an archive has put a folder around the submission."""
    if os.path.islink(place) or not os.path.isdir(place):
        return place
    if any(os.path.exists(place / one) for one in LARGEST):
        return place
    try:
        inside = [one for one in place.iterdir() if not one.name.startswith((".", "__MACOSX"))]
    except OSError:  # reading its files will say why
        return place
    if len(inside) == 1 and not os.path.islink(inside[0]):
        if os.path.isdir(inside[0]) or inside[0].suffix.lower() == ".zip":
            return inside[0]
    return place


def odd_name(name: str) -> str | None:
    """What in a name may deceive who reads it; None when nothing does."""
    letters = [unicodedata.name(one, "") for one in name if one.isalpha()]
    # Some letters have no name: they are of none of these alphabets.
    alphabets = {one.partition(" ")[0] for one in letters} & {"LATIN", "CYRILLIC", "GREEK"}
    if len(alphabets) > 1:
        found = " and ".join(one.title() for one in sorted(alphabets))
        return f"its letters are of several alphabets, {found}"
    if unicodedata.normalize("NFKC", name) != name:
        return "it has characters that only look like ordinary ones"
    return None


def load(entry: Entry) -> Submission:
    """The entry's files. Raises SubmissionError when they cannot be read."""
    if entry.place.is_symlink():
        finding = Finding(
            "the submission", "it is a link", "only what was handed in itself is read",
            "hand in a folder or a zip file",
        )  # fmt: skip
        raise SubmissionError([finding])
    try:
        return submission.load(entry.place)
    except SubmissionError:
        raise
    except MnistStepsError as error:  # there is nothing that could be read
        finding = Finding(
            "the submission", str(error).rstrip("."), "there is nothing that could be graded",
            "hand in a folder or a zip file with model.py, recipe.toml and REPORT.md",
        )  # fmt: skip
        raise SubmissionError([finding]) from error
    except Exception as error:
        raise SubmissionError([unforeseen(error)]) from error
