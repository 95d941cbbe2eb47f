"""From what was found out to points: six parts, each a small function of what was measured.

docs/assignment/rubric.md explains each one to those who are graded by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_steps.assignment.report import Facts
from mnist_steps.assignment.rules import Assignment

# Three standard errors of an accuracy of 99.4 % measured on 10,000 images: what an honest report
# may differ from the grader's runs by chance.
CLAIM_TOLERANCE = 0.23  # percentage points
# How the points of the report are shared out. A person gives those for the prose.
STRUCTURE, CLAIMS, PROSE = 0.3, 0.3, 0.4


@dataclass(frozen=True)
class Part:
    """One line of the rubric.

    points: None as long as a person has not given them
    why: the reason, in a sentence for the student
    """

    key: str
    title: str
    points: float | None
    most: float
    why: str


@dataclass(frozen=True)
class Manual:
    """What a person gave for the prose of a report."""

    points: float
    comment: str = ""


def judge(
    parameters: int,
    facts: Facts,
    runs: Sequence[Sequence[float]],
    assignment: Assignment,
    manual: Manual | None = None,
) -> list[Part]:
    """Every part of the rubric for a submission that was trained.

    parameters: of its network
    facts: of its report
    runs: for each seed the test accuracies in percent, one an epoch
    """
    weights = assignment.rubric
    finals = [run[-1] for run in runs]
    share_of_parameters = parameter_share(parameters, assignment.parameters)
    share_of_accuracy = accuracy_share(min(finals), assignment)
    reached, expected = epochs_at_target(runs, assignment)
    structure = facts.sections_written / facts.sections_expected
    fields = facts.fields_right / max(1, facts.fields_expected)
    claims, about_claims = judge_claims(facts, parameters, finals)
    seeds = f"{len(runs)} seed{'s' * (len(runs) != 1)}"
    return [
        _part("contract", "Contract", weights.contract, 1,
              "The three files could be read, and the network could be traced and trained."),
        _part("parameters", "Parameters", weights.parameters, share_of_parameters,
              f"{parameters:,} parameters; fewer than {assignment.parameters:,} give all points, "
              "twice as many none."),
        _part("accuracy", "Accuracy", weights.accuracy, share_of_accuracy,
              f"{min(finals):.2f} % after the last epoch, the worst of {seeds}; points begin at "
              f"{assignment.first_accuracy:.2f} %, all are given at {assignment.accuracy:.2f} %."),
        _part("consistency", "Consistency", weights.consistency, reached / expected,
              f"{reached} of {expected} epochs at {assignment.accuracy:.2f} % or more: the last "
              f"{assignment.last_epochs} of each of {seeds}."),
        _part("fields", "Receptive fields", weights.fields, fields,
              f"{facts.fields_right} of {facts.fields_expected} layers right."),
        _part("structure", "Report: structure", weights.report * STRUCTURE, structure,
              f"{facts.sections_written} of {facts.sections_expected} sections are written."),
        _part("claims", "Report: claims", weights.report * CLAIMS, claims, about_claims),
        judge_prose(weights.report * PROSE, manual),
    ]  # fmt: skip


def nothing(assignment: Assignment) -> list[Part]:
    """No points: there is no network that could be trained."""
    most = assignment.rubric.total
    why = "There is no network that could be trained; what to put right is listed below."
    return [Part("contract", "Contract and all that follows from it", 0.0, most, why)]


def parameter_share(parameters: int, budget: int) -> float:
    """1 below the budget, then straight down to 0 at twice the budget."""
    if parameters < budget:
        return 1.0
    return max(0.0, 2 - parameters / budget)


def accuracy_share(accuracy: float, assignment: Assignment) -> float:
    """0 up to the first accuracy that counts, 1 from the target on, straight in between."""
    first, target = assignment.first_accuracy, assignment.accuracy
    return min(1.0, max(0.0, (accuracy - first) / (target - first)))


def epochs_at_target(runs: Sequence[Sequence[float]], assignment: Assignment) -> tuple[int, int]:
    """How many of the last epochs of all seeds reach the target, and of how many.

    A recipe with fewer epochs than are looked at misses those that it does not have.
    """
    last = assignment.last_epochs
    reached = sum(accuracy >= assignment.accuracy for run in runs for accuracy in run[-last:])
    return reached, last * len(runs)


def judge_claims(facts: Facts, parameters: int, finals: Sequence[float]) -> tuple[float, str]:
    """Half for the parameter count, half for the accuracy, each compared with what was measured."""
    count_holds = facts.claimed_parameters == parameters
    claimed = facts.claimed_accuracy
    low, high = min(finals) - CLAIM_TOLERANCE, max(finals) + CLAIM_TOLERANCE
    accuracy_holds = claimed is not None and low <= claimed <= high
    counted = "The parameter count is right" if count_holds else (
        f"The parameter count is {_claim(facts.claimed_parameters, '{:,}')}, counted were "
        f"{parameters:,}"
    )  # fmt: skip
    measured = " to ".join(dict.fromkeys(f"{end:.2f}" for end in (min(finals), max(finals))))
    why = (
        f"{counted}. The accuracy is {_claim(claimed, '{:.2f} %')}, measured {measured} %; "
        f"{CLAIM_TOLERANCE} points more or less are chance."
    )
    return (count_holds + accuracy_holds) / 2, why


def _claim(value: float | None, form: str) -> str:
    return "not stated" if value is None else f"stated as {form.format(value)}"


def judge_prose(most: float, manual: Manual | None) -> Part:
    title = "Report: prose"
    if manual is None:
        return Part("prose", title, None, most, "To be judged by a person.")
    return Part("prose", title, manual.points, most, manual.comment or "Judged by a person.")


def _part(key: str, title: str, most: float, share: float, why: str) -> Part:
    return Part(key, title, round(most * share, 1), most, why)
