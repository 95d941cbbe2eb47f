"""The self-check: all that grading finds out about a submission before it trains."""

import json
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mnist_steps import __version__, runs
from mnist_steps.assignment import (
    cost,
    differences,
    rebuild,
    recipe_toml,
    report,
    rubric,
    sandbox,
    submission,
    trainings,
)
from mnist_steps.assignment.findings import Finding, SubmissionError, unforeseen
from mnist_steps.assignment.rebuild import Network
from mnist_steps.assignment.report import Facts
from mnist_steps.assignment.rubric import Manual, Part
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.sandbox import Traced
from mnist_steps.assignment.schema import GraphRefused
from mnist_steps.assignment.submission import MODEL, RECIPE, REPORT, Submission
from mnist_steps.assignment.trainings import TrainingOutcome
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Recipe

# Of all that a training step keeps: as float32 numbers 1 GiB, and their gradients as much again.
# Stage 1, at batch size 512, has 190 million.
MOST_VALUES_IN_A_BATCH = 1 << 28


@dataclass(frozen=True)
class Checked:
    """What was found out.

    network, recipe: None where a finding says why there is none
    affordable: whether the assignment's bounds allow to train this network with this recipe
    facts: of the report; None without a network to compare it with
    level: of the sandbox, as `sandbox.level`; None when the code was not run
    digest: of the submission's files; None when they could not all be read
    notes: what the graded network leaves out of the one handed in; nothing has to be put right
    """

    findings: tuple[Finding, ...]
    network: Network | None = None
    recipe: Recipe | None = None
    affordable: bool = False
    facts: Facts | None = None
    level: str | None = None
    digest: str | None = None
    notes: tuple[Finding, ...] = ()

    @property
    def trainable(self) -> bool:
        return self.network is not None and self.recipe is not None and self.affordable


def check(place: Path, assignment: Assignment, *, unsafe: bool = False) -> Checked:
    """Read the submission, trace its network in the jail, and compare all with the assignment.

    What is missing is told, and the rest is checked.

    place: a folder, a .zip file, or a model.py beside which the others lie
    Raises MnistStepsError when there is nothing there, and SandboxUnavailable without a jail.
    """
    try:
        texts, missing, digest = submission.read(place)
    except SubmissionError as error:
        return Checked(tuple(error.findings))
    checked = _check(texts, assignment, unsafe)
    return replace(
        checked, findings=(*missing, *checked.findings), digest=None if missing else digest
    )


def check_files(
    found: Submission,
    assignment: Assignment,
    *,
    unsafe: bool = False,
    trace: Callable[..., Traced] | None = None,
) -> Checked:
    """As `check`, of files that were read already.

    trace: instead of `sandbox.trace`; for code of our own only
    """
    texts = {MODEL: found.model, RECIPE: found.recipe, REPORT: found.report}
    return replace(_check(texts, assignment, unsafe, trace), digest=found.digest)


def _check(
    texts: dict[str, str],
    assignment: Assignment,
    unsafe: bool,
    trace: Callable[..., Traced] | None = None,
) -> Checked:
    """texts: by the files' names; there may be some missing"""
    findings: list[Finding] = []
    notes: list[Finding] = []
    recipe, network, level = None, None, None
    if RECIPE in texts:
        try:
            recipe = recipe_toml.parse(texts[RECIPE], assignment)
        except SubmissionError as error:
            findings += error.findings
    if MODEL in texts:
        try:
            traced = (trace or sandbox.trace)(texts[MODEL], unsafe=unsafe)
            level = traced.level
            built = rebuild.read(traced.graph)
            rebuild.read(description(built))  # longer than what came out of the jail, perhaps
            refused, notes = differences.told(built.description.besides)
            findings += refused
            network = None if refused or not built.layers else built
        except (sandbox.TraceFailed, GraphRefused) as error:
            level = level or sandbox.level()
            findings.append(_about_the_model(error))
    untrainable: list[Finding] = []
    facts = None
    if network is not None:
        untrainable = [*check_learning(network)] or [*check_cost(network, recipe, assignment)]
        findings += [*check_budget(network, assignment), *untrainable]
        if REPORT in texts:
            findings += report.check(texts[REPORT], network.layers, network.parameters)
        facts = report.facts(texts.get(REPORT, ""), network.layers)
    return Checked(
        tuple(findings), network, recipe, not untrainable, facts, level, notes=tuple(notes)
    )  # fmt: skip


