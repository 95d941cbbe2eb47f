"""The `mnist-steps assignment` commands."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_steps.commands.options import (
    Device,
    Engine,
    Json,
    Workers,
    or_dash,
    print_json,
    print_table,
    refuse_workers_of_a_cluster,
    say,
)
from mnist_steps.errors import MnistStepsError

# torch takes a second or two to import: each command imports what it needs.
if TYPE_CHECKING:
    from mnist_steps.assignment.checking import Checked
    from mnist_steps.assignment.gradebook import Table
    from mnist_steps.assignment.grading import Grading
    from mnist_steps.assignment.rubric import Part
    from mnist_steps.assignment.rules import Assignment
    from mnist_steps.assignment.trainings import TrainingOutcome

app = typer.Typer(
    help="The course assignment: begin with `start`, `check` as often as you like; instructors "
    "`grade`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Without a jail, run the code anyway; only for your own.")
]


@app.command("start")
def start(
    folder: Annotated[Path, typer.Argument(help="The folder to write into; made when missing.")],
) -> None:
    """Write a starter: a network that works and is far too large, a recipe, and a report.

    Example: mnist-steps assignment start my-digits
    """
    from mnist_steps.assignment import starter

    starter.write(folder)
    print(f"Wrote {', '.join(starter.FILES)} into {folder}.")
    print(f"See what is wrong with it: mnist-steps assignment check {folder}")


# ---- The self-check -----------------------------------------------------------------------------


@app.command("check")
def check(
    place: Annotated[Path, typer.Argument(help="The submission: a folder or a .zip file.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Also train one epoch, to see that it learns.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also train as grading does, with other seeds.")
    ] = False,
    assignment_file: Annotated[
        Path | None,
        typer.Option("--assignment", help="The assignment.toml [default: the folder's own]."),
    ] = None,
    engine: Engine = "auto",
    unsafe: Unsafe = False,
    as_json: Json = False,
) -> None:
    """Check a submission by the rules that grade it: everything but the training.

    Exit status 0 when nothing was found, 1 when there is something to put right, 2 when there was
    nothing to check.
    """
    from mnist_steps.assignment import checking, rules
    from mnist_steps.engine import choose

    folder = place.parent if place.suffix == ".py" else place
    assignment = load_assignment(assignment_file, folder / rules.FILE)
    checked = checking.check(place, assignment, unsafe=unsafe)
    described = describe(checked)
    if not as_json:
        show(described, assignment.parameters)
    if (smoke or full) and checked.trainable:
        assert checked.network is not None and checked.recipe is not None
        choice = choose(checked.network.build_for_speed(), checked.recipe, engine)
        say(f"trainings are {choice.line}")
        engine = choice.engine
    if smoke and checked.trainable:
        epoch = checking.smoke(checked, assignment, engine)
        described["smoke"] = asdict(epoch)
        if not as_json:
            print(f"One epoch: {told(epoch)}")
    if full and checked.trainable:
        outcomes = []
        for outcome in checking.train_fully(checked, assignment, engine):
            outcomes.append(outcome)
            say(f"run {len(outcomes)} of {assignment.seeds}: {outcome.headline}")
            if outcome.stopped is not None:
                break
        accuracies = [one.test_accuracies for one in outcomes]
        described["full"] = {"runs": accuracies, "stopped": outcomes[-1].stopped, "parts": []}
        if outcomes[-1].stopped is None:
            parts = checking.judge(checked, accuracies, assignment)
            described["full"]["parts"] = [vars(part) for part in parts]
            if not as_json:
                show_parts(parts, len(accuracies))
        elif not as_json:
            print(f"{told(outcomes[-1])} In grading, that would be no points.")
    if as_json:
        print_json(described)
    if checked.findings:
        raise typer.Exit(1)


def told(epoch: "TrainingOutcome") -> str:
    if epoch.stopped is not None:
        return f"it was stopped: {epoch.stopped}."
    return (
        f"{epoch.train_accuracies[-1]:.2f} % of the training images, "
        f"{epoch.test_accuracies[-1]:.2f} % of the test images."
    )


def load_assignment(chosen: Path | None, default: Path) -> "Assignment":
    """Raises MnistStepsError when the chosen file is missing."""
    from mnist_steps.assignment import rules

    if chosen is not None and not chosen.is_file():
        raise MnistStepsError(f"there is no file {chosen}: name an assignment.toml.")
    return rules.load(chosen or default)


def describe(checked: "Checked") -> dict[str, Any]:
    """The outcome as plain data."""
    network = checked.network
    return {
        "ok": not checked.findings,
        "digest": checked.digest,
        "sandbox": checked.level,
        "parameters": network and network.parameters,
        "macs": network and network.graph.total_macs,
        "recipe": checked.recipe and checked.recipe.as_data(),
        "findings": [vars(finding) for finding in checked.findings],
        "notes": [vars(note) for note in checked.notes],
    }


def show(described: dict[str, Any], budget: int) -> None:
    if described["sandbox"] == "none":
        print("The code ran WITHOUT a jail, with all that you may do on this machine.\n")
    if described["parameters"] is not None:
        print(f"{described['parameters']:,} parameters of fewer than {budget:,} allowed.")
    for number, finding in enumerate(described["findings"], start=1):
        print(f"\n{number}. {finding['where']}: {finding['what']}.")
        print(f"   Why it matters: {finding['why']}.")
        print(f"   Hint: {finding['hint']}.")
    for note in described["notes"]:
        print(f"\nNote. {note['where']}: {note['what']}.")
        print(f"   Why: {note['why']}.")
        print(f"   Hint: {note['hint']}.")
    count = len(described["findings"])
    print(f"\n{count} to put right." if count else "Nothing to put right: hand it in.")


def show_parts(parts: list["Part"], runs: int) -> None:
    print(f"\nTrained {runs} times. The grader has other seeds, so expect a little more or less.\n")
    for part in parts:
        points = "  open" if part.points is None else f"{part.points:6g}"
        print(f"{points} of {part.most:4g}  {part.title}: {part.why}")


# ---- Grading ------------------------------------------------------------------------------------


@app.command("grade")
def grade(
    submissions: Annotated[
        Path, typer.Argument(help="A folder with a folder or .zip file for each student.")
    ],
    out: Annotated[Path, typer.Option(help="Where marks and feedback go; made when missing.")],
    assignment_file: Annotated[
        Path | None,
        typer.Option("--assignment", help="The assignment.toml [default: the usual numbers]."),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Train on a Dask cluster, such as tcp://192.168.0.5:8786."),
    ] = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    seeds: Annotated[
        str | None,
        typer.Option(help="Such as 3,14,15, to repeat a grading [default: secret, drawn once]."),
    ] = None,
    screen: Annotated[
        bool, typer.Option("--screen", help="Only rank, in a tenth of the time; no marks.")
    ] = False,
    roster: Annotated[
        Path | None, typer.Option(help="A CSV file of the class, to join the marks to.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The CSV's column that names submissions [default: ID, or the first]."),
    ] = None,
    fill: Annotated[
        Path | None, typer.Option(help="A CSV exported from Canvas or Moodle, to fill in.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Which column of it to fill [default: Grade, as Moodle's].")
    ] = None,
    unsafe: Unsafe = False,
    as_json: Json = False,
) -> None:
    """Grade a class: trace in a jail, train outside with secret seeds, judge, write feedback.

    Stopped at any moment, the same command goes on. What is handed in later, or again, is graded
    when it is run again. Exit status 1 when something of ours failed: run it again.

    Example: mnist-steps assignment grade submissions --out grades --workers 2
    """
    from mnist_steps import training
    from mnist_steps.assignment import gradebook, grading, outputs
    from mnist_steps.experiments import executors, study

    refuse_workers_of_a_cluster(workers, scheduler)
    training.pick_device(device)
    # A mistake in a table is better found now than after hours of training.
    for file in (roster, fill):
        if file is not None:
            table = gradebook.read_table(file)
            wanted = [key, column or "Grade"] if file is fill else [key]
            for name in wanted:
                if name is not None:
                    table.column(name, file.name)
    assignment = load_assignment(assignment_file, Path(os.devnull))
    settings = grading.Settings(
        seeds=parse_seeds(seeds),
        screen=screen,
        unsafe=unsafe,
        device=device,
        engine=engine,
    )
    manual = gradebook.read_manual(out, assignment)
    usual = study.choice_for_usual_networks(engine, device)
    say(f"networks like that of stage 8 are {usual.line}")
    with executors.Processes(workers or os.cpu_count() or 1) as here:
        if scheduler is None:
            made = grading.grade(submissions, out, assignment, here, here, settings, manual)
        else:  # foreign code stays on this machine, whose sandbox was tried
            with executors.dask_cluster(scheduler) as cluster:
                made = grading.grade(submissions, out, assignment, here, cluster, settings, manual)
    if screen:
        ranking = outputs.write_screening(made, out)
        if as_json:
            print_json([dict(zip(ranking.header, row, strict=True)) for row in ranking.rows])
        else:
            print_ranking(ranking, out)
    else:
        notes = outputs.write(made, out, roster, key)
        if fill is not None:
            target, more = outputs.write_filled(made, out, fill, column, key)
            notes = [*notes, f"wrote {target}", *more]
        if as_json:
            grades = [made.as_data(one) for one in made.grades]
            print_json({"grades": grades, "notes": notes})
        else:
            print_grades(made, out, notes)
    failed = [one for one in made.grades if one.status == grading.INFRASTRUCTURE]
    if failed:
        print(
            f"{len(failed)} of {len(made.grades)} could not be graded, through no fault of theirs: "
            f"{failed[0].problem}. Run the same command again.",
            file=sys.stderr,
        )
        raise typer.Exit(1)


@app.command("example")
def example(
    folder: Annotated[Path, typer.Argument(help="The folder to write into; made when missing.")],
) -> None:
    """Write stages 3 to 8 as six submissions, to try grading with.

    Example: mnist-steps assignment example class
    """
    from mnist_steps import stages
    from mnist_steps.assignment import example

    written = example.write([stages.get(number) for number in range(3, 9)], folder)
    print(f"Wrote {len(written)} submissions into {folder}.")
    print(f"Grade them: mnist-steps assignment grade {folder} --out grades")


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """'3,14' as (3, 14). Raises MnistStepsError for anything else."""
    from mnist_steps.assignment.seeds import LARGEST_SEED, MOST_SEEDS

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    seeds = [int(part) for part in parts if part.isdecimal() and int(part) <= LARGEST_SEED]
    if len(seeds) != len(parts) or len(parts) > MOST_SEEDS:
        raise MnistStepsError(
            f"--seeds {text!r} names no seeds: give up to {MOST_SEEDS} whole numbers, such as "
            "3,14,15."
        )
    if len(set(seeds)) != len(seeds):
        raise MnistStepsError(f"--seeds {text!r} has a seed twice: each run needs its own.")
    return tuple(seeds)


def print_grades(made: "Grading", out: Path, notes: list[str]) -> None:
    rows = []
    for grade in made.grades:
        points, possible = or_dash(grade.points, "g"), or_dash(grade.possible, "g")
        figures = (or_dash(grade.accuracy, ".2f"), or_dash(grade.parameters, ","))
        rows.append((grade.entry.name, grade.status, points, possible, *figures))
    print_table(
        ("submission", "status", ">points", ">of", ">accuracy", ">parameters"),
        rows,
        caption="Accuracy in percent after the last epoch, of the worst seed.",
    )
    for note in notes:
        print(note)
    waiting = sum(grade.waiting > 0 for grade in made.grades)
    if waiting:
        print(
            f"The prose of {waiting} reports waits for a person: put points into "
            f"{out / 'manual.csv'} and run the same command again."
        )
    if made.sandbox["level"] == "none":
        print("The code ran WITHOUT a jail, with all that you may do on this machine.")
    print(f"The class: {out / 'index.html'}")


def print_ranking(ranking: "Table", out: Path) -> None:
    caption = "By one short run each: to look at first, not to mark by."
    print_table(ranking.header, ranking.rows, caption=caption)
    print(f"Wrote {out / 'screening.html'} and {out / 'screening.csv'}")
