"""All stages in one table, and any two of them side by side.

The second needs a reader who picks, so it is plain data: the site's script compares two entries of
it. Everything comes from the records and from the study over many seeds.
"""

import base64
import inspect
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mnist_steps import data, markup, runs, stages, summary
from mnist_steps.experiments import evidence, study
from mnist_steps.experiments.study import OURS, Outcome, Store
from mnist_steps.markup import Html, json_script
from mnist_steps.pages.parts import describe_recipe
from mnist_steps.summary import Table
from mnist_steps.training import Run

SHEET_COLUMNS = 32  # digits in a row of the sheet
SIDE = 28  # pixels of a digit
# Columns of the table of all stages that only a wide screen shows.
LESS = (
    "multiplications", "batch size", "final epoch", "best epoch", "original's best", "minutes",
)  # fmt: skip
INKS = 16  # shades that are kept: enough for the eye, and half a byte a pixel


@dataclass(frozen=True)
class Entry:
    """A stage with all that is compared.

    run: its record
    wrong: position of each test image not recognised at the end, and the digit it was taken for
    outcomes: of the study, empty without one
    """

    run: Run
    wrong: dict[int, int]
    table: Table
    outcomes: Sequence[Outcome]


def entries(store: Store = OURS) -> list[Entry]:
    """All stages that have a record, by number; those that follow the original need one.

    Raises what `runs.load` and `Store.outcomes` raise.
    """
    labels = data.mnist().test.labels
    return [
        Entry(
            run,
            run.wrong(labels),
            summary.summarize(run.stage.build(), data.INPUT_SHAPE),
            store.outcomes(run.stage),
        )
        for run in map(runs.load_if_any, stages.STAGES)
        if run is not None
    ]


# --- All stages -----------------------------------------------------------------------------


def overview(compared: Sequence[Entry]) -> Html:
    """One row a stage; the site's script lets readers sort the rows and leave some out."""
    headings = ["stage", "parameters", "multiplications", "batch size", "final epoch", "best epoch",
                "original's best", "study", "minutes"]  # fmt: skip
    rows = []
    for entry in compared:
        run, stage = entry.run, entry.run.stage
        minutes = sum(run.environment.seconds) / 60
        row: list[str | Html] = [
            markup.link(stage.page, f"{stage.number}. {stage.title}"),
            f"{entry.table.total_params:,}",
            f"{entry.table.total_multiplications:,}",
            f"{stage.recipe.batch_size}",
            f"{run.final_test_accuracy:.2f}",
            f"{run.best_test_accuracy:.2f}",
            "–" if stage.claim is None else f"{stage.claim.best_test_accuracy:.2f}",
            describe_study(entry.outcomes),
            f"{minutes:.1f}" if minutes < 2 else f"{minutes:.0f}",
        ]
        rows.append(row)
    caption = (
        "All stages. Test accuracy in percent, of one run with the seed of the original; "
        "multiplications are those of convolutions and linear layers for one image; minutes are "
        "those of that run in PyTorch. Study: mean ± standard deviation of the final epoch, and "
        "the number of seeds."
    )
    shifting = [each.run.stage for each in compared if each.run.stage.recipe.test_shifts]
    if shifting:
        numbers = ", ".join(f"{stage.number}" for stage in shifting)
        caption += f" The mean of nine shifted views judges stages {numbers}, one view the others."
    wide = [headings.index(name) for name in LESS]
    shown = markup.table(headings, rows, caption, wide=wide)
    return Html(f'<div class="all-stages" data-stages>{shown.markup}</div>', shown.text)


def describe_study(outcomes: Sequence[Outcome]) -> str:
    """Such as '99.41 ± 0.04 (20)'; a dash without runs."""
    if not outcomes:
        return "–"
    found = study.summary_of(outcomes)
    return f"{found.mean_and_sd} ({found.seeds})"


# --- Two stages -----------------------------------------------------------------------------


