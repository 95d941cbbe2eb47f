"""How long checking a class takes, and whether it leaves processes or files behind.

Run it from the repository's root, on a machine with bubblewrap:

    python tests/benchmarks/bench_grading.py [COUNT] [WORKERS]

COUNT submissions (200), each with a network of its own, are read, traced in the jail, rebuilt and
compared with their reports, as grading does before it trains. What there is of jails, processes,
open files and temporary files afterwards is compared with what there was after the first two.
The time by the clock means something only where the machine does nothing else: its load is printed
beside it. Processor time means more on a busy one: what the workers and all jails used, divided by
the workers, is the least that it can take.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil

from mnist_steps import stages
from mnist_steps.assignment import checking, example, grading
from mnist_steps.assignment.checking import CheckOutcome, CheckTask
from mnist_steps.assignment.journal import Journal
from mnist_steps.assignment.rules import Assignment
from mnist_steps.experiments import executors
from mnist_steps.experiments.tasks import perform_all

PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl


def main(count: int, workers: int) -> None:
    # What is left of a jail when bubblewrap is gone comes to this process, with its processor time.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
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
        os.environ["TMPDIR"] = tempfile.tempdir = str(Path(folder, "tmp"))
        os.mkdir(tempfile.tempdir)
        journal = Journal(Path(folder, "journal"), CheckOutcome)
        tasks = [
            checking.task_for(entry.name, grading.load(entry), Assignment(), False)
            for entry in grading.find(submissions)
        ]
        failures = check(tasks[:2], journal, workers)
        used = processor_seconds()
        before, load, start = leftovers(), os.getloadavg()[0], time.perf_counter()
        failures += check(tasks, journal, workers)
        wall, used = time.perf_counter() - start, processor_seconds() - used
        after = leftovers()
        traced = sum(
            (outcome := journal.get(task)) is not None and outcome.graph is not None
            for task in tasks
        )
    print(
        json.dumps(
            {
                "submissions": count,
                "traced": traced,
                "failures": failures,
                "workers": workers,
                "wall_seconds": round(wall, 1),
                "processor_seconds": round(used, 1),
                "processor_seconds_of_each": round(used / (count - 2), 2),
                "load_before": round(load, 1),
                "load_after": round(os.getloadavg()[0], 1),
                "left_behind": {name: after[name] - before[name] for name in before},
            },
            indent=1,
        )
    )


def check(tasks: list[CheckTask], journal: Journal[CheckOutcome], workers: int) -> int:
    """Returns how many failed."""
    with executors.Processes(workers) as executor:
        report = perform_all(
            tasks, executor, journal, checking.perform, title="checks", progress=True
        )
    return len(report.failures)


def processor_seconds() -> float:
    """Of all children that ended, and of theirs."""
    time.sleep(0.5)  # a jail that was ended takes a moment to be gone
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def leftovers() -> dict[str, int]:
    jails = [one for one in psutil.process_iter(["name"]) if one.info["name"] == "bwrap"]
    return {
        "jails": len(jails),
        "children": len(psutil.Process().children(recursive=True)),
        "open_files": len(os.listdir("/proc/self/fd")),
        "temporary_files": len(os.listdir(tempfile.gettempdir())),
    }


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [200, 2][len(given) :]))
