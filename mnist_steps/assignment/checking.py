"""The self-check: all that grading finds out about a submission before it trains."""

from dataclasses import dataclass, replace
from pathlib import Path

from mnist_steps.assignment import rebuild, report, sandbox, submission
from mnist_steps.assignment.findings import Finding, SubmissionError
from mnist_steps.assignment.rebuild import Network
from mnist_steps.assignment.schema import GraphRefused
from mnist_steps.assignment.submission import MODEL, Assignment
from mnist_steps.data import Split
from mnist_steps.stages import Claim, Recipe, Stage
from mnist_steps.training import Epoch, Training, pick_device


@dataclass(frozen=True)
class Checked:
    """What was found out.

    network, recipe: None where a finding says why there is none
    level: of the sandbox, 'bubblewrap' or 'none'; None when the code was not run
    digest: of the submission's files; None when they could not be read
    """

    findings: tuple[Finding, ...]
    network: Network | None = None
    recipe: Recipe | None = None
    level: str | None = None
    digest: str | None = None


def check(place: Path, assignment: Assignment, *, unsafe: bool = False) -> Checked:
    """Read the submission, trace its network in the jail, and compare all with the assignment.

    place: a folder or a .zip file
    Raises MnistStepsError when there is nothing there, and SandboxUnavailable without a jail.
    """
    try:
        found = submission.load(place)
    except SubmissionError as error:
        return Checked(tuple(error.findings))
    findings: list[Finding] = []
    recipe, network, level = None, None, None
    try:
        recipe = submission.parse_recipe(found.recipe, assignment)
    except SubmissionError as error:
        findings += error.findings
    try:
        traced = sandbox.trace(found.model, unsafe=unsafe)
        level = traced.level
        network = rebuild.read(traced.graph)
    except (sandbox.TraceFailed, GraphRefused) as error:
        findings.append(
            Finding(
                MODEL,
                str(error).rstrip("."),
                "the network that is graded is the one that build_model() returns",
                "run `python model.py` yourself, and see which layers the assignment allows",
            )
        )
    if network is not None:
        findings += check_budget(network, assignment)
        findings += report.check(found.report, network.layers, network.parameters)
    return Checked(tuple(findings), network, recipe, level, found.digest)


def check_budget(network: Network, assignment: Assignment) -> list[Finding]:
    if network.parameters < assignment.parameters:
        return []
    largest = max(network.graph.nodes, key=lambda node: node.params)
    return [
        Finding(
            MODEL,
            f"found {network.parameters:,} parameters, expected fewer than "
            f"{assignment.parameters:,}",
            "the budget is the point of the exercise",
            f"look at {largest.name} first: it has {largest.params:,} of them",
        )
    ]


def smoke(
    network: Network,
    recipe: Recipe,
    train_split: Split | None = None,
    test_split: Split | None = None,
    seed: int = 0,
) -> Epoch:
    """One epoch of training, to see that the network learns at all. Says nothing about the mark.

    train_split, test_split: other images than all 60,000 and 10,000
    """
    stage = Stage(
        number=0,
        slug="submission",
        title="Submission",
        model=network.build,
        recipe=replace(recipe, epochs=1),
        claim=NO_CLAIM,
    )
    return Training(stage, seed, pick_device("cpu"), train_split, test_split).run_epoch()


NO_CLAIM = Claim(
    parameters=0,
    parameters_text="",
    best_train_accuracy=0,
    best_test_accuracy=0,
    test_accuracies=(),
    receptive_fields={},
)
