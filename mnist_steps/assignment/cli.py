"""The `mnist-steps assignment` commands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mnist_steps.assignment.checking import Checked

app = typer.Typer(
    help="The course assignment: begin with `start`, and `check` as often as you like.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


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


@app.command("check")
def check(
    place: Annotated[Path, typer.Argument(help="The submission: a folder or a .zip file.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Also train one epoch, to see that it learns.")
    ] = False,
    assignment_file: Annotated[
        Path | None,
        typer.Option("--assignment", help="The assignment.toml [default: the folder's own]."),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Without a jail, run the code anyway; only for your own."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print data for machines.")] = False,
) -> None:
    """Check a submission by the rules that grade it: everything but the training.

    Exit status 0 when nothing was found, 1 when there is something to put right, 2 when there was
    nothing to check.
    """
    from mnist_steps.assignment import checking, submission
    from mnist_steps.errors import MnistStepsError

    if assignment_file is not None and not assignment_file.is_file():
        raise MnistStepsError(f"there is no file {assignment_file}: name an assignment.toml.")
    assignment = submission.load_assignment(assignment_file or place / submission.ASSIGNMENT)
    checked = checking.check(place, assignment, unsafe=unsafe)
    described = describe(checked)
    if not as_json:
        show(described, assignment.parameters)
    if smoke and checked.network is not None and checked.recipe is not None:
        epoch = checking.smoke(checked.network, checked.recipe)
        described["smoke"] = vars(epoch)
        if not as_json:
            print(
                f"One epoch: {epoch.train_accuracy:.2f} % of the training images, "
                f"{epoch.test_accuracy:.2f} % of the test images."
            )
    if as_json:
        print(json.dumps(described, indent=1, ensure_ascii=False))
    if checked.findings:
        raise typer.Exit(1)


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
    count = len(described["findings"])
    print(f"\n{count} to put right." if count else "Nothing to put right: hand it in.")
