"""The stages and their runs: `stages`, `train`, `record` and `verify`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_steps.commands.options import (
    Device,
    Engine,
    Json,
    Number,
    Seed,
    or_dash,
    output,
    print_json,
    print_table,
    say,
)
from mnist_steps.errors import MnistStepsError

if TYPE_CHECKING:
    from mnist_steps.runs import Verification
    from mnist_steps.stages import Stage
    from mnist_steps.training import Run


def list_stages(as_json: Json = False) -> None:
    """List the stages: parameters, what the original claimed, what the record shows."""
    from mnist_steps import stages

    rows = [describe_stage(stage) for stage in stages.STAGES]
    if as_json:
        print_json(rows)
        return
    shown = []
    for row in rows:
        known = [
            (row["claim"] or {}).get("best_test_accuracy"),
            *((row["record"] or {}).get(name) for name in ("final", "best")),
            (row["study"] or {}).get("mean"),
        ]
        number, count = str(row["number"]), f"{row['parameters']:,}"
        reached = "–"
        if (verdict := row["verdict"]) is not None:
            reached = "yes" if verdict["reached"] else "no"
            if verdict["beyond_doubt"]:
                reached = "beyond doubt"
        figures = [or_dash(figure, ".2f") for figure in known]
        shown.append((number, row["title"], count, *figures, reached))
    print_table(
        ("stage", "title", ">parameters", ">original's best", ">record: final", ">best", ">study",
         ">reached"),
        shown,
        caption="Test accuracy in percent. The original reported its best epoch. Study: mean of "
        "the final epoch over several seeds; `mnist-steps study` says how sure that is. Reached: "
        "whether that mean is at the target, each image judged once; beyond doubt when its whole "
        "95 % interval is. A dash: only several views of each image were judged.",
    )  # fmt: skip


def describe_stage(stage: "Stage") -> dict[str, Any]:
    """One stage as plain data; `claim`, `record` and the study are None where there is none."""
    from mnist_steps import runs
    from mnist_steps.experiments import study

    claim = stage.claim
    described = {
        "number": stage.number,
        "slug": stage.slug,
        "title": stage.title,
        "parameters": stage.parameters,
        "claim": claim and asdict(claim) | {"final_test_accuracy": claim.final_test_accuracy},
        "record": None,
        **study.summaries(study.Store().outcomes(stage)),
    }
    if runs.has_record(stage):
        run = runs.load(stage.number)
        described["record"] = {
            "final": run.final_test_accuracy,
            "best": run.best_test_accuracy,
            "last_three": list(run.last_three_test_accuracies),
            "seconds": round(sum(run.environment.seconds), 1),
            "device": run.environment.device,
            "epochs": len(run.epochs),
        }
    return described


def train(
    number: Number,
    seed: Seed = None,
    device: Device = "auto",
    engine: Engine = "auto",
    as_json: Json = False,
) -> None:
    """Train a stage here and now, and compare with what the original claimed.

    Nothing is saved; `mnist-steps record` does that.

    Example: mnist-steps train 11
    """
    from mnist_steps import data, stages, training
    from mnist_steps.engine import choose

    stage = stages.get(number)
    data.mnist()  # when that fails it is all that is said
    choice = choose(stage.build(), stage.recipe, engine, training.pick_device(device).type)
    say(f"stage {number} is {choice.line}")
    run = training.fit(stage, seed, device, engine=choice.engine)
    print_run(run, as_json)


def record(
    number: Annotated[int | None, typer.Argument(help="The stage's number.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All stages that have a record, one by one.")
    ] = False,
    seed: Seed = None,
    device: Device = "auto",
    folder: Annotated[
        Path | None, typer.Option(help="Where to write [default: the package's records].")
    ] = None,
) -> None:
    """Train a stage and save the run as its record.

    A checkpoint is kept after every epoch: killed at any moment, the same command goes on to
    the same result. Stages 1 and 2 take from half an hour to two hours on two CPU cores.
    """
    from mnist_steps import runs, stages

    if everything == (number is not None):
        raise MnistStepsError("found neither or both: give one stage's number, or --all.")
    if number is not None:
        numbers = [number]
    else:  # a stage of our own may be without a record on purpose, and stays so
        numbers = [stage.number for stage in stages.STAGES if runs.recorded_seeds(stage)]
    for chosen in numbers:
        try:
            run = runs.record(chosen, seed, device, records=folder or runs.RECORDS)
        except KeyboardInterrupt:
            print(
                "\nFinished epochs are kept: the same command goes on from there.", file=sys.stderr
            )
            raise
        print_run(run, as_json=False)


def verify(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Stages to verify [default: all].")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many training steps to replay.")] = 10,
    as_json: Json = False,
) -> None:
    """Check every record against today's code: recipe, network, first steps, predictions.

    Exit status 2 when a record does not hold.
    """
    from mnist_steps import runs, stages

    for number in numbers or []:
        stages.get(number)
    results: list[dict[str, Any]] = []

    def show(result: "Verification") -> None:
        difference = result.replay.max_difference if result.replay else None
        results.append(
            {
                "stage": result.stage.number,
                "seed": result.seed,
                "ok": result.problem is None,
                "max_difference": difference,
                "problem": result.problem,
            }
        )
        if not as_json and result.problem is None:
            name = f"stage {result.stage.number}, seed {result.seed}"
            same = "identical losses" if difference == 0 else f"losses within {difference:.1e}"
            print(f"{name}: holds ({steps} steps replayed, {same})", flush=True)

    try:
        runs.verify(numbers or None, steps, on_result=show)
    finally:
        if as_json:
            print_json(results)


def print_run(run: "Run", as_json: bool) -> None:
    if as_json:
        figures = {
            "stage": run.stage.number,
            "seed": run.seed,
            "epochs": [epoch.as_data() for epoch in run.epochs],
            "environment": asdict(run.environment),
        }
        print_json(figures)
        return
    print_table(
        (">epoch", ">train loss", ">train accuracy", ">test loss", ">test accuracy"),
        (
            (
                str(number),
                f"{epoch.train_loss:.4f}",
                f"{epoch.train_accuracy:.2f}",
                f"{epoch.test_loss:.4f}",
                f"{epoch.test_accuracy:.2f}",
            )
            for number, epoch in enumerate(run.epochs, start=1)
        ),
        title=f"Stage {run.stage.number}: {run.stage.title}, seed {run.seed}",
    )
    claim = run.stage.claim
    original = f"; the original's best was {claim.best_test_accuracy:.2f} %" if claim else ""
    output.print(
        f"Final test accuracy {run.final_test_accuracy:.2f} %, best {run.best_test_accuracy:.2f} "
        f"%{original}. {sum(run.environment.seconds):.1f} s on {run.environment.device}."
    )
