"""How fast training is here: `bench`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mnist_steps.commands.options import (
    Json,
    or_dash,
    output,
    parse_numbers,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from mnist_steps.experiments.bench import Row
    from mnist_steps.stages import Stage


def measure(
    numbers: Annotated[
        str, typer.Option("--stages", help="Such as 3-8 or 1,4-6; those with an original.")
    ] = "1-8",
    rounds: Annotated[int, typer.Option(min=1, help="How often each pipeline has its turn.")] = 5,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps a turn [default: 2,048 images' worth]."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the processor [default: torch's own].")
    ] = None,
    pipelines: Annotated[
        str | None,
        typer.Option(help="Names with commas, such as original,mnist_steps [default: all here]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure seconds per epoch, beside the original's pipeline and others, in turns.

    Stages 3 to 8 take about a minute each on two idle CPU cores, stages 1 and 2 several.

    Example: mnist-steps bench --stages 8 --pipelines original,mnist_steps
    """
    from rich.progress import Progress

    from mnist_steps import stages
    from mnist_steps.experiments import bench

    chosen = [stages.get(number) for number in parse_numbers("--stages", numbers)]
    names = None if pipelines is None else [name.strip() for name in pipelines.split(",")]
    bench.check_names(names)
    errors = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        console=errors,
        disable=bool(os.environ.get("CI")) or not errors.is_terminal,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=len(chosen) * rounds * len(names or bench.kinds()))

        def on_turn(stage: "Stage", name: str) -> None:
            progress.update(bar, description=f"stage {stage.number}, {name}")
            progress.advance(bar)

        rows = bench.run(chosen, names, rounds, steps, threads, on_turn, on_missing=errors.print)
    if as_json:
        print_json([row.as_data() for row in rows])
    else:
        print_bench(rows)


def print_bench(rows: Sequence["Row"]) -> None:
    from mnist_steps.experiments import bench

    last = rows[-1]
    kinds = bench.kinds()
    names = dict.fromkeys(row.pipeline for row in rows)
    print_table(
        ("stage", "pipeline", ">seconds per epoch", ">ratio", ">to better", ">to 99.4 %"),
        (
            (
                f"{row.stage}",
                row.pipeline,
                f"{row.seconds_per_epoch:.1f} "
                f"({row.seconds_per_epoch_least:.1f}–{row.seconds_per_epoch_most:.1f})",
                or_dash(row.ratio_to_original, ".2f"),
                or_dash(row.ratio_to_better_original, ".2f"),
                or_dash(row.seconds_to_target, ".0f"),
            )
            for row in rows
        ),
        caption=f"On {last.processor}, {last.threads} threads, torch {last.torch}. Seconds for "
        f"60,000 training and 10,000 test images: median of {last.rounds} rounds in turns (least "
        "to most). Ratios: how many times as fast as the original without workers, and as the "
        "better of the original with and without. To 99.4 %: seconds until the stage's record "
        "first has it.",
    )
    for name in names:
        output.print(f"{name}: {kinds[name].about}", highlight=False)
    for row in rows:
        if row.way is not None:
            output.print(f"Stage {row.stage}, {row.pipeline}: {row.way}", highlight=False)
        if row.breakdown is not None:
            output.print(f"Stage {row.stage}, {row.breakdown}", highlight=False)
