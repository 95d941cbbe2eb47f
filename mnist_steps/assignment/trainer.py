"""The process in which one training of a submission is made, for `trainings.apart`.

A process of its own can be ended at any moment, and the system keeps it within its memory. The
task comes as JSON on standard input; 'made' or 'failed', and what, leave by standard output.
"""

import json
import os
import sys
import threading
import time
from dataclasses import asdict

from mnist_steps.assignment import trainings
from mnist_steps.assignment.trainings import TrainingTask


def main() -> None:
    threading.Thread(target=_end_with_the_parent, args=(os.getppid(),), daemon=True).start()
    task = TrainingTask(**json.loads(sys.stdin.read()))
    if task.device == "cpu":
        _limit_memory(trainings.MOST_BYTES)
    try:
        answer = f"made {json.dumps(asdict(trainings.make(task)))}"
    except Exception as error:
        told = str(error)
        if isinstance(error, MemoryError) or "allocate memory" in told:
            told = f"it needed more than {trainings.MOST_BYTES >> 30} GB of memory"
        else:
            told = f"it failed with {type(error).__name__}: {told}"
        answer = f"failed {told}"
    print(answer, flush=True)


def _limit_memory(more_bytes: int) -> None:
    """What this process may still take, besides what it has by now."""
    try:
        import resource

        with open("/proc/self/status") as status:
            taken = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    except (ImportError, OSError, StopIteration):  # only Linux counts it
        return
    most = 1024 * taken + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _end_with_the_parent(parent: int) -> None:
    """A grading that was killed leaves no training behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
