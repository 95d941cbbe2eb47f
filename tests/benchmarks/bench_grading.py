"""How long checking a class takes, and whether it leaves processes or files behind.

Run it from the repository's root, on a machine with bubblewrap:

    python tests/benchmarks/bench_grading.py [COUNT] [WORKERS]

COUNT submissions (200), each with a network of its own, are read, traced in the jail, rebuilt and
compared with their reports, as grading does before it trains. Afterwards the processes of this
machine, this process's open files and the temporary folder are compared with those before.
Processor time tells more than wall time when other work shares the machine; both are printed.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil

from mnist_steps import batch, executors, stages
from mnist_steps.assignment import checking, example, grading
from mnist_steps.assignment.checking import CheckOutcome
from mnist_steps.assignment.journal import Journal
from mnist_steps.assignment.rules import Assignment


def main(count: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        submissions = Path(folder, "class")
        files = example.files_of(stages.get(8))
        for number in range(count):
            place = submissions / f"student-{number:04}"
            place.mkdir(parents=True)
            for name, text in files.items():
                # A comment makes each one a submission of its own, which has to be traced.
                comment = f"\n# {number}\n" if name == "model.py" else ""
                (place / name).write_text(text + comment)
        before = leftovers()
        load, start, used = os.getloadavg()[0], time.perf_counter(), processor_seconds()
        with executors.Processes(workers) as executor:
            entries = grading.find(submissions)
            tasks = [
                checking.task_for(entry.name, grading.load(entry), Assignment(), False)
                for entry in entries
            ]
            journal = Journal(Path(folder, "journal"), CheckOutcome)
            report = batch.perform_all(
                tasks, executor, journal, checking.perform, title="checks", progress=False
            )
        wall, processor = time.perf_counter() - start, processor_seconds() - used
        traced = sum((outcome := journal.get(task)) is not None and outcome.graph is not None
                     for task in tasks)  # fmt: skip
        after = leftovers()
    print(
        json.dumps(
            {
                "submissions": count,
                "traced": traced,
                "failures": len(report.failures),
                "workers": workers,
                "wall_seconds": round(wall, 1),
                "processor_seconds": round(processor, 1),
                "processor_seconds_each": round(processor / count, 2),
                "load_before": round(load, 1),
                "load_after": round(os.getloadavg()[0], 1),
                "left_behind": {name: after[name] - before[name] for name in before},
            },
            indent=1,
        )
    )


def processor_seconds() -> float:
    """Of this process and of all that it started and waited for."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def leftovers() -> dict[str, int]:
    jails = [one for one in psutil.process_iter(["name"]) if one.info["name"] == "bwrap"]
    return {
        "jails": len(jails),
        "children": len(psutil.Process().children(recursive=True)),
        "open_files": len(os.listdir("/proc/self/fd")),
        "temporary_files": len(os.listdir("/tmp")),
    }


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [200, 2][len(given) :]))
