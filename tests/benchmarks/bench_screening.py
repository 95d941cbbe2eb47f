"""Does a screening run rank networks as full grading does? The stages say: their runs are known.

Run it from the repository's root; it trains for a few minutes:

    python tests/benchmarks/bench_screening.py [FILE.json]

The assignment's worked example shows mnist_steps/records/benchmarks/screening.json.
A screening run has one seed and 4 of 15 epochs. Without a schedule these are the first 4 epochs
of the full run with the same seed, so the example reads them from its record. With a schedule,
which the screening compresses, the run is made here.
"""

import dataclasses
import json
import sys
from pathlib import Path

from mnist_steps import runs, training
from mnist_steps.assignment import trainings
from mnist_steps.assignment.rules import Assignment

STAGES = range(3, 9)  # those that the assignment could afford to train


def main() -> None:
    rows = []
    for number in STAGES:
        run = runs.load(number)
        short = trainings.screening(run.stage.recipe, Assignment().seeds)
        if short.schedule is None:
            continue
        stage = dataclasses.replace(run.stage, recipe=short)
        with training.cpu_threads(run.environment.threads):
            made = training.fit(stage, run.seed, "cpu")
        rows.append(
            {
                "stage": number,
                "seed": run.seed,
                "epochs": short.epochs,
                "screened": round(made.final_test_accuracy, 4),
                "graded": round(run.final_test_accuracy, 4),
            }
        )
        print(rows[-1], flush=True)
    text = json.dumps({"rows": rows}, indent=1) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