PYTHONS_OWN = re.compile(r"line \d+: [A-Za-z.]+(Error|Exception|Interrupt|Exit)\b")


def _about_the_model(error: MnistStepsError) -> Finding:
    """Why there is no network. The message may say itself what to change, after 'Hint:'."""
    what, _, hint = str(error).partition(" Hint: ")
    where, _, rest = what.partition(": ")
    if not re.fullmatch(rf"{MODEL}(, line \d+)?", where):
        where, rest = MODEL, what
    if not hint and PYTHONS_OWN.search(what):
        hint = "run `python model.py` yourself: it should fail in the same way"
    if not hint and isinstance(error, sandbox.TraceFailed):
        hint = "build the network only, and put what trains, draws or downloads into another file"
    return Finding(
        where,
        rest.strip().rstrip("."),
        "the network that is graded is the one that build_model() returns",
        hint.rstrip(".") or "the page for students lists what a network may consist of",
    )


def check_budget(network: Network, assignment: Assignment) -> Iterator[Finding]:
    """Whether the network has fewer parameters than the assignment allows."""
    if network.parameters >= assignment.parameters:
        largest = max(network.graph.nodes, key=lambda node: node.params)
        yield Finding(
            MODEL,
            f"found {network.parameters:,} parameters, expected fewer than "
            f"{assignment.parameters:,}",
            "the budget is the point of the exercise",
            f"look at {largest.name} first: it has {largest.params:,} of them",
        )


def check_learning(network: Network) -> Iterator[Finding]:
    """Whether training could change what the network returns."""
    if not cost.learns(network.graph):
        nothing = "it has no weights" if network.parameters == 0 else "no weight reaches its output"
        yield Finding(
            MODEL,
            f"the network cannot learn: {nothing}",
            "training changes weights, and only these",
            "see that forward passes what it computes from layer to layer, and returns the last "
            "layer's result",
        )


def check_cost(
    network: Network, recipe: Recipe | None, assignment: Assignment
) -> Iterator[Finding]:
    """What would make grading too slow or take too much memory; such a network is not trained."""
    work = cost.work(network.graph)
    if sum(work.values()) > assignment.macs:
        busiest = max(work, key=lambda name: work[name])
        yield Finding(
            MODEL,
            f"{sum(work.values()):,} multiply-accumulate operations, or as much work as that, "
            f"for one image, expected at most {assignment.macs:,}",
            "the whole class is trained on the grader's machine; what pools look at, and what "
            "padding copies, is work too",
            f"look at {busiest} first: it takes {work[busiest]:,} of them",
        )
    values = cost.values(network.graph)
    if values > rebuild.MOST_VALUES:
        yield Finding(
            MODEL,
            f"{values:,} values in all layers' outputs and padded inputs for one image, "
            f"expected at most {rebuild.MOST_VALUES:,}",
            "a training step keeps all of them in memory",
            "pad less, or let an earlier layer have fewer channels",
        )
    elif recipe is not None and values * recipe.batch_size > MOST_VALUES_IN_A_BATCH:
        yield Finding(
            f"{RECIPE}, batch_size",
            f"a batch of {recipe.batch_size} has {values * recipe.batch_size:,} values in all "
            f"layers' outputs and padded inputs, expected at most {MOST_VALUES_IN_A_BATCH:,}",
            "a training step keeps all of them in memory",
            f"{MOST_VALUES_IN_A_BATCH // values:,} is the largest batch for this network",
        )


def smoke(checked: Checked, assignment: Assignment, engine: str = "auto") -> TrainingOutcome:
    """One epoch of training, to see that the network learns at all. Says nothing about the mark.

    checked: trainable; the limits of time and memory are those of grading
    """
    assert checked.recipe is not None
    short = replace(checked, recipe=replace(checked.recipe, epochs=1))
    return next(train_fully(short, assignment, engine))