def two_stages(compared: Sequence[Entry]) -> Html:
    """The place where the site's script compares two stages; without it, where to read instead."""
    steps = "".join(
        f'<li><a href="{after.page}">'
        f"What stage {after.number} changes</a> after stage {before.number}</li>"
        for before, after in itertools.pairwise(entry.run.stage for entry in compared)
    )
    content, sheet = describe(compared)
    shown = (
        '<div class="compare" data-compare>'
        "<p>Picking two stages needs JavaScript. Each stage's page shows what it changes:</p>"
        f"<ul>{steps}</ul></div>"
        + json_script(content, ' id="compare-data"')
        + f'<img id="compare-digits" hidden alt="" src="data:image/png;base64,{sheet}">'
    )
    return Html(shown, "The site's page lets its reader pick two stages to compare.")


def describe(compared: Sequence[Entry]) -> tuple[dict[str, Any], str]:
    """What the site's script compares, and the sheet of digits that it cuts digits from.

    Returns plain data, and a PNG image in base64: each test digit that some stage got wrong once,
    in the order of `content["digits"]`, row by row.
    """
    labels = data.mnist().test.labels
    positions = sorted({position for entry in compared for position in entry.wrong})
    place = {position: index for index, position in enumerate(positions)}
    described = [
        _describe(entry)
        | {"wrong": [[place[position], digit] for position, digit in entry.wrong.items()]}
        for entry in compared
    ]
    chance = {
        f"{one.run.stage.number}-{other.run.stage.number}": evidence.mcnemar(
            one.wrong, other.wrong
        ).p_value
        for one, other in itertools.combinations(compared, 2)
    }
    content = {
        "columns": _without_kind(summary.COLUMNS),
        "stages": described,
        "chance": {pair: float(f"{value:.2g}") for pair, value in chance.items()},
        "digits": [[position, int(labels[position])] for position in positions],
        "sheet": {"columns": SHEET_COLUMNS, "side": SIDE},
    }
    return content, _sheet(positions)


def _describe(entry: Entry) -> dict[str, Any]:
    run, table = entry.run, entry.table
    stage, claim = run.stage, run.stage.claim
    return {
        "number": stage.number,
        "title": stage.title,
        "facts": {
            "parameters": table.total_params,
            "multiplications per image": table.total_multiplications,
            "test accuracy, final epoch": round(run.final_test_accuracy, 2),
            "test accuracy, best epoch": round(run.best_test_accuracy, 2),
            "the original's best epoch": None if claim is None else claim.best_test_accuracy,
        },
        "seed": run.seed,
        "study": _spread(entry.outcomes) if entry.outcomes else None,
        "recipe": describe_recipe(stage.recipe),
        "source": inspect.getsource(stage.model).rstrip(),
        "layers": [_without_kind(summary.cells(row)) for row in table.rows],
        "test": [round(epoch.test_accuracy, 2) for epoch in run.epochs],
    }


def _without_kind(cells: Sequence[str]) -> list[str]:
    """Two tables beside each other have no room for the kind, which a layer's name says."""
    name, _, *numbers = cells
    return [name, *numbers]


def _spread(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over the seeds of a study, test accuracy by epoch: the mean, the least and the most."""
    found = np.array([outcome.test_accuracies for outcome in outcomes])  # (seeds, epochs)
    return {
        "text": describe_study(outcomes),
        "mean": found.mean(axis=0).round(3).tolist(),
        "low": found.min(axis=0).round(2).tolist(),
        "high": found.max(axis=0).round(2).tolist(),
    }


def _sheet(positions: Sequence[int]) -> str:
    """Test digits in rows as one PNG in base64: black ink, as opaque as it was inked."""
    rows = -(-len(positions) // SHEET_COLUMNS)
    sheet = np.zeros((rows * SIDE, SHEET_COLUMNS * SIDE), dtype=np.uint8)
    for index, position in enumerate(positions):
        top, left = SIDE * (index // SHEET_COLUMNS), SIDE * (index % SHEET_COLUMNS)
        digit = data.mnist().test.images[position, 0].numpy()
        sheet[top : top + SIDE, left : left + SIDE] = digit // (256 // INKS)
    image = Image.fromarray(sheet, mode="P")
    image.putpalette([0, 0, 0] * INKS)
    opacity = bytes(round(255 * ink / (INKS - 1)) for ink in range(INKS))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", bits=4, transparency=opacity, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
