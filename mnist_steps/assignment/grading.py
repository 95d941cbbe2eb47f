"""Grading a class: check every submission in the jail, train outside of it, and judge.

Both are batches of tasks with a journal, so a grading can stop at any moment and the same command
goes on. What a submission does costs only itself; what goes wrong on our side is tried again and
is never a mark.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mnist_steps.assignment import checking, copies, rubric, sandbox, trainings
from mnist_steps.assignment.checking import Checked, CheckOutcome
from mnist_steps.assignment.copies import Alike
from mnist_steps.assignment.entries import Entry, find, load
from mnist_steps.assignment.findings import Finding, SubmissionError, one_line, unforeseen
from mnist_steps.assignment.journal import Journal
from mnist_steps.assignment.rubric import Manual, Part
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.seeds import seed_of_run, seeds_of
from mnist_steps.assignment.submission import Submission
from mnist_steps.assignment.trainings import TrainingOutcome, Trainings, TrainingTask
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.study import choice_for_usual_networks
from mnist_steps.experiments.tasks import perform_all

FORMAT = 1

PASS, FAIL = "pass", "fail"
ERROR = "error"  # theirs: there is nothing that could be trained; no points, but feedback
UNGRADABLE = "ungradable"  # the files cannot be read: no mark, to be handed in again
INFRASTRUCTURE = "infrastructure error"  # ours: no mark, the same command tries again
STATUSES = (PASS, FAIL, ERROR, UNGRADABLE, INFRASTRUCTURE)


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
    def parameters(self) -> int | None:
        """Of the network; None without one."""
        if self.checked is None or self.checked.network is None:
            return None
        return self.checked.network.parameters

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
    def share(self) -> float:
        """Percent of the points that there are so far."""
        return 100 * (self.points or 0) / (self.possible or 1)

    @property
    def waiting(self) -> float:
        """Points that a person has not judged yet."""
        return round(sum(part.most for part in self.parts if part.points is None), 1)

    @property
    def accuracy(self) -> float | None:
        """After the last epoch, of the worst seed, in percent."""
        return trainings.worst_final(self.runs) if self.runs else None

    @property
    def cause(self) -> str:
        """Why the status is what it is, in one line: what to look at first. Empty for a pass."""
        if self.problem:
            return self.problem
        if self.status == FAIL:
            lost = [
                (part.most - part.points, part) for part in self.parts if part.points is not None
            ]
            part = max(lost, key=lambda one: one[0])[1]
            return f"{part.title}, {part.points:g} of {part.most:g}: {part.why}"
        if self.status == PASS or not self.findings:
            return ""
        return f"{self.findings[0].where}: {self.findings[0].what}"

    def reaches_target(self, assignment: Assignment) -> bool:
        """The exercise in one word: the budget kept, and every last epoch of every seed there."""
        if self.parameters is None or not self.runs:
            return False
        reached, expected = rubric.epochs_at_target(
            [run.test_accuracies for run in self.runs], assignment
        )
        return self.parameters < assignment.parameters and reached == expected


@dataclass(frozen=True)
class Grading:
    """The grades of a class, by name, and what they were made with.

    sandbox: as `sandbox.describe`
    alike: near copies, for a person to look at
    """

    grades: tuple[Grade, ...]
    assignment: Assignment
    seeds: tuple[int, ...]
    sandbox: dict[str, Any]
    versions: dict[str, str]
    alike: tuple[Alike, ...] = ()

    @property
    def marked(self) -> list[Grade]:
        """Those with a mark."""
        return [grade for grade in self.grades if grade.status in (PASS, FAIL)]

    @property
    def ranked(self) -> tuple[list[Grade], list[Grade]]:
        """Those whose networks were trained, the most accurate first; and the others."""
        trained = [grade for grade in self.grades if grade.accuracy is not None]
        others = [grade for grade in self.grades if grade.accuracy is None]
        return sorted(trained, key=lambda grade: -(grade.accuracy or 0)), others

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
            "parameters": grade.parameters,
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
    device: as for `training.fit`
    engine: likewise; 'engine' insists that it can be had, and still leaves to PyTorch what it
        cannot train
    train_images: for tests: train on the first so many images only
    """

    seeds: tuple[int, ...] | None = None
    screen: bool = False
    unsafe: bool = False
    device: str = "cpu"
    engine: str = "auto"
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
    Raises MnistStepsError when there is nothing to grade, when `out` cannot be used, when the
    engine is insisted on in vain, and SandboxUnavailable without a jail.
    """
    settings = settings or Settings()
    choice_for_usual_networks(settings.engine, settings.device)
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
    checked = {
        folder: outcome.checked()
        for folder, task in checks.items()
        if (outcome := check_journal.get(task)) is not None
    }
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
    digests = {folder: files.digest for folder, files in read.items()}
    networks = {folder: tasks[0].key for folder, tasks in wanted.items()}

    def grade_of(entry: Entry) -> Grade:
        folder = entry.folder
        if folder in unread:
            return Grade(entry, UNGRADABLE, findings=tuple(unread[folder].findings))
        same_files = _others(entry, names, digests)
        grade = Grade(entry, INFRASTRUCTURE, digest=digests[folder], same_files=same_files)
        if folder not in checked:
            return replace(grade, problem=problems.get(checks[folder].key, "it was not checked"))
        tasks = wanted.get(folder, [])
        outcomes = [training_journal.get(task) for task in tasks]
        same_network = _others(entry, names, networks)
        grade = replace(
            grade,
            findings=checked[folder].findings,
            checked=checked[folder],
            runs=tuple(outcome for outcome in outcomes if outcome is not None),
            same_network=tuple(name for name in same_network if name not in same_files),
        )
        for task, outcome in zip(tasks, outcomes, strict=True):
            if outcome is None:
                return replace(grade, problem=problems.get(task.key, "it was not trained"))
        return judged(grade, assignment, (manual or {}).get(folder))

    return Grading(
        grades=tuple(_guarded(entry, grade_of) for entry in entries),
        assignment=assignment,
        seeds=tuple(seeds),
        sandbox=found_sandbox,
        versions=checking.versions(),
        alike=_alike(names, read, checked),
    )


def _guarded(entry: Entry, grade_of: Callable[[Entry], Grade]) -> Grade:
    try:
        return grade_of(entry)
    except Exception as error:
        return broken(entry, error)


def broken(entry: Entry, error: Exception) -> Grade:
    """The grade of an entry that broke a step of the grading."""
    return Grade(entry, UNGRADABLE, findings=(unforeseen(error),))


def _alike(
    names: dict[str, str], read: dict[str, Submission], checked: dict[str, Checked]
) -> tuple[Alike, ...]:
    graphs = {folder: one.network.graph for folder, one in checked.items() if one.network}
    try:
        found = copies.find(read, graphs)
    except Exception as error:  # of which no single one can be named
        return (Alike((), unforeseen(error).what),)
    return tuple(replace(one, names=tuple(names[folder] for folder in one.names)) for one in found)


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
            settings.train_images, settings.device,
            "torch" if settings.engine == "torch" else "auto", seconds,
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
