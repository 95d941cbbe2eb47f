"""The `mnist-steps` command."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_steps.commands.assignment import app as assignment_app
from mnist_steps.commands.loading import load_model
from mnist_steps.commands.options import (
    Device,
    Fast,
    FastOrNot,
    Json,
    Workers,
    refuse_workers_of_a_cluster,
)
from mnist_steps.errors import MnistStepsError, RecordMismatch

# torch takes a second or two to import: each command imports what it needs, so that --help is
# instant.
if TYPE_CHECKING:
    from mnist_steps.experiments.bench import Row
    from mnist_steps.experiments.study import Outcome, Store, Task
    from mnist_steps.runs import Verification
    from mnist_steps.stages import Stage
    from mnist_steps.training import Run

app = typer.Typer(
    help="From 6.4 million parameters to fewer than 8,000: MNIST at 99.4 %, step by step.\n\n"
    "Start with `mnist-steps stages`, look at a network with `mnist-steps summary 8`, and train "
    "it yourself with `mnist-steps train 8`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(assignment_app, name="assignment")
output = Console()

Number = Annotated[int, typer.Argument(help="The stage's number, as `mnist-steps stages` lists.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A stage's number, or a model of yours: `package.module:Name`, `./file.py:Name`."
    ),
]
Input = Annotated[str, typer.Option("--input", help="Shape of one input: channels, height, width.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run [default: 8, as the original's].")]


@app.command("stages")
def list_stages(as_json: Json = False) -> None:
    """List the stages: parameters, what the original claimed, what the record shows."""
    from mnist_steps import stages

    rows = [describe_stage(stage) for stage in stages.STAGES]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table = Table(
        caption="Test accuracy in percent. The original reported its best epoch. Study: mean of "
        "the final epoch over several seeds; `mnist-steps study` says how sure that is."
    )
    for heading in ("stage", "title"):
        table.add_column(heading)
    for heading in ("parameters", "original's best", "record: final", "best", "study"):
        table.add_column(heading, justify="right")
    for row in rows:
        recorded = row["record"]
        figures = [f"{recorded[name]:.2f}" for name in ("final", "best")] if recorded else ["–"] * 2
        claimed = f"{row['claim']['best_test_accuracy']:.2f}" if row["claim"] else "–"
        studied = f"{row['study']['mean']:.2f}" if row["study"] else "–"
        columns = (row["title"], f"{row['parameters']:,}", claimed, *figures, studied)
        table.add_row(str(row["number"]), *columns)
    output.print(table)


def describe_stage(stage: Any) -> dict[str, Any]:
    """One stage as plain data; `claim`, `record` and `study` are None where there is none."""
    from mnist_steps import runs
    from mnist_steps.experiments import study

    claim = stage.claim
    described: dict[str, Any] = {
        "number": stage.number,
        "slug": stage.slug,
        "title": stage.title,
        "parameters": stage.parameters,
        "claim": claim and asdict(claim) | {"final_test_accuracy": claim.final_test_accuracy},
        "record": None,
        "study": None,
    }
    if (summary := study.Store().summary(stage)) is not None:
        described["study"] = asdict(summary)
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


@app.command("summary")
def print_summary(
    model: Model,
    input_shape: Input = "1,28,28",
    everything: Annotated[
        bool, typer.Option("--all", help="Also list activations and reshapes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a network layer by layer: shapes, parameters, arithmetic, receptive field.

    Example: mnist-steps summary torchvision.models:resnet18 --input 3,224,224
    """
    from mnist_steps import summary

    table = summary.summarize(load_model(model), parse_shape(input_shape), everything=everything)
    print(json.dumps(table.as_data(), indent=1) if as_json else table)


