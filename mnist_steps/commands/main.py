"""The `mnist-steps` command."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from mnist_steps import __version__
from mnist_steps.commands import assignment, bench, networks, runs, study
from mnist_steps.commands.options import write_plainly_where_needed
from mnist_steps.errors import MnistStepsError, RecordMismatch

app = typer.Typer(
    help="From 6.4 million parameters to fewer than 8,000: MNIST at 99.4 %, step by step.\n\n"
    "Start with `mnist-steps stages`, look at a network with `mnist-steps summary 8`, and train "
    "it yourself with `mnist-steps train 8`.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "stages": runs.list_stages,
    "summary": networks.print_summary,
    "rf": networks.print_receptive_fields,
    "train": runs.train,
    "record": runs.record,
    "verify": runs.verify,
    "export": networks.export,
    "study": study.make_study,
    "bench": bench.measure,
}


@app.callback()
def of_all_commands(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    if version:
        print(f"mnist-steps {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(assignment.app, name="assignment")

INTERRUPTED = 130  # what a shell reports after Ctrl-C


def main() -> None:
    """Run the command; what a reader can put right is one line on stderr and exit status 2."""
    write_plainly_where_needed()
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
