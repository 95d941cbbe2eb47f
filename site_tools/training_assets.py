"""What the Lab trains with, and what it shows beside: MNIST's files, recorded curves, the frontier.

The package's four files go into the site as they are, compressed; files.json says what they have
to be once unpacked. A page fetches them when its reader wants to train, and not before.
"""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import made
from site_tools.playground_assets import STAGES  # the others are beyond the Lab, too

DIGITS = "assets/mnist"
RECORDS = "assets/lab/records.json"

POINTS = 150  # of a loss curve, each the mean of several steps


# --- What MkDocs calls ----------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the digits, what they have to be, and the recorded trainings to the site."""
    data = made.kept(
        made.cache_of(config, "training"), "site_tools.training_assets", "the Lab's data"
    )
    for path in sorted(data.iterdir()):
        address = RECORDS if path.name == Path(RECORDS).name else f"{DIGITS}/{path.name}"
        files.append(File.generated(config, address, abs_src_path=str(path)))
    for path in sorted(Path(made.ROOT, "mnist_steps", "mnist").glob("*.gz")):
        files.append(File.generated(config, f"{DIGITS}/{path.name}", abs_src_path=str(path)))
    return files


# --- The data -------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Write files.json and records.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"files.json": digits(), "records.json": recorded()}.items():
        text = json.dumps(content, separators=(",", ":")) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def digits() -> list[dict[str, Any]]:
    """For each of MNIST's files its name, its bytes, packed and unpacked, and its SHA-256."""
    from mnist_steps import data

    folder = data.unpack()
    return [
        {
            "name": name,
            "packed": Path(made.ROOT, "mnist_steps", "mnist", f"{name}.gz").stat().st_size,
            "unpacked": (folder / name).stat().st_size,
            "sha256": sha256,
        }
        for name, sha256 in data.CHECKSUMS.items()
    ]


def recorded() -> dict[str, Any]:
    """Curves of the stages' records, and what is known of networks over several seeds."""
    return {"stages": [_curve(number) for number in STAGES], "frontier": _frontier()}


def _curve(number: int) -> dict[str, Any]:
    """A record by epoch, in percent, and its loss: at which epoch, and how much."""
    from mnist_steps import runs

    run = runs.load(number)
    losses = [step.loss for step in run.steps]
    together = math.ceil(len(losses) / POINTS)
    parts = [losses[first : first + together] for first in range(0, len(losses), together)]
    of_epoch = len(losses) / len(run.epochs)
    return {
        "number": number,
        "title": run.stage.title,
        "parameters": run.stage.parameters,
        "seed": run.seed,
        "train": [round(epoch.train_accuracy, 2) for epoch in run.epochs],
        "test": [round(epoch.by_one_view, 2) for epoch in run.epochs],
        "loss": [
            [round((index * together + len(part) / 2) / of_epoch, 3),
             float(f"{statistics.fmean(part):.4g}")]
            for index, part in enumerate(parts)
        ],
    }  # fmt: skip


def _frontier() -> list[dict[str, Any]]:
    """Mean final test accuracy over seeds: of the stages, and of the family around stage 10."""
    from mnist_steps import stages
    from mnist_steps.experiments import frontier
    from mnist_steps.experiments.study import Outcome, Store

    store = Store()
    points = []

    def add(label: str, parameters: int, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        nine = [outcome.figures.final for outcome in outcomes]
        one = [known[-1] for outcome in outcomes if (known := outcome.one_view_accuracies)]
        by_views = "test_shifts" in outcomes[0].recipe
        points.append({
            "label": label,
            "parameters": parameters,
            "seeds": len(outcomes),
            "nineViews": round(statistics.fmean(nine), 3) if by_views else None,
            "oneView": round(statistics.fmean(one), 3) if one else None,
        })  # fmt: skip

    for number in STAGES:
        stage = stages.get(number)
        add(f"stage {number}", stage.parameters, store.outcomes(stage))
    for arm, outcomes in frontier.FRONTIER.outcomes(frontier.FAMILY):
        if arm.name is not None:  # the others are stages
            add("", arm.stage.parameters, outcomes)
    return points


if __name__ == "__main__":
    made.write(write_data)
