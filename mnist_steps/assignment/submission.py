"""A submission: model.py, recipe.toml and REPORT.md in a folder or a zip file, read with care.

Files are read by their three names only, up to a size, and never through links. A zip file is
never unpacked to disk. Nothing in here runs any code of the submission.
"""

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnist_steps.assignment.findings import Finding, SubmissionError, one_line
from mnist_steps.errors import MnistStepsError

MODEL, RECIPE, REPORT = "model.py", "recipe.toml", "REPORT.md"
LARGEST = {MODEL: 64 * 1024, RECIPE: 16 * 1024, REPORT: 256 * 1024}  # bytes
MOST_ENTRIES = 64  # of a zip file; macOS adds a few of its own
LARGEST_ZIP = 1024 * 1024
# What `zipfile` raises, sooner or later, for archives that are damaged: the central directory and
# what it points at may contradict each other in many ways.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OSError, OverflowError,
    RuntimeError, NotImplementedError, LookupError,
)  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """The three files as text; digest: SHA-256 of all three, in hexadecimal."""

    model: str
    recipe: str
    report: str
    digest: str


# ---- Files --------------------------------------------------------------------------------------


def load(place: Path) -> Submission:
    """Read a submission from a folder or a .zip file.

    Raises SubmissionError with one finding for each file that is missing or cannot be read, and
    MnistStepsError when there is nothing at this place.
    """
    texts, findings, digest = read(place)
    if findings:
        raise SubmissionError(findings)
    return Submission(texts[MODEL], texts[RECIPE], texts[REPORT], digest)


def read(place: Path) -> tuple[dict[str, str], list[Finding], str]:
    """The files that can be read, by name; what is wrong with the others; and the digest.

    place: a folder, a .zip file, or a model.py beside which the others lie
    Raises SubmissionError for an archive that cannot be read, and MnistStepsError when there is
    nothing at this place.
    """
    if place.is_dir():
        reader = _from_folder(place)
    elif place.is_file() and place.suffix.lower() == ".zip":
        reader = _from_zip(place)
    elif place.is_file() and place.name == MODEL:
        reader = _from_folder(place.parent)
    else:
        raise MnistStepsError(
            f"{one_line(place)} is neither a folder nor a .zip file nor a {MODEL}: give the folder "
            f"with {MODEL}, {RECIPE} and {REPORT}."
        )
    findings: list[Finding] = []
    texts: dict[str, str] = {}
    digest = hashlib.sha256()
    for name in LARGEST:
        try:
            content = reader(name)
            texts[name] = content.decode("utf-8")
            digest.update(f"{name} {len(content)}\n".encode() + content)
        except UnicodeDecodeError:
            findings.append(_unreadable(name, "it is not UTF-8 text", "save it as UTF-8"))
        except _Unusable as error:
            findings.append(_unreadable(name, str(error), error.hint))
    return texts, findings, digest.hexdigest()


class _Unusable(Exception):
    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def _unreadable(name: str, what: str, hint: str) -> Finding:
    return Finding(name, what, "all three files are graded, and only these three are read", hint)


def _from_folder(folder: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            # Neither follow a link nor wait for a pipe: both could lead out of the folder.
            file = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if os.path.islink(folder / name):
                raise _Unusable("it is a link", "put the file itself there") from error
            if os.path.lexists(folder / name):
                raise _Unusable(_refused_by_the_system(error), "copy it anew") from error
            raise _Unusable("the file is missing", f"put {name} into the folder") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _Unusable("it is no ordinary file", "put an ordinary file there")
        try:
            with open(file, "rb") as opened:
                content = opened.read(LARGEST[name] + 1)
        except OSError as error:
            raise _Unusable(_refused_by_the_system(error), "copy it anew") from error
        return _small_enough(name, content)

    return read


def _from_zip(place: Path) -> Callable[[str], bytes]:
    """The files lie at the archive's top or all in one folder, as file managers pack them."""
    try:
        with place.open("rb") as file:
            content = file.read(LARGEST_ZIP + 1)  # once, so that it cannot change under the reader
    except OSError as error:
        raise _refused_zip(_refused_by_the_system(error)) from error
    if len(content) > LARGEST_ZIP:
        raise _refused_zip(f"the archive is larger than {LARGEST_ZIP // 1024} KB")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = archive.infolist()
    except DAMAGED as error:
        raise _refused_zip(f"this is no zip file, or a damaged one ({one_line(error)})") from error
    if len(entries) > MOST_ENTRIES:
        raise _refused_zip(f"{len(entries)} entries, expected at most {MOST_ENTRIES}")
    for entry in entries:
        parts = entry.filename.split("/")
        if entry.filename.startswith("/") or ".." in parts or "\\" in entry.orig_filename:
            raise _refused_zip(f"the entry {one_line(entry.filename)!r} leads out of the archive")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _refused_zip(f"the entry {one_line(entry.filename)!r} is a link")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Other methods may ask for gigabytes before they give a single byte.
            raise _refused_zip(f"{one_line(entry.filename)!r} is packed by an unusual method")

    def read(name: str) -> bytes:
        found = [
            entry for entry in entries
            if entry.filename == name
            or (entry.filename.count("/") == 1 and entry.filename.endswith(f"/{name}")
                and not entry.filename.startswith("__MACOSX/"))
        ]  # fmt: skip
        if not found:
            raise _Unusable("the file is missing", f"put {name} at the top of the archive")
        if len(found) > 1:
            raise _Unusable(f"it is there {len(found)} times", f"pack one {name} only")
        try:
            with archive.open(found[0]) as opened:  # what it unpacks to is cut off at the limit
                unpacked = opened.read(LARGEST[name] + 1)
        except DAMAGED as error:
            raise _Unusable(
                f"it cannot be unpacked ({one_line(error)})", "pack it again"
            ) from error
        return _small_enough(name, unpacked)

    return read


def _refused_by_the_system(error: OSError) -> str:
    return f"it cannot be opened ({one_line(error.strerror or error)})"


def _small_enough(name: str, content: bytes) -> bytes:
    if len(content) > LARGEST[name]:
        raise _Unusable(
            f"it is larger than {LARGEST[name] // 1024} KB", "leave out data, weights and pictures"
        )
    return content


def _refused_zip(what: str) -> SubmissionError:
    hint = f"pack {MODEL}, {RECIPE} and {REPORT} into a new zip file, and nothing else"
    return SubmissionError([Finding("the zip file", what, "it is read by strict rules", hint)])
