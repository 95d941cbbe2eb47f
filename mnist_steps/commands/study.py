"""Many runs over seeds: `study`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_steps.commands.options import (
    Device,
    Engine,
    Json,
    Workers,
    parse_numbers,
    print_json,
    print_table,
    refuse_workers_of_a_cluster,
    say,
)
from mnist_steps.errors import MnistStepsError

if TYPE_CHECKING:  # the command's own start imports no torch
    from mnist_steps.experiments.tasks import Report


def make_study(
    numbers: Annotated[
        str | None,
        typer.Option("--stages", help="Such as 3-8 or 1,4-6 [default: those in the folder]."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            help="Instead of stages, the arms of an experiment: ablation (each one change away "
            "from a short stage 8), causes (what a stage changes besides what it is about), ladder "
            "(the way to stage 11; its times count: --workers 1 on an idle machine), search "
            "(candidates for stages 9 and 10, judged on the validation images), finals (the best "
            "of them, with several seeds), frontier (what stages 9 and 10 are compared with) or "
            "roads (other ways to a small network)."
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many (10 is seeds 0 to 9) or which ones (5-9, or 3,8) "
            "[default: those in the folder; those of the experiment]."
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, such as tcp://192.168.0.5:8786."),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each run, where a run is to be done sooner.")
    ] = 1,
    device: Device = "cpu",
    engine: Engine = "auto",
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
    refuse_workers_of_a_cluster(workers, scheduler)
    chosen = None if numbers is None else parse_numbers("--stages", numbers)
    wanted = None if seeds is None else parse_seeds(seeds)

    from mnist_steps import stages, training
    from mnist_steps.experiments import ablation, registry, stored, study

    training.pick_device(device)
    if of == "roads":
        if chosen is not None or device != "cpu":
            found = "--stages" if chosen is not None else f"--device {device}"
            raise MnistStepsError(
                f"found --of roads and {found}: roads have networks of their own, and train on the "
                "CPU. Leave it out."
            )
        how = {"engine": engine, "threads": threads}
        make_roads(wanted, how, workers, scheduler, folder, dry_run, as_json)
        return
    store = study.Store(folder or study.STUDIES)
    choices: dict[str, Any] = {"device": device, "engine": engine, "threads": threads}
    title = None
    if of is None:
        known = None if chosen is None else list(map(stages.get, chosen))
        tasks = study.runs_of(store, known, wanted, **choices)
    elif chosen is not None:
        raise MnistStepsError(
            f"found --of {of} and --stages: an experiment has arms of its own. Leave one out."
        )
    else:
        experiment = registry.get(of)
        title, tasks = experiment.question, experiment.tasks(wanted, **choices)
    if not tasks:
        raise MnistStepsError(
            "found no runs to go on with: say which, such as --stages 3-8 --seeds 10."
        )

    if folder is None and not dry_run:
        study.take_over(tasks, store)
    if not dry_run:
        for line in study.ways(tasks, store):
            say(line)
    report = stored.make(tasks, store, study.train, "study", workers, scheduler, dry_run)
    left = store.left(tasks)
    rows = study.describe(tasks, store)
    effects = [effect.as_data() for effect in ablation.effects(store)] if of == "ablation" else []
    content = {"stages": rows} | ({"effects": effects} if effects else {})
    if not as_json:
        print_study(rows, title)
        if effects:
            print_effects(effects)
    finish(report, left, content if as_json else None)


def make_roads(
    seeds: list[int] | None,
    how: dict[str, Any],
    workers: int | None,
    scheduler: str | None,
    folder: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The runs of `roads.arms`, as other studies are made. how: as for `roads.arms.tasks`"""
    from mnist_steps.experiments import stored, study
    from mnist_steps.experiments.roads import arms, chain

    store = chain.Store(folder or chain.OUTCOMES)
    tasks = arms.tasks(seeds, **how)
    if store.left(tasks) and not dry_run:
        choice = study.choice_for_usual_networks(how["engine"])
        say(f"networks like that of stage 8 are {choice.line}")
        if choice.engine == "torch":  # here, so on all workers
            tasks = arms.tasks(seeds, **how | {"engine": "torch"})
    report = stored.make(tasks, store, chain.perform, "roads", workers, scheduler, dry_run)
    left = store.left(tasks)
    rows = arms.describe(seeds, store)
    if not as_json:
        print_table(
            ("road", "network", ">runs", ">mean", ">95 %", ">bytes"),
            [
                (
                    row["road"], row["title"], f"{row['runs']}", f"{row['mean']:.2f}",
                    interval_of(row), f"{row['bytes']:,.0f}",
                )
                for row in rows
            ],
            title="Which other roads lead to a small network?",
            caption="Accuracy in percent on the test images, each judged once, and the bytes of "
            "the smallest file.",
        )  # fmt: skip
    finish(report, left, {"roads": rows} if as_json else None)


def interval_of(row: dict[str, Any]) -> str:
    interval = row["interval"]
    return f"{interval['low']:.2f} to {interval['high']:.2f}" if interval else "–"


def finish(report: "Report", left: dict[str, str], content: dict[str, Any] | None) -> None:
    """Say what was found, made and left to make. Raises MnistStepsError when runs failed.

    content: to be printed with it as data for machines; None for readers
    """
    failures = list(map(str, report.failures))
    if content is not None:
        counts = {"found": report.found, "made": report.made, "failures": failures, "left": left}
        print_json(content | counts)
    else:
        print(f"{report.found} runs found, {report.made} made, {len(left)} left to make.")
        for name, state in left.items():
            print(f"  {name}: {state}")
    if failures:
        raise MnistStepsError(f"{len(failures)} runs failed: {'; '.join(failures)}.")


def parse_seeds(text: str) -> list[int]:
    """'10' is the first ten seeds; else as `parse_numbers`. Raises MnistStepsError for none."""
    numbers = parse_numbers("--seeds", text)
    if not text.isdecimal():
        return numbers
    if numbers == [0]:
        raise MnistStepsError(
            "--seeds 0 names no seeds: give how many, such as 10, or which ones, such as 0-0."
        )
    return list(range(numbers[0]))


def print_study(rows: Sequence[dict[str, Any]], title: str | None) -> None:
    from mnist_steps.experiments import evidence

    shown = []
    for row in rows:
        figures = ["0", "–", "–", "–", "–"]
        if row["study"] is not None:
            summary = evidence.Summary(**row["study"])
            figures = [
                f"{summary.seeds}",
                summary.mean_and_sd,
                interval_of(row),
                f"{summary.min:.2f}",
                f"{summary.pass_rate:.0%}",
            ]
        shown.append((str(row["number"]), row["arm"] or row["title"], *figures))
    print_table(
        ("stage", "title", ">runs", ">mean ± sd", ">95 %", ">least", ">passed"),
        shown,
        title=title,
        caption="Test accuracy after the last epoch, in percent: mean and standard deviation over "
        "seeds, and where the mean lies with 95 % confidence. A run passes when its last three "
        "epochs all reach 99.4.",
    )


def print_effects(effects: Sequence[dict[str, Any]]) -> None:
    print_table(
        ("factor", "arm", ">effect", "verdict"),
        ([row[name] for name in ("factor", "title", "effect", "verdict")] for row in effects),
        caption="Against the baseline: difference of the means in percentage points, its "
        "95 % interval over seeds, and whether that supports what the original concluded.",
    )
