"""Options that several commands have, with one wording each."""

from typing import Annotated

import typer

from mnist_steps.errors import MnistStepsError

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
FAST = (
    "On a CPU, compute all stages but the first by C code that is compiled at first: several times "
    "as fast, other rounding. Needs gcc or clang"
)
Fast = Annotated[bool, typer.Option("--fast", help=f"{FAST}.")]
FastOrNot = Annotated[
    bool | None,
    typer.Option(
        "--fast/--no-fast", help=f"{FAST} [default: for stages that the original does not have]."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print data for machines.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes here, one thread each [default: one a CPU core]."),
]


def refuse_workers_of_a_cluster(workers: int | None, scheduler: str | None) -> None:
    """Raises MnistStepsError when both options are given."""
    if workers is not None and scheduler is not None:
        raise MnistStepsError("found --workers and --scheduler: a cluster has its own workers.")
