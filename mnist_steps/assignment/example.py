"""The project's own stages as submissions: something to try grading with before a class hands in.

A stage's model, recipe and the original's claims become the three files. The claims are written
down as the original made them, so its mistakes are found again by the grader.
"""

import hashlib
import inspect
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mnist_steps import graph, runs
from mnist_steps.assignment import checking, grading
from mnist_steps.assignment.grading import ERROR, Entry, Grade, Grading
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.sandbox import Traced
from mnist_steps.assignment.submission import MODEL, RECIPE, REPORT, Submission
from mnist_steps.assignment.trainings import TrainingOutcome
from mnist_steps.data import INPUT_SHAPE, write_atomically
from mnist_steps.recipes import Recipe
from mnist_steps.stages import BUDGET, TARGET, Stage, claim_of


def write(stages: list[Stage], folder: Path) -> list[Path]:
    """One folder for each stage, by its slug. Raises MnistStepsError when one cannot be written."""
    places = []
    for stage in stages:
        place = folder / stage.slug
        for name, text in files_of(stage).items():
            write_atomically(place / name, text.encode())
        places.append(place)
    return places


def files_of(stage: Stage) -> dict[str, str]:
    """The three files, by name."""
    return {MODEL: model_file(stage), RECIPE: recipe_file(stage.recipe), REPORT: report_file(stage)}


def model_file(stage: Stage) -> str:
    source = inspect.getsource(stage.model)
    return (
        f'"""Stage {stage.number}: {stage.title}."""\n\n'
        "from collections import OrderedDict\n\n"
        "import torch.nn.functional as F\n"
        "from torch import Tensor, nn\n\n\n"
        f"{source}\n\n"
        "def build_model() -> nn.Module:\n"
        f"    return {stage.model.__name__}()\n"
    )


def recipe_file(recipe: Recipe) -> str:
    described = recipe.as_data()
    parts: list[tuple[str, dict[str, Any] | None]] = [
        ("[optimizer]", described["optimizer"]),
        ("[schedule]", described["schedule"]),
        *(("[[augmentation]]", one) for one in described["augmentation"]),
    ]
    lines = [f"batch_size = {recipe.batch_size}", f"epochs = {recipe.epochs}"]
    for heading, part in parts:
        if part is not None:
            # Names and numbers are written alike in JSON and TOML.
            lines += ["", heading, *(f"{key} = {json.dumps(part[key])}" for key in part)]
    return "\n".join(lines) + "\n"


def report_file(stage: Stage) -> str:
    claim = claim_of(stage)
    kinds = {node.name: node.op for node in graph.trace(stage.build(), INPUT_SHAPE).nodes}
    fields = "\n".join(
        f"| {name} | {field} |" for name, field in claim.receptive_fields.items() if name in kinds
    )
    change = claim.final_test_accuracy - claim.best_test_accuracy
    changed = f"changes by {change:+.2f} points" if round(change, 2) else "does not change"
    return f"""# Report

## Step {stage.number}: {stage.title}

### Target
{TARGET} % of the test images, consistently in the last epochs, with fewer than
{BUDGET:,} parameters.

### Results
Parameters: {claim.parameters:,}

Accuracy: {claim.final_test_accuracy:.2f} % after the last epoch. The best epoch had
{claim.best_test_accuracy:.2f} %, the best epoch of training {claim.best_train_accuracy:.2f} %.

### Analysis
From the best epoch to the last the accuracy {changed}.

## Receptive field

| layer | field |
|-------|-------|
{fields}
"""


# ---- Graded, without waiting for trainings ------------------------------------------------------


def grade(stages: list[Stage], assignment: Assignment) -> Grading:
    """The stages as if they had been handed in and trained with one seed, that of their records.

    A record is what a training with that seed gives, except that stages normalize test images by
    constants of their own and submissions do not.
    """
    grades = tuple(_grade(stage, assignment) for stage in stages)
    return Grading(
        grades,
        replace(assignment, seeds=1),
        tuple({run.seed for one in grades for run in one.runs}),
        {"level": "none, for the project's own code"},
        checking.versions(),
    )


def _grade(stage: Stage, assignment: Assignment) -> Grade:
    files = files_of(stage)
    digest = hashlib.sha256("".join(files.values()).encode()).hexdigest()
    found = Submission(files[MODEL], files[RECIPE], files[REPORT], digest)
    traced = graph.trace(stage.build(), INPUT_SHAPE).as_data()

    def trace(source: str, unsafe: bool) -> Traced:
        return Traced(json.dumps(traced).encode(), "", "none")

    checked = checking.check_files(found, assignment, trace=trace)
    run = runs.load(stage.number)
    outcome = TrainingOutcome(
        key="",
        seed=run.seed,
        test_accuracies=[epoch.test_accuracy for epoch in run.epochs],
        train_accuracies=[epoch.train_accuracy for epoch in run.epochs],
        losses=[epoch.test_loss for epoch in run.epochs],
        seconds=sum(run.environment.seconds),
        environment={},
    )
    place = Path(stage.slug)
    entry = Entry(stage.slug, stage.slug, place, datetime.fromisoformat(run.environment.date))
    base = Grade(entry, ERROR, findings=checked.findings, checked=checked, runs=(outcome,),
                 digest=digest)  # fmt: skip
    return grading.judged(base, assignment)
