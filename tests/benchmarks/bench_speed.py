"""Seconds per epoch of every pipeline on every stage, for the guide to speed.

Run it from the repository's root, on a machine that does nothing else, with the extra `bench`:

    python tests/benchmarks/bench_speed.py mnist_steps/records/benchmarks/speed.json

It takes a quarter of an hour on two cores. It is `mnist-steps bench --json`, written to a file that
is complete or not there at all; the options are the same: --stages 3-8 --rounds 5 --threads 2.
With --stages, the rows of other stages stay, if they come from such a processor with as many
threads: all pipelines of a stage are measured together, stages need not be.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from mnist_steps import data
from mnist_steps.commands.main import main as mnist_steps_command


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python tests/benchmarks/bench_speed.py FILE.json [OPTIONS]")
    target, *options = sys.argv[1:]
    # Before anything is measured: a file that cannot be read must not cost the measurement.
    old = json.loads(Path(target).read_text(encoding="utf-8")) if Path(target).exists() else []
    sys.argv[1:] = ["bench", "--json", *options]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            mnist_steps_command()
        except SystemExit as end:
            if end.code:
                raise
    new = json.loads(printed.getvalue())
    measured = {row["stage"] for row in new}
    kept = [row for row in old if row["stage"] not in measured and machine(row) == machine(new[0])]
    rows = sorted(kept + new, key=lambda row: row["stage"])  # stable: pipelines stay in order
    data.write_atomically(Path(target), (json.dumps(rows, indent=1) + "\n").encode())


def machine(row: dict) -> tuple:
    return row["processor"], row["threads"]


if __name__ == "__main__":
    main()