def train_fully(
    checked: Checked, assignment: Assignment, engine: str = "auto"
) -> Iterator[TrainingOutcome]:
    """Train as grading does, within the same limits, with the seeds 0, 1, … Yields each run.

    checked: trainable
    """
    assert checked.network is not None and checked.recipe is not None
    for seed in range(assignment.seeds):
        yield trainings.perform(
            trainings.task_for(
                f"run {seed + 1}", checked.network, checked.recipe, seed,
                engine=engine, seconds=60 * assignment.minutes,
            )
        )  # fmt: skip


def judge(
    checked: Checked,
    runs: Sequence[Sequence[float]],
    assignment: Assignment,
    manual: Manual | None = None,
) -> list[Part]:
    """The rubric's parts for a submission that was trained. runs: as for `rubric.judge`"""
    assert checked.network is not None and checked.facts is not None
    return rubric.judge(checked.network.parameters, checked.facts, runs, assignment, manual)


# ---- As a task that another process does, for a whole class -------------------------------------


@dataclass(frozen=True)
class CheckTask:
    """A submission to check. key: digest of all that decides the outcome"""

    name: str
    files: Submission
    assignment: Assignment
    unsafe: bool
    key: str


@dataclass(frozen=True)
class CheckOutcome:
    """A `Checked` that can be written down.

    graph: the network's description, JSON; recipe: as `Recipe.as_data` gives it
    """

    key: str
    findings: tuple[Finding, ...]
    graph: str | None
    recipe: dict[str, Any] | None
    affordable: bool
    facts: Facts | None
    level: str | None
    digest: str | None
    notes: tuple[Finding, ...] = ()

    @property
    def headline(self) -> str:
        count = len(self.findings)
        return f"{count} finding{'s' * (count != 1)}" if count else "nothing to put right"

    def proven(self) -> None:
        """Raises an exception when this is not what `perform` made."""
        checked = self.checked()
        if (checked.network is None or checked.recipe is None) and not checked.findings:
            raise ValueError("there is nothing to train, and no reason why")
        if (checked.network is None) != (checked.facts is None):
            raise ValueError("there are facts of no network, or none of one")

    def checked(self) -> Checked:
        """Raises MnistStepsError when a description is not one that `perform` made."""
        return Checked(
            findings=self.findings,
            network=None if self.graph is None else rebuild.read(self.graph),
            recipe=None if self.recipe is None else Recipe.from_data(self.recipe),
            affordable=self.affordable,
            facts=self.facts,
            level=self.level,
            digest=self.digest,
            notes=self.notes,
        )


def task_for(name: str, files: Submission, assignment: Assignment, unsafe: bool) -> CheckTask:
    """name: for messages; unsafe: as for `check`"""
    decided = {
        "files": files.digest,
        "bounds": [assignment.parameters, assignment.epochs, assignment.macs],
        "sandbox": sandbox.level(),
        "versions": versions(),
    }
    return CheckTask(name, files, assignment, unsafe, runs.digest(decided))


def perform(task: CheckTask) -> CheckOutcome:
    """Check one submission. Raises SandboxUnavailable when the jail fails, which is our fault."""
    try:
        found = check_files(task.files, task.assignment, unsafe=task.unsafe)
    except sandbox.SandboxUnavailable:
        raise
    except Exception as error:
        found = Checked((unforeseen(error),), level=sandbox.level(), digest=task.files.digest)
    return CheckOutcome(
        key=task.key,
        findings=found.findings,
        graph=None if found.network is None else description(found.network),
        recipe=None if found.recipe is None else found.recipe.as_data(),
        affordable=found.affordable,
        facts=found.facts,
        level=found.level,
        digest=found.digest,
        notes=found.notes,
    )


def description(network: Network) -> str:
    """The network for `rebuild.read`, somewhere else or later."""
    return json.dumps(network.graph.as_data(), separators=(",", ":"))


def versions() -> dict[str, str]:
    """Of all that a grade depends on."""
    return {
        "mnist_steps": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
