"""Grading a class: check every submission in the jail, train outside of it, and judge.

Both are batches of tasks with a journal, so a grading can stop at any moment and the same command
goes on. What a submission does costs only itself; what goes wrong on our side is tried again and
is never a mark.
"""

import hashlib
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnist_steps import runs
from mnist_steps.assignment import checking, copies, rubric, sandbox, submission, trainings
from mnist_steps.assignment.checking import Checked, CheckOutcome
from mnist_steps.assignment.findings import Finding, SubmissionError, one_line, unforeseen
from mnist_steps.assignment.journal import Journal
from mnist_steps.assignment.rebuild import Network
from mnist_steps.assignment.rubric import Manual, Part
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.submission import LARGEST, Submission
from mnist_steps.assignment.trainings import TrainingOutcome, Trainings, TrainingTask
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.tasks import perform_all
from mnist_steps.stages import Recipe

FORMAT = 1

PASS, FAIL = "pass", "fail"
ERROR = "error"  # theirs: there is nothing that could be trained; no points, but feedback
UNGRADABLE = "ungradable"  # the files cannot be read: no mark, to be handed in again
INFRASTRUCTURE = "infrastructure error"  # ours: no mark, the same command tries again
STATUSES = (PASS, FAIL, ERROR, UNGRADABLE, INFRASTRUCTURE)


# ---- What was handed in -------------------------------------------------------------------------


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


# ---- Seeds --------------------------------------------------------------------------------------

MOST_SEEDS = 20  # that an assignment may ask for; all are drawn at once
LARGEST_SEED = (1 << 63) - 1  # what torch and JSON readers take as a whole number


