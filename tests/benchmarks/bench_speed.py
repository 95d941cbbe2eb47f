"""Seconds per epoch of every pipeline on every stage, for the guide to speed.

Run it from the repository's root, on a machine that does nothing else, with the extra `bench`:

    python tests/benchmarks/bench_speed.py mnist_steps/records/benchmarks/speed.json

It takes a quarter of an hour on two cores. It is `mnist-steps bench --json`, written to a file that
is complete or not there at all; the options are the same: --stages 3-8 --rounds 5 --threads 2.
"""

import contextlib
import io
import sys
from pathlib import Path

from mnist_steps import cli, data


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python tests/benchmarks/bench_speed.py FILE.json [OPTIONS]")
    target, *options = sys.argv[1:]
    sys.argv[1:] = ["bench", "--json", *options]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise
    data.write_atomically(Path(target), printed.getvalue().encode())


if __name__ == "__main__":
    main()
