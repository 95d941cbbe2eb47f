"""What every page shows in the same way: source, differences, recipe, results, provenance.

Each function returns something that a notebook or page renders by itself when it is the last
expression of a cell, and that prints as plain text elsewhere.
"""

import difflib
import html
import inspect
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer, PythonLexer

from mnist_steps import data, figures, receptive_field, runs
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence
from mnist_steps.experiments.evidence import Summary, Verdict
from mnist_steps.experiments.search import Tried
from mnist_steps.experiments.study import OURS, Store, summary_of
from mnist_steps.markup import Html, table
from mnist_steps.recipes import Recipe, shown
from mnist_steps.runs import Replay
from mnist_steps.stages import TARGET, Stage, claim_of
from mnist_steps.training import Run

# --- Source and differences -----------------------------------------------------------------


def source(thing: Callable[..., Any] | type) -> Html:
    """The package's own source of a class or function, so that a page cannot drift from it."""
    text = inspect.getsource(thing)
    return Html(_highlighted(text, PythonLexer()), text)


MANY_LINES = 14  # more of a difference folds


def model_difference(before: Stage, after: Stage) -> Html:
    """The layers in which the networks of two stages differ, as a diff; folded where it is long."""
    old, new = (inspect.getsource(stage.model).splitlines() for stage in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
    layers = [line for line in lines if re.match(r"[+-] +\w+=", line)]
    text = "\n".join(f"{line[0]} {line[1:].strip()}" for line in layers)
    markup = _highlighted(text, DiffLexer())
    if len(layers) > MANY_LINES:
        title = f"The {len(layers)} lines that differ"
        markup = f'<details class="fold"><summary>{title}</summary>{markup}</details>'
    return Html(markup, text)


def _highlighted(text: str, lexer: PythonLexer | DiffLexer) -> str:
    return str(highlight(text, lexer, HtmlFormatter(cssclass="highlight package-source")))


def recipe(stage: Stage) -> Html:
    """All parts of the stage's recipe."""
    rows = list(describe_recipe(stage.recipe).items())
    return table(["", "value"], rows, f"Recipe of stage {stage.number}", words=(1,))


def recipe_change(before: Stage, after: Stage) -> Html:
    """Only what changes in the recipe from one stage to the next, one row each."""
    old, new = describe_recipe(before.recipe), describe_recipe(after.recipe)
    rows = [[name, old[name], value] for name, value in new.items() if old[name] != value]
    if not rows:
        return Html("<p>The recipe stays as it was.</p>", "The recipe stays as it was.")
    same = len(new) - len(rows)
    return table(
        ["", f"stage {before.number}", f"stage {after.number}"],
        rows,
        f"What changes in the recipe. The other {same} of its {len(new)} parts stay as they were.",
        words=(1, 2),
    )


def describe_recipe(recipe: Recipe) -> dict[str, str]:
    """Each part of a recipe in words."""
    train, test = recipe.normalize_train, recipe.normalize_test
    views, last = recipe.views, recipe.shifted_epochs
    when = "at the end" if last == 1 else f"after each of the last {last} epochs"
    return {
        "batch size": f"{recipe.batch_size}",
        "epochs": f"{recipe.epochs}",
        "optimizer": str(recipe.optimizer),
        "schedule": str(recipe.schedule) if recipe.schedule else "constant learning rate",
        "augmentation": ", then ".join(map(shown, recipe.augmentation)) or "none",
        "train images": f"(pixel − {train.mean}) / {train.sd}",
        "test images": f"(pixel − {test.mean}) / {test.sd}"
        + (f"; {when} the mean of {views} shifts" if recipe.test_shifts else ""),
        "initial weights": recipe.initialization or "PyTorch's own",
        "loss": recipe.loss
        + (f", {recipe.label_smoothing} of each label smoothed" if recipe.label_smoothing else "")
        + (f", plus {recipe.l1} × all weights' absolute values" if recipe.l1 else ""),
    }


# --- Results --------------------------------------------------------------------------------


def standard_error(accuracy: float, images: int = data.TEST_SIZE) -> float:
    """Binomial standard error of an accuracy, both in percentage points."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / images)


def results(run: Run, store: Store = OURS) -> Html:
    """This run beside what the original claimed, the difference, and whether the two agree.

    Below, what the study over many seeds says, when it has runs of this stage. For a stage of our
    own, which nobody claimed anything of, there are just our figures.

    Two accuracies agree here when they differ by at most three standard errors of a difference.
    Raises MnistStepsError when the number of parameters, which chance cannot change, differs.
    """
    summary = store.summary(run.stage)
    if run.stage.claim is None:
        return _own_results(run, summary)
    claim = run.stage.claim
    count = run.stage.parameters
    if count != claim.parameters:
        raise MnistStepsError(
            f"stage {run.stage.number} has {count:,} parameters, the original "
            f"{claim.parameters:,}: its network in mnist_steps/models.py was changed."
        )
    pairs = [
        ("test accuracy, final epoch", run.final_test_accuracy, claim.final_test_accuracy),
        ("test accuracy, best epoch", run.best_test_accuracy, claim.best_test_accuracy),
    ]
    rows = [["parameters", f"{count:,}", f"{claim.parameters:,}", "0", "yes"]]
    for name, ours, claimed in pairs:
        error = math.hypot(standard_error(ours), standard_error(claimed))
        agree = "yes" if abs(ours - claimed) <= 3 * error else "no"
        rows.append([name, f"{ours:.2f}", f"{claimed:.2f}", f"{ours - claimed:+.2f}", agree])
    ours, claimed = run.best_train_accuracy, claim.best_train_accuracy
    rows.append(["train accuracy, best epoch", f"{ours:.2f}", f"{claimed:.2f}",
                 f"{ours - claimed:+.2f}", ""])  # fmt: skip
    if summary is not None:
        passed = evidence.run_figures(claim.test_accuracies).passes()
        beside = (
            [f"{claim.final_test_accuracy:.2f}",
             f"{summary.mean - claim.final_test_accuracy:+.2f}", ""],
            ["", "", ""],
            ["yes" if passed else "no", "", ""],
        )  # fmt: skip
        rows += [ours + theirs for ours, theirs in zip(_study_rows(summary), beside, strict=True)]
    return table(
        ["", f"this run (seed {run.seed})", "the original", "difference", "agree?"],
        rows,
        f"{FINAL_AND_BEST} Test accuracies agree when they differ by at most "
        "three standard errors, as far as the choice of test images alone may move them."
        + ("" if summary is None else SEEDS_ARE_THE_STUDYS),
    )


def _own_results(run: Run, summary: Summary | None) -> Html:
    rows = [
        ["parameters", f"{run.stage.parameters:,}"],
        ["test accuracy, final epoch", f"{run.final_test_accuracy:.2f}"],
        ["test accuracy, best epoch", f"{run.best_test_accuracy:.2f}"],
        ["train accuracy, best epoch", f"{run.best_train_accuracy:.2f}"],
        ["wall time", describe_seconds(sum(run.environment.seconds))],
    ]
    if summary is not None:
        rows += _study_rows(summary)
        if summary.seconds is not None:
            rows.append(
                [f"wall time, mean of {_seeds(summary)}", describe_seconds(summary.seconds)]
            )
    return table(
        ["", f"this run (seed {run.seed})"],
        rows,
        FINAL_AND_BEST + ("" if summary is None else SEEDS_ARE_THE_STUDYS),
    )


FINAL_AND_BEST = (
    "Accuracies in percent. The headline is the final epoch; the best epoch was picked by "
    "looking at the test set and flatters."
)
SEEDS_ARE_THE_STUDYS = " The rows with seeds are of the study, not of this run."


def _study_rows(summary: Summary) -> list[list[str]]:
    """What a study says of one stage: the names of its figures, and the figures."""
    seeds = _seeds(summary)
    return [
        [f"final epoch, mean{' ± sd' if summary.sd is not None else ''} of {seeds}",
         summary.mean_and_sd],
        [f"final epoch, least of {seeds}", f"{summary.min:.2f}"],
        [f"last three epochs all at {TARGET}, share of {seeds}",
         f"{summary.pass_rate:.0%}"],
    ]  # fmt: skip


def _seeds(summary: Summary) -> str:
    return f"{summary.seeds} seed{'s'[: summary.seeds > 1]}"


def hold_to(statement: str, holds: bool) -> None:
    """For what a page's text says in fixed words, such as that a target is met.

    Raises MnistStepsError when it does not hold, and so fails the build: either the text has to
    change, or something got worse.
    """
    if not holds:
        raise MnistStepsError(
            f"the page says '{statement}', which does not hold in this build. Find out what "
            "changed; when that is as it should be, change the text."
        )


def field_claims(stage: Stage) -> Html:
    """The receptive field of each layer that the original states one for, beside ours.

    Fields here are square; the number is the side in pixels.
    Raises MnistStepsError for a stage of our own.
    """
    analysis = receptive_field.analyze(stage.build(), data.INPUT_SHAPE)
    rows = []
    for name, claimed in claim_of(stage).receptive_fields.items():
        height, width = analysis[name].size
        assert height == width, f"{name} has a field of {height}×{width}: not a square"
        rows.append([name, f"{claimed}", f"{height}", "" if height == claimed else "differs"])
    wrong = sum(row[3] != "" for row in rows)
    return table(
        ["layer", "the original", "computed", ""],
        rows,
        f"Receptive fields, side in pixels: {wrong or 'none'} of the original's {len(rows)} "
        f"figures {'differs' if wrong == 1 else 'differ'} from the computed ones.",
    )


def provenance(run: Run, steps: int = 10, images: int | None = 1000) -> Html:
    """Where the run's figures come from, and whether its first steps give the same today.

    steps, images: as for `runs.check`; `mnist-steps verify` compares all images
    Raises RecordMismatch when they do not, or when the recorded weights give other predictions.
    """
    where = run.environment
    parts = [
        f"Run of {where.date}",
        f"commit {where.commit or 'unknown'}",
        f"torch {where.torch}",
        f"{where.device} ({where.processor}, {where.threads} thread{'s'[: where.threads > 1]})",
        f"{describe_seconds(sum(where.seconds))}",
        f"seed {run.seed}",
        _describe_replay(runs.check(run, steps, images)),
    ]
    text = " · ".join(parts)
    return Html(f'<p class="provenance">{html.escape(text)}</p>', text)


def _describe_replay(replay: Replay) -> str:
    if replay.max_difference == 0:
        return f"first {replay.steps} steps repeated in this build: identical losses"
    return (
        f"first {replay.steps} steps repeated in this build: losses within "
        f"{replay.max_difference:.1e} of the record"
    )


def describe_seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def verdicts(stage: Stage, store: Store = OURS) -> Html:
    """How a stage's runs are judged by the target: by one view of each digit, and by several."""
    outcomes = store.outcomes(stage)
    rows = []
    for row in figures.rows_of(stage, outcomes):
        name = "one view" if row.views == 1 else f"mean of {row.views} views"
        found = row.verdict
        if found is None:
            rows.append([name, "not judged so yet", "", "", "", ""])
            continue
        sure = found.interval
        rows.append(
            [
                name,
                _where(found, row.views),
                f"{found.mean:.3f}",
                f"{sure:.3f}" if sure else "too few runs",
                f"{found.end} of {found.runs}",
                f"{found.hold} of {found.runs}",
            ]
        )
    return table(
        ["judged by", f"{TARGET} %", "mean", "95 % interval", "end", "hold"],
        rows,
        f"Stage {stage.number} after the last epoch, in percent of the test digits. 'Reached' has "
        "one meaning on this site: by the mean, each digit judged once. End: runs at "
        f"{TARGET} or above after the last epoch; hold: after each of the last three.",
        words=(1,),
        wide=(3,),
    )


def _where(found: Verdict, views: int) -> str:
    """In words. 'Reached' is said of one view alone."""
    if views == 1:
        return found.words
    if not found.reached:
        return "below it on average"
    return "at it or above on average" + (", and beyond doubt" if found.beyond_doubt else "")


def candidates(found: Sequence[Tried]) -> Html:
    """What a search tried, and what the validation images said of it, in the order given."""
    rows = [
        [
            one.arm.title,
            f"{one.loss:.4f}",
            summary_of(one.runs).mean_and_sd,
            f"{len(one.runs)}",
            f"{one.arm.stage.parameters:,}",
            one.arm.layers,
        ]
        for one in found
    ]
    return table(
        ["tried", "loss", "accuracy", "seeds", "parameters", "layers"],
        rows,
        "On the validation images, after the last epoch: mean loss, and mean accuracy in percent.",
    )
