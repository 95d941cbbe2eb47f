"""What the home page shows: the stages as squares, in a table, and as points of a figure."""

import html
import math

from mnist_steps import runs, stages
from mnist_steps.experiments.evidence import Summary
from mnist_steps.experiments.study import Store
from mnist_steps.markup import Html, table
from mnist_steps.original import TARGET
from mnist_steps.pages.parts import describe_epochs

LARGEST_SQUARE = 300  # pixels, on a wide screen


def hero() -> Html:
    """What the reader will be able to do, and the original's eight stages as squares.

    A square's area is the number of parameters.
    """
    counts = [stage.parameters for stage in stages.ORIGINAL]
    recorded = [runs.load(stage.number) for stage in stages.ORIGINAL]
    steps = []
    for stage, count, run in zip(stages.ORIGINAL, counts, recorded, strict=True):
        side = LARGEST_SQUARE * math.sqrt(count / max(counts))
        accuracy = f"{run.final_test_accuracy:.2f} %{'' if run.finished else ' *'}"
        steps.append(
            f'<li><a href="{stage.page}"><span class="step-square" style="--side: {side:.1f}">'
            f'</span><span class="step-text"><span class="step-title">{stage.number}. '
            f"{html.escape(stage.title)}</span> <strong>{count:,}</strong> "
            f"<span>{accuracy}</span></span></a></li>"
        )
    sentence = (
        f"You will be able to take a network of {counts[0]:,} parameters down to {counts[-1]:,}, "
        "keep its accuracy, and say how sure you are of it."
    )
    first = stages.ORIGINAL[0]
    markup = (
        f'<div class="hero"><p class="hero-promise">{sentence}</p>'
        '<p class="page-buttons"><a class="md-button md-button--primary" '
        f'href="{first.page}">Start with stage {first.number}</a> '
        '<a class="md-button" href="playground.md">Look inside a network</a></p>'
        f'<ol class="steps" aria-label="The eight stages">{"".join(steps)}</ol>'
        '<p class="steps-note">The area of a square is the number of parameters; below it, the '
        "share of the test digits that the network reads after its last epoch."
        f"{'' if all(run.finished for run in recorded) else ' * This training is unfinished.'}"
        "</p></div>"
    )
    return Html(markup, sentence)


def all_stages(store: Store | None = None) -> Html:
    """All stages with their recorded results, those of the study, and what the original claimed.

    A stage of our own has no claim, and without a record only what the study says of it.
    store: of the study; None for the package's own. Without any run its columns are left out.
    """
    store = store or Store()
    summaries = {stage.number: store.summary(stage) for stage in stages.STAGES}
    studied = any(summaries.values())
    rows = []
    notes = ""
    for stage in stages.STAGES:
        run = runs.load_if_any(stage)
        recorded = ["–", "–"]
        if run is not None:
            mark = "" if run.finished else " *"
            recorded = [f"{run.final_test_accuracy:.2f}{mark}", f"{run.best_test_accuracy:.2f}"]
            if not run.finished:
                notes += f" * Unfinished, {describe_epochs(run)}."
        views = " ‡" if stage.recipe.test_shifts else ""
        rows.append(
            [
                f"{stage.number}. {stage.title}{views}",
                f"{stage.parameters:,}",
                *recorded,
                *(_describe_study(summaries[stage.number]) if studied else []),
                "–" if stage.claim is None else f"{stage.claim.best_test_accuracy:.2f}",
            ]
        )
    columns = ["seeds", "mean ± sd", "least", "passed"] if studied else []
    return table(
        ["stage", "parameters", "final epoch", "best epoch", *columns, "original's best"],
        rows,
        "Test accuracy in percent, one run of each stage with the seed of the original."
        + (
            " Over many seeds: mean, standard deviation and least of the final epoch, and the "
            f"share of runs whose last three epochs all reach {TARGET}."
            if studied
            else ""
        )
        + notes
        + " ‡ Judged by the mean of several shifts of each test image, not by one view.",
    )


def stage_points(store: Store | None = None) -> list[tuple[str, int, float, float | None]]:
    """What `figures.parameters_and_accuracy` takes, of all stages that were trained.

    The accuracy is that of the record's final epoch; of a stage without a record, the mean over
    the study's. store: of the study; None for the package's own
    """
    store = store or Store()
    points = []
    for stage in stages.STAGES:
        if (run := runs.load_if_any(stage)) is not None:
            accuracy = run.final_test_accuracy
        elif (summary := store.summary(stage)) is not None:
            accuracy = summary.mean
        else:
            continue  # nothing is known of it yet
        claimed = None if stage.claim is None else stage.claim.best_test_accuracy
        points.append((str(stage.number), stage.parameters, accuracy, claimed))
    return points


def _describe_study(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["–"] * 4
    return [
        f"{summary.seeds}",
        summary.mean_and_sd,
        f"{summary.min:.2f}",
        f"{summary.pass_rate:.0%}",
    ]
