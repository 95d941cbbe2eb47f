"""A submission: model.py, recipe.toml and REPORT.md in a folder or a zip file, read with care.

Files are read by their three names only, up to a size, and never through links. A zip file is
never unpacked to disk. Nothing in here runs any code of the submission.
"""

import hashlib
import io
import os
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_steps.assignment.findings import Finding, SubmissionError, one_line, shown
from mnist_steps.assignment.rules import Assignment, Bounds
from mnist_steps.augment import (
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
)
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import SGD, TRAIN_PIXELS, OneCycle, Recipe

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
    if place.is_dir():
        read = _from_folder(place)
    elif place.is_file() and place.suffix.lower() == ".zip":
        read = _from_zip(place)
    else:
        raise MnistStepsError(
            f"{one_line(place)} is neither a folder nor a .zip file: give the folder with "
            f"{MODEL}, {RECIPE} and {REPORT}."
        )
    findings: list[Finding] = []
    texts: dict[str, str] = {}
    digest = hashlib.sha256()
    for name in LARGEST:
        try:
            content = read(name)
            texts[name] = content.decode("utf-8")
            digest.update(f"{name} {len(content)}\n".encode() + content)
        except UnicodeDecodeError:
            findings.append(_unreadable(name, "it is not UTF-8 text", "save it as UTF-8"))
        except _Unusable as error:
            findings.append(_unreadable(name, str(error), error.hint))
    if findings:
        raise SubmissionError(findings)
    return Submission(texts[MODEL], texts[RECIPE], texts[REPORT], digest.hexdigest())


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


# ---- The recipe ---------------------------------------------------------------------------------


OPTIMIZERS: dict[type, dict[str, Bounds]] = {
    SGD: {
        "lr": Bounds(1e-5, 10, "larger steps diverge, smaller ones do not arrive in 15 epochs"),
        "momentum": Bounds(0, 0.999, "it is the share of the last step that is kept"),
    },
}
SCHEDULES: dict[type, dict[str, Bounds]] = {
    OneCycle: {"max_lr": Bounds(1e-5, 10, "it is the learning rate at the peak")},
}
TRANSFORMS: dict[type, dict[str, Bounds]] = {
    RandomRotation: {"degrees": Bounds(0, 180, "beyond 180 it would turn around again")},
    RandomTranslation: {"share": Bounds(0, 0.5, "beyond a half the digit leaves the image")},
    RandomCenterCrop: {
        "size": Bounds(1, 28, "the image has 28 × 28 pixels", whole=True),
        "probability": Bounds(0, 1, "it is a probability"),
    },
    RandomResizedCrop: {
        "smallest": Bounds(0.01, 1, "it is a share of the image's area"),
        "largest": Bounds(0.01, 1, "it is a share of the image's area"),
    },
}
MOST_TRANSFORMS = 8


def parse_recipe(text: str, assignment: Assignment) -> Recipe:
    """The recipe that recipe.toml describes; normalization and loss are the same for all.

    Raises SubmissionError with one finding for each mistake.
    """
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SubmissionError(
            [
                Finding(
                    RECIPE,
                    f"this is not TOML ({one_line(error)})",
                    "a recipe that cannot be read cannot be trained",
                    'text needs quotes, decimals a point: name = "SGD", lr = 0.01',
                )
            ]
        ) from error
    reader = _RecipeReader(found)
    recipe = reader.read(assignment)
    if reader.findings or recipe is None:
        raise SubmissionError(reader.findings)
    return recipe


class _RecipeReader:
    """Reads a recipe's parts and collects what is wrong, so that all of it is told at once."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.findings: list[Finding] = []

    def read(self, assignment: Assignment) -> Recipe | None:
        known = "batch_size epochs optimizer schedule augmentation".split()
        for name in sorted(set(self.found) - set(known)):
            self.complain(
                one_line(name),
                f"there is no such setting; there are {', '.join(known)}",
                "a setting that nobody reads would change nothing, silently",
                "check the spelling, or delete the line",
            )
        batch_size = self.number("batch_size", self.found, Bounds(
            8, 2048, "it sets how many weight updates one epoch has", whole=True))  # fmt: skip
        epochs = self.number("epochs", self.found, Bounds(
            1, assignment.epochs, "the assignment limits how long a network may learn",
            whole=True))  # fmt: skip
        optimizer = self.part("optimizer", self.found.get("optimizer"), OPTIMIZERS)
        schedule = None
        if "schedule" in self.found:
            schedule = self.part("schedule", self.found["schedule"], SCHEDULES)
        augmentation = self.found.get("augmentation", [])
        if not isinstance(augmentation, list) or len(augmentation) > MOST_TRANSFORMS:
            self.complain(
                "augmentation",
                f"expected at most {MOST_TRANSFORMS} tables",
                "each one is a transform, applied in their order",
                'begin each one with [[augmentation]] and name = "RandomRotation"',
            )
            augmentation = []
        transforms = [
            self.part(f"augmentation {position}", one, TRANSFORMS)
            for position, one in enumerate(augmentation, start=1)
        ]
        for position, one in enumerate(transforms, start=1):
            if isinstance(one, RandomResizedCrop) and one.smallest > one.largest:
                self.complain(
                    f"augmentation {position}",
                    f"smallest is {one.smallest}, more than largest, {one.largest}",
                    "areas are drawn between the two",
                    "exchange them",
                )
        if self.findings:
            return None
        return Recipe(
            batch_size=batch_size,
            epochs=epochs,
            optimizer=optimizer,
            schedule=schedule,
            augmentation=tuple(transforms),
            # Unlike the stages, which repeat the original's two pairs of constants.
            normalize_train=TRAIN_PIXELS,
            normalize_test=TRAIN_PIXELS,
        )

    def part(self, where: str, found: Any, choices: dict[type, dict[str, Bounds]]) -> Any:
        """An optimizer, schedule or transform; None when something is wrong with it."""
        names = {choice.__name__: choice for choice in choices}
        name = found.get("name") if isinstance(found, dict) else None
        if not isinstance(name, str) or name not in names:
            self.complain(
                where,
                f"found {shown(name)} as its name, expected one of {', '.join(names)}",
                "the grader trains with these, which are the same for everybody",
                f'write name = "{next(iter(names))}"',
            )
            return None
        settings = choices[names[name]]
        for extra in sorted(set(found) - set(settings) - {"name"}):
            self.complain(
                f"{where}, {one_line(extra)}",
                f"{name} has no such setting here; it has {', '.join(settings)}",
                "a setting that nobody reads would change nothing, silently",
                "check the spelling, or delete the line",
            )
        before = len(self.findings)
        values = {
            setting: self.number(setting, found, bounds, f"{where}, {setting}")
            for setting, bounds in settings.items()
        }
        return names[name](**values) if len(self.findings) == before else None

    def number(
        self, name: str, table: dict[str, Any], bounds: Bounds, where: str | None = None
    ) -> Any:
        value: Any = table.get(name)
        if bounds.admit(value):
            return value
        self.complain(
            where or name,
            f"{'it is missing' if value is None else f'found {shown(value)}'}, expected {bounds}",
            bounds.why,
            f"write {name} = and a number within these bounds",
        )
        return None

    def complain(self, where: str, what: str, why: str, hint: str) -> None:
        self.findings.append(Finding(f"{RECIPE}, {where}", what, why, hint))