@app.command("rf")
def print_receptive_fields(
    model: Model,
    input_shape: Input = "1,28,28",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the field's growth, layer by layer, to an SVG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the receptive field of every layer: size, jump and start, in input pixels.

    Example: mnist-steps rf torchvision.models:resnet18 --input 3,224,224 --plot growth.svg
    """
    from mnist_steps import receptive_field

    shape = parse_shape(input_shape)
    analysis = receptive_field.analyze(load_model(model), shape)
    if plot is not None:
        from mnist_steps import figures

        figures.growth(analysis, shape[-1]).save(plot)
    layers = [
        {
            name: getattr(layer, name)
            for name in ("name", "kind", "output_shape", "size", "jump", "start", "note")
        }
        for layer in analysis
    ]
    if as_json:
        print(json.dumps(layers, indent=1))
        return
    table = Table(caption="Size, jump and start in input pixels, height × width, without borders.")
    for heading in ("layer", "kind"):
        table.add_column(heading)
    for heading in ("output", "size", "jump", "start"):
        table.add_column(heading, justify="right")
    table.add_column("note")
    columns = ("output_shape", "size", "jump", "start")
    for layer in layers:
        shapes = [receptive_field.times(layer[name]) for name in columns]
        table.add_row(layer["name"], layer["kind"], *shapes, layer["note"])
    output.print(table)


@app.command("train")
def train(
    number: Number,
    seed: Seed = None,
    device: Device = "auto",
    fast: FastOrNot = None,
    as_json: Json = False,
) -> None:
    """Train a stage here and now, and compare with what the original claimed.

    Nothing is saved; `mnist-steps record` does that.

    Example: mnist-steps train 11
    """
    from mnist_steps import stages, training
    from mnist_steps.engine import compiler

    stage = stages.get(number)
    if fast is None:
        fast = stage.claim is None and training.pick_device(device).type == "cpu"
        try:
            if fast:
                compiler.library()
        except MnistStepsError as error:
            print(f"mnist-steps: this takes several times as long: {error}", file=sys.stderr)
            fast = False
    run = training.fit(stage, seed, device, fast=fast)
    print_run(run, as_json)


@app.command("record")
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


@app.command("verify")
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
            print(json.dumps(results, indent=1))


@app.command("export")
def export(
    number: Number,
    out: Annotated[Path, typer.Option(help="The folder to write into; made when missing.")],
    seed: Seed = None,
) -> None:
    """Write a stage's recorded network as model.json and weights.bin, for other languages.

    Example: mnist-steps export 8 --out network
    """
    from mnist_steps.pages import export

    written = export.export(number, out, seed)
    print(
        f"Wrote {out / 'model.json'} ({len(written['layers'])} layers) "
        f"and {out / 'weights.bin'} ({written['weights']['bytes']:,} bytes)."
    )


@app.command("study")
def make_study(
    numbers: Annotated[
        str | None,
        typer.Option("--stages", help="Such as 3-8 or 1,4-6 [default: those in the folder]."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many (10 is seeds 0 to 9) or which ones (5-9, or 3,8) "
            "[default: those in the folder]."
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, such as tcp://192.168.0.5:8786."),
    ] = None,
    ablations: Annotated[
        bool,
        typer.Option(
            "--ablation",
            help="Instead of stages, the arms of the ablation page, each one change away from a "
            "short stage 8 [5 seeds unless --seeds says otherwise].",
        ),
    ] = False,
    climb: Annotated[
        bool,
        typer.Option(
            "--ladder",
            help="Instead of stages, the rungs on the way to stage 11 [5 seeds unless --seeds says "
            "otherwise]. Their times count: --workers 1 --fast, on an idle machine.",
        ),
    ] = False,
    look: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Instead of stages, the candidates for stages 9 and 10, judged on the validation "
            "images [1 seed unless --seeds says otherwise].",
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--frontier",
            help="Instead of stages, what stages 9 and 10 are compared with: larger and smaller "
            "networks, and one view of each test image [5 seeds unless --seeds says otherwise].",
        ),
    ] = False,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each run, where a run is to be done sooner.")
    ] = 1,
    device: Device = "cpu",
    fast: Fast = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where the runs are [default: the package's records].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make only what is missing or stale; always so.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make nothing, only say what is missing or stale.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train stages with many seeds, and show how sure their accuracies are.

    Each run is saved when it ends. Stopped at any moment, the same command goes on; a run whose
    recipe or network has changed since is stale and made again.

    Example: mnist-steps study --stages 3-8 --seeds 10 --workers 2
    """
    from mnist_steps import stages
    from mnist_steps.engine import compiler
    from mnist_steps.experiments import executors, study

    refuse_workers_of_a_cluster(workers, scheduler)
    store = study.Store(folder or study.STUDIES)
    given = {"--ablation": ablations, "--ladder": climb, "--search": look, "--frontier": compare}
    if any(given.values()):
        tasks = arms_tasks([name for name in given if given[name]], numbers, seeds, device, fast)
    else:
        tasks = study_tasks(store, numbers, seeds, device, fast)
    tasks = [replace(task, threads=threads) for task in tasks]
    left = {task.name: state for task in tasks if (state := store.state(task)) != "done"}
    if folder is None and not dry_run:
        for task in tasks:
            if task.name in left and (outcome := study.recorded(task)) is not None:
                store.put(outcome)
                del left[task.name]
    report = study.Report(found=len(tasks) - len(left), made=0, failures=())
    if left and not dry_run:
        if fast and scheduler is None:
            compiler.library()  # once, before the workers all would, or all fail
        with (
            executors.dask_cluster(scheduler)
            if scheduler is not None
            else executors.Processes(workers or os.cpu_count() or 1)
        ) as executor:
            report = study.run_study(tasks, executor, store)
        left = {task.name: state for task in tasks if (state := store.state(task)) != "done"}

    outcomes: dict[tuple[int, str | None], list[Outcome]] = {}
    for task in tasks:
        found = outcomes.setdefault((task.number, task.arm), [])
        if (outcome := store.get(task)) is not None:
            found.append(outcome)
    rows = [
        describe_study(stages.get(number), arm, found) for (number, arm), found in outcomes.items()
    ]
    effects = describe_effects(store) if ablations else []
    failures = list(map(str, report.failures))
    if as_json:
        counts = {"found": report.found, "made": report.made, "failures": failures, "left": left}
        content = {"stages": rows, **({"effects": effects} if ablations else {}), **counts}
        print(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        print_study(rows)
        if ablations:
            print_effects(effects)
        print(f"{report.found} runs found, {report.made} made, {len(left)} left to make.")
        for name, state in left.items():
            print(f"  {name}: {state}")
    if failures:
        raise MnistStepsError(f"{len(failures)} runs failed: {'; '.join(failures)}.")


@app.command("bench")
def bench(
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
        print(json.dumps([row.as_data() for row in rows], indent=1, ensure_ascii=False))
    else:
        print_bench(rows)


def print_bench(rows: Sequence["Row"]) -> None:
    from mnist_steps.experiments import bench

    last = rows[-1]
    kinds = bench.kinds()
    names = dict.fromkeys(row.pipeline for row in rows)
    table = Table(
        caption=f"On {last.processor}, {last.threads} threads, torch {last.torch}. Seconds for "
        f"60,000 training and 10,000 test images: median of {last.rounds} rounds in turns (least "
        "to most). Ratios: how many times as fast as the original without workers, and as the "
        "better of the original with and without. To 99.4 %: seconds until the stage's record "
        "first has it."
    )
    table.add_column("stage")
    table.add_column("pipeline", no_wrap=True)
    for heading in ("seconds per epoch", "ratio", "to better", "to 99.4 %"):
        table.add_column(heading, justify="right")
    for row in rows:
        ratios = (row.ratio_to_original, row.ratio_to_better_original)
        table.add_row(
            str(row.stage),
            row.pipeline,
            f"{row.seconds_per_epoch:.1f} "
            f"({row.seconds_per_epoch_least:.1f}–{row.seconds_per_epoch_most:.1f})",
            *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            "–" if row.seconds_to_target is None else f"{row.seconds_to_target:.0f}",
            end_section=row.pipeline == list(names)[-1],
        )
    output.print(table)
    for name in names:
        output.print(f"{name}: {kinds[name].about}", highlight=False)
    for row in rows:
        if row.breakdown is not None:
            output.print(f"Stage {row.stage}, {row.breakdown}", highlight=False)


def study_tasks(
    store: "Store", numbers: str | None, seeds: str | None, device: str, fast: bool = False
) -> list["Task"]:
    """The runs that the options name; what they leave open is as the store has it.

    Raises MnistStepsError when that names nothing.
    """
    from mnist_steps import stages, training
    from mnist_steps.experiments import study

    training.pick_device(device)
    if numbers is None:
        chosen = [stage for stage in stages.STAGES if store.seeds(stage)]
    else:
        chosen = [stages.get(number) for number in parse_numbers("--stages", numbers)]
    tasks = []
    for stage in chosen:
        wanted = store.seeds(stage) if seeds is None else parse_seeds(seeds)
        tasks += study.tasks_for(stage, wanted, device=device, fast=fast)
    if not tasks:
        raise MnistStepsError(
            "found no runs to go on with: say which, such as --stages 3-8 --seeds 10."
        )
    return tasks


def arms_tasks(
    given: Sequence[str], numbers: str | None, seeds: str | None, device: str, fast: bool
) -> list["Task"]:
    """The runs of the ablation, the ladder, the search or the frontier, whose option was given.

    Raises MnistStepsError for several of them, or for stages.
    """
    from mnist_steps import training
    from mnist_steps.experiments import ablation, frontier, ladder, search

    training.pick_device(device)
    if len(given) > 1:
        raise MnistStepsError(f"found {' and '.join(given)}: one at a time.")
    (name,) = given
    if numbers is not None:
        raise MnistStepsError(
            f"found {name} and --stages: the {name[2:]} has arms of its own. Leave one out."
        )
    make, usual = {
        "--ablation": (ablation.all_tasks, ablation.SEEDS),
        "--ladder": (ladder.all_tasks, ladder.SEEDS),
        "--search": (search.all_tasks, search.SEEDS),
        "--frontier": (frontier.all_tasks, frontier.SEEDS),
    }[name]
    return make(range(usual) if seeds is None else parse_seeds(seeds), device, fast)


def parse_seeds(text: str) -> list[int]:
    """'10' is the first ten seeds; else as `parse_numbers`. Raises MnistStepsError for none."""
    if not text.isdecimal():
        return parse_numbers("--seeds", text)
    if int(text) == 0:
        raise MnistStepsError(
            "--seeds 0 names no seeds: give how many, such as 10, or which ones, such as 0-0."
        )
    return list(range(int(text)))


def parse_numbers(option: str, text: str) -> list[int]:
    """'1,4-6' as [1, 4, 5, 6]. Raises MnistStepsError for anything else."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise MnistStepsError(
                f"{option} {text!r} names no numbers: give some such as 3-8 or 1,4-6."
            )
        if last and int(last) < int(first):
            raise MnistStepsError(f"{option} {text!r} counts down: write {last}-{first}.")
        numbers.update(range(int(first), int(last or first) + 1))
    return sorted(numbers)


def describe_study(
    stage: "Stage", arm: str | None, outcomes: Sequence["Outcome"]
) -> dict[str, Any]:
    """The runs of a stage, or of its variation `arm`, as plain data.

    `study` and `interval` are None where there is none.
    """
    from mnist_steps.experiments import evidence, study

    finals = [outcome.figures.final for outcome in outcomes]
    return {
        "number": stage.number,
        "title": stage.title,
        "arm": arm,
        "study": asdict(study.summarize(outcomes)) if finals else None,
        "interval": (
            asdict(evidence.bootstrap(finals)) if len(finals) >= evidence.FEWEST_RUNS else None
        ),
        "runs": [
            {"seed": outcome.seed, **asdict(outcome.figures), "seconds": outcome.seconds}
            for outcome in outcomes
        ],
    }


def print_study(rows: Sequence[dict[str, Any]]) -> None:
    from mnist_steps.experiments import evidence

    table = Table(
        caption="Test accuracy after the last epoch, in percent: mean and standard deviation over "
        "seeds, and where the mean lies with 95 % confidence. A run passes when its last three "
        "epochs all reach 99.4."
    )
    for heading in ("stage", "title"):
        table.add_column(heading)
    for heading in ("runs", "mean ± sd", "95 %", "least", "passed"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = ["0", "–", "–", "–", "–"]
        if row["study"] is not None:
            summary, interval = evidence.Summary(**row["study"]), row["interval"]
            figures = [
                f"{summary.seeds}",
                summary.mean_and_sd,
                f"{interval['low']:.2f} to {interval['high']:.2f}" if interval else "–",
                f"{summary.min:.2f}",
                f"{summary.pass_rate:.0%}",
            ]
        table.add_row(str(row["number"]), row["arm"] or row["title"], *figures)
    output.print(table)


def describe_effects(store: "Store") -> list[dict[str, Any]]:
    """The arms of the ablation against its baseline, as plain data, with all runs in the store."""
    from mnist_steps.experiments import ablation

    return [
        {
            "factor": effect.factor.name,
            "arm": effect.arm.name,
            "title": effect.arm.title,
            "runs": effect.runs,
            "comparison": effect.comparison and asdict(effect.comparison),
            "effect": effect.size,
            "verdict": effect.verdict,
        }
        for effect in ablation.effects(store)
    ]


def print_effects(effects: Sequence[dict[str, Any]]) -> None:
    table = Table(
        caption="Against the baseline: difference of the means in percentage points, its "
        "95 % interval over seeds, and whether that supports what the original concluded."
    )
    for heading in ("factor", "arm", "effect", "verdict"):
        table.add_column(heading, justify="right" if heading == "effect" else "left")
    for effect in effects:
        # Text, not markup: rich would take the interval's brackets for a style.
        columns = ("factor", "title", "effect", "verdict")
        table.add_row(*(Text(effect[column]) for column in columns))
    output.print(table)


def print_run(run: "Run", as_json: bool) -> None:
    if as_json:
        figures = {
            "stage": run.stage.number,
            "seed": run.seed,
            "epochs": [asdict(epoch) for epoch in run.epochs],
            "environment": asdict(run.environment),
        }
        print(json.dumps(figures, indent=1))
        return
    table = Table(title=f"Stage {run.stage.number}: {run.stage.title}, seed {run.seed}")
    for heading in ("epoch", "train loss", "train accuracy", "test loss", "test accuracy"):
        table.add_column(heading, justify="right")
    for number, epoch in enumerate(run.epochs, start=1):
        table.add_row(
            str(number),
            f"{epoch.train_loss:.4f}",
            f"{epoch.train_accuracy:.2f}",
            f"{epoch.test_loss:.4f}",
            f"{epoch.test_accuracy:.2f}",
        )
    output.print(table)
    claim = run.stage.claim
    original = f"; the original's best was {claim.best_test_accuracy:.2f} %" if claim else ""
    output.print(
        f"Final test accuracy {run.final_test_accuracy:.2f} %, best {run.best_test_accuracy:.2f} "
        f"%{original}. {sum(run.environment.seconds):.1f} s on {run.environment.device}."
    )


def parse_shape(text: str) -> tuple[int, ...]:
    """'3,224,224' as (3, 224, 224). Raises MnistStepsError for anything else."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise MnistStepsError(
            f"--input {text!r} is no shape: give whole numbers above 0 with commas, "
            "such as 3,224,224."
        )
    return tuple(int(part) for part in parts)


INTERRUPTED = 130  # what a shell reports after Ctrl-C


def main() -> None:
    """Run the command; what a reader can put right is one line on stderr and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except RecordMismatch as error:
        status = complain(error, "RecordMismatch")
    except MnistStepsError as error:
        status = complain(error, "mnist-steps")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else error
        status = complain(f"{message} Try: mnist-steps --help", "mnist-steps")
    if status == INTERRUPTED:  # typer turns Ctrl-C into this status
        print("\nmnist-steps: stopped.", file=sys.stderr)
    sys.exit(status)


def complain(problem: object, who: str) -> int:
    print(f"{who}: {problem}", file=sys.stderr)
    return 2
