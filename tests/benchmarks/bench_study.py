"""What a study costs beside its trainings: runs per hour with one and two workers, and overhead.

Run it from the repository's root, with the extra `dask`, on a machine that does nothing else:

    python tests/benchmarks/bench_study.py FOLDER [FILE.json]

It trains stage 8 in full by the engine, one thread a worker, into the study in FOLDER, with seeds
that are not there yet: about ten minutes. Overhead is what the workers had beyond the trainings
themselves: their start, handing over, saving, and waiting. With one run a worker, the start counts
in full; in a longer study it is shared by more runs. The guide to speed shows
mnist_steps/records/benchmarks/study.json.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

from distributed import LocalCluster

from mnist_steps import stages, training
from mnist_steps.engine import compiler
from mnist_steps.experiments import executors, study
from mnist_steps.experiments.tasks import perform_all

STAGE = stages.get(8)


def measure(name, workers, open_executor, store):
    seeds = [seed for seed in range(100) if seed not in store.seeds(STAGE)][:workers]
    tasks = study.tasks_for(STAGE, seeds, engine="engine")
    start = time.perf_counter()
    with open_executor() as executor:
        report = perform_all(tasks, executor, store, study.train, title="study", progress=False)
        wall = time.perf_counter() - start
    assert report.made == workers, report
    trained = sum(store.get(task).seconds for task in tasks)
    row = {
        "executor": name,
        "workers": workers,
        "runs": workers,
        "seconds": round(wall, 2),
        "training_seconds": round(trained, 2),
        "runs_per_hour": round(3600 * workers / wall, 2),
        "overhead": round(wall * workers / trained - 1, 4),
    }
    print(row, flush=True)
    return row


@contextlib.contextmanager
def dask():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        executors.dask_cluster(cluster.scheduler_address) as executor,
    ):
        yield executor


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: python tests/benchmarks/bench_study.py FOLDER [FILE.json]")
    store = study.Store(Path(sys.argv[1]))
    compiler.library()
    rows = [
        measure("processes", 1, lambda: executors.Processes(1), store),
        measure("processes", 2, lambda: executors.Processes(2), store),
        measure("Dask", 2, dask, store),
    ]
    machine = training.describe_environment(training.pick_device("cpu"), ())
    text = json.dumps({"processor": machine.processor, "torch": machine.torch, "rows": rows})
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text + "\n")


if __name__ == "__main__":
    main()