def seeds_of(out: Path, count: int, chosen: Sequence[int] | None = None) -> list[int]:
    """The grading's secret seeds: drawn once, kept in the folder, the same at every later start.

    chosen: use and keep these instead, to repeat another grading
    Raises MnistStepsError when they are too few, or when the kept ones cannot be read.
    """
    if chosen and len(chosen) < count:
        raise MnistStepsError(
            f"found {len(chosen)} seed(s) for a grading with {count}: give as many as the grading "
            "had that you repeat, or set fewer in assignment.toml."
        )
    file = out / "seeds.json"
    if chosen:
        _write_secretly(file, chosen, os.replace)
        return list(chosen)
    drawn = [secrets.randbelow(LARGEST_SEED + 1) for _ in range(MOST_SEEDS)]
    if not os.path.lexists(file):
        _write_secretly(file, drawn, _put_unless_there)
    try:
        kept = [int(seed) for seed in json.loads(file.read_text(encoding="utf-8"))["seeds"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MnistStepsError(
            f"{file} cannot be read ({one_line(repr(error))}): delete it to draw new seeds."
        ) from error
    if len(kept) < count:  # those of a grading with `--seeds`, and now there have to be more
        kept += drawn[len(kept) :]
        _write_secretly(file, kept, os.replace)
    return kept[:count]


def _write_secretly(file: Path, seeds: Sequence[int], put: Callable[[Path, Path], None]) -> None:
    written = file.with_name(f".seeds-{secrets.token_hex(8)}")
    text = json.dumps({"format": FORMAT, "seeds": list(seeds)}) + "\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written.touch(mode=0o600)
        written.write_text(text, encoding="utf-8")
        put(written, file)
    except OSError as error:
        raise MnistStepsError(f"cannot write {file} ({error.strerror or error}).") from error
    finally:
        written.unlink(missing_ok=True)


def _put_unless_there(written: Path, file: Path) -> None:
    """Of two gradings that start together one is first; both go by what it wrote."""
    try:
        os.link(written, file)
    except FileExistsError:
        pass
    except OSError:  # some shared folders know no links
        os.replace(written, file)


def seed_of_run(secret: int, network: Network, recipe: Recipe) -> int:
    """The number that a run starts from: made of a secret seed and of what is trained.

    torch takes only 32 bits, which a student could try out, all of them, with a network made for
    it, until the accuracies on the feedback page come out. So nobody else's run starts from the
    same number, nor does any other network of this student, and it leads back to no secret seed.
    """
    trained = runs.digest([copies.structure(network.graph), recipe.as_data()])
    return int(hashlib.sha256(f"{secret} {trained}".encode()).hexdigest()[:8], 16)


# ---- Grades -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grade:
    """All about one submission.

    parts: of the rubric; empty when there is no mark
    findings: what there is to put right, as in the self-check
    checked: None when the files could not be read, or when the check failed on our side
    runs: one for each seed; empty when nothing was trained
    same_files, same_network: names of others who handed in the same
    problem: what went wrong on our side
    """

    entry: Entry
    status: str
    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()
    checked: Checked | None = None
    runs: tuple[TrainingOutcome, ...] = ()
    digest: str | None = None
    same_files: tuple[str, ...] = ()
    same_network: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def points(self) -> float | None:
        """Given so far; None without a mark."""
        given = [part.points for part in self.parts if part.points is not None]
        return round(sum(given), 1) if self.parts else None

    @property
    def possible(self) -> float:
        """The most that the parts judged so far could give."""
        return round(sum(part.most for part in self.parts if part.points is not None), 1)

    @property
    def waiting(self) -> float:
        """Points that a person has not judged yet."""
        return round(sum(part.most for part in self.parts if part.points is None), 1)

    @property
    def accuracy(self) -> float | None:
        """After the last epoch, of the worst seed, in percent."""
        return trainings.worst_final(self.runs) if self.runs else None

    def reaches_target(self, assignment: Assignment) -> bool:
        """The exercise in one word: the budget kept, and every last epoch of every seed there."""
        if self.checked is None or self.checked.network is None or not self.runs:
            return False
        reached, expected = rubric.epochs_at_target(
            [run.test_accuracies for run in self.runs], assignment
        )
        return self.checked.network.parameters < assignment.parameters and reached == expected


@dataclass(frozen=True)
class Grading:
    """The grades of a class, by name, and what they were made with.

    sandbox: as `sandbox.describe`
    fast: whether trainings ran the fast way, which rounds otherwise
    """

    grades: tuple[Grade, ...]
    assignment: Assignment
    seeds: tuple[int, ...]
    sandbox: dict[str, Any]
    versions: dict[str, str]
    fast: bool = False

    def as_data(self, grade: Grade) -> dict[str, Any]:
        """One grade as plain data, with all that is needed to repeat it."""
        checked = grade.checked
        network = checked and checked.network
        when = grade.entry.handed_in
        return {
            "format": FORMAT,
            "name": grade.entry.name,
            "folder": grade.entry.folder,
            "status": grade.status,
            "points": grade.points,
            "possible": grade.possible,
            "waiting": grade.waiting,
            "total": self.assignment.rubric.total,
            "reaches_target": grade.reaches_target(self.assignment),
            "accuracy": grade.accuracy,
            "parts": [asdict(part) for part in grade.parts],
            "findings": [asdict(finding) for finding in grade.findings],
            "notes": [asdict(note) for note in grade.checked.notes] if grade.checked else [],
            "problem": grade.problem,
            "digest": grade.digest,
            "parameters": network and network.parameters,
            "macs": network and network.graph.total_macs,
            "recipe": checked and checked.recipe and checked.recipe.as_data(),
            "runs": [asdict(run) for run in grade.runs],
            "same_files": list(grade.same_files),
            "same_network": list(grade.same_network),
            "handed_in": when and when.isoformat(timespec="seconds"),
            "late": lateness(grade.entry, self.assignment),
            "assignment": self.assignment.as_data(),
            "seeds": list(self.seeds),
            "sandbox": self.sandbox,
            "fast": self.fast,
            "versions": self.versions,
        }


def lateness(entry: Entry, assignment: Assignment) -> str | None:
    """How much after the due date; None when in time, or when there is nothing to compare."""
    if assignment.due is None or entry.handed_in is None or entry.handed_in <= assignment.due:
        return None
    late = entry.handed_in - assignment.due
    hours = late.seconds // 3600
    return (
        f"{late.days} days, {hours} h" if late.days else f"{hours} h {late.seconds // 60 % 60} min"
    )


# ---- The grading --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """How to grade.

    seeds: instead of the folder's own
    screen: one short run each, to rank and not to mark
    unsafe: run submissions where there is no jail
    device, fast: as for `training.fit`
    train_images: for tests: train on the first so many images only
    """

    seeds: tuple[int, ...] | None = None
    screen: bool = False
    unsafe: bool = False
    device: str = "cpu"
    fast: bool = False
    progress: bool = True
    train_images: int | None = None


def grade(
    submissions: Path,
    out: Path,
    assignment: Assignment,
    check_executor: Executor,
    training_executor: Executor,
    settings: Settings | None = None,
    manual: dict[str, Manual] | None = None,
) -> Grading:
    """Grade every submission in a folder; the journal and the seeds are kept in `out`.

    manual: what a person gave for reports, by the entry's folder
    Raises MnistStepsError when there is nothing to grade, when `out` cannot be used, and
    SandboxUnavailable without a jail.
    """
    settings = settings or Settings()
    found_sandbox = sandbox.describe()
    if found_sandbox["level"] == "none" and not settings.unsafe:
        raise sandbox.unavailable()
    entries = find(submissions)
    if out.resolve().is_relative_to(submissions.resolve()):
        raise MnistStepsError(
            f"{out} lies inside of {submissions} and would be graded: name another folder."
        )
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)  # marks are not everybody's business
    except OSError as error:
        raise MnistStepsError(f"cannot make the folder {out}: {error.strerror}.") from error
    seeds = seeds_of(out, assignment.seeds, settings.seeds)
    assignment = replace(assignment, seeds=len(seeds))

    unread: dict[str, SubmissionError] = {}
    read: dict[str, Submission] = {}
    for entry in entries:
        try:
            read[entry.folder] = load(entry)
        except SubmissionError as error:
            unread[entry.folder] = error
    names = {entry.folder: entry.name for entry in entries}
    checks = {
        folder: checking.task_for(names[folder], files, assignment, settings.unsafe)
        for folder, files in read.items()
    }
    check_journal = Journal(out / "journal" / "checks", CheckOutcome)
    check_report = perform_all(
        _once(checks.values()), check_executor, check_journal, checking.perform,
        title="checks", progress=settings.progress,
    )  # fmt: skip
    checked: dict[str, Checked] = {}
    for folder, task in checks.items():
        outcome = check_journal.get(task)
        if outcome is not None:
            checked[folder] = outcome.checked()

    wanted = {
        folder: _training_tasks(names[folder], one, seeds, settings, 60 * assignment.minutes)
        for folder, one in checked.items()
        if one.trainable
    }
    training_journal = Trainings(out / "journal" / "trainings")
    training_report = perform_all(
        _once(task for tasks in wanted.values() for task in tasks),
        training_executor, training_journal, trainings.perform,
        title="trainings", progress=settings.progress,
    )  # fmt: skip

    problems = {
        failure.task.key: one_line(failure)  # type: ignore[attr-defined]
        for failure in (*check_report.failures, *training_report.failures)
    }
    grades = []
    for entry in entries:
        folder = entry.folder
        if folder in unread:
            grades.append(Grade(entry, UNGRADABLE, findings=tuple(unread[folder].findings)))
            continue
        same_files = _others(entry, names, {one: read[one].digest for one in read})
        if folder not in checked:
            grades.append(
                Grade(
                    entry, INFRASTRUCTURE, digest=read[folder].digest, same_files=same_files,
                    problem=problems.get(checks[folder].key, "it was not checked"),
                )
            )  # fmt: skip
            continue
        tasks = wanted.get(folder, [])
        outcomes = [training_journal.get(task) for task in tasks]
        made = tuple(outcome for outcome in outcomes if outcome is not None)
        unmade = [task for task, one in zip(tasks, outcomes, strict=True) if one is None]
        networks = {one: tasks[0].key for one, tasks in wanted.items()}
        base = Grade(
            entry=entry,
            status=ERROR,
            findings=checked[folder].findings,
            checked=checked[folder],
            runs=made,
            digest=read[folder].digest,
            same_files=same_files,
            same_network=tuple(
                name for name in _others(entry, names, networks) if name not in same_files
            ),
            problem=problems.get(unmade[0].key, "it was not trained") if unmade else None,
        )
        if unmade:
            grades.append(replace(base, status=INFRASTRUCTURE))
        else:
            grades.append(judged(base, assignment, (manual or {}).get(folder)))
    return Grading(
        grades=tuple(grades),
        assignment=assignment,
        seeds=tuple(seeds),
        sandbox=found_sandbox,
        versions=checking.versions(),
        fast=settings.fast,
    )


def judged(grade: Grade, assignment: Assignment, manual: Manual | None = None) -> Grade:
    """The grade with its status and its points. grade: with its runs, where it could be trained"""
    checked = grade.checked
    assert checked is not None
    stopped = [_stopped(number, run) for number, run in enumerate(grade.runs, 1) if run.stopped]
    if stopped or not checked.trainable:
        findings = (*grade.findings, *stopped)
        nothing = tuple(rubric.nothing(assignment))
        return replace(grade, status=ERROR, parts=nothing, findings=findings, runs=())
    accuracies = [run.test_accuracies for run in grade.runs]
    parts = checking.judge(checked, accuracies, assignment, manual)
    grade = replace(grade, parts=tuple(parts))
    passed = 100 * (grade.points or 0) >= assignment.pass_mark * grade.possible
    return replace(grade, status=PASS if passed else FAIL)


def _stopped(number: int, run: TrainingOutcome) -> Finding:
    return Finding(
        f"the training, run {number}",
        f"it was stopped: {run.stopped}",
        "the whole class is trained on the grader's machine, so each run has its limits",
        "train one epoch with `mnist-steps assignment check --smoke`, and see how long it takes; "
        "fewer channels where the image is still large, or smaller pools, take less",
    )


def _training_tasks(
    name: str, checked: Checked, seeds: Sequence[int], settings: Settings, seconds: float
) -> list[TrainingTask]:
    assert checked.network is not None and checked.recipe is not None
    recipe = checked.recipe
    if settings.screen:
        recipe, seeds = trainings.screening(recipe, len(seeds)), seeds[:1]
    return [
        trainings.task_for(
            f"{name}, run {number}", checked.network, recipe,
            seed_of_run(seed, checked.network, recipe),
            settings.train_images, settings.device, settings.fast, seconds,
        )
        for number, seed in enumerate(seeds, start=1)
    ]  # fmt: skip


def _once(tasks: Any) -> list[Any]:
    """Each task once: what two students share is done for both."""
    return list({task.key: task for task in tasks}.values())


def _others(entry: Entry, names: dict[str, str], digests: dict[str, str]) -> tuple[str, ...]:
    """The names of the other entries with the same digest."""
    mine = digests.get(entry.folder)
    return tuple(
        names[folder]
        for folder, digest in digests.items()
        if mine is not None and digest == mine and folder != entry.folder
    )
