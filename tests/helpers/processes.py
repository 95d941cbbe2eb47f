"""Real processes for tests: waiting for them, finding their remains, a Dask cluster of them."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

HERE = Path(__file__).parent


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def group_lives(group):
    """Whether a process of the group still runs; one that ended and only waits for its parent to
    notice does not, and in a container an orphan may wait for ever."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return False


@contextmanager
def cluster(tmp_path, workers):
    """A scheduler and workers, each a process of its own; yields the address."""
    file = tmp_path / "scheduler.json"
    environment = os.environ | {
        "PYTHONPATH": str(HERE),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
    }
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    dask = [sys.executable, "-m", "dask"]
    with (tmp_path / "dask.log").open("wb") as log:

        def start(*command):
            return subprocess.Popen([*dask, *command], env=environment, stdout=log, stderr=log)

        scheduler = start("scheduler", "--port", "0", "--scheduler-file", str(file), *options)
        processes = [scheduler]
        try:
            wait_until(lambda: file.is_file() and file.read_text().rstrip().endswith("}"))
            address = json.loads(file.read_text())["address"]
            one_thread = ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
            for _ in range(workers):
                processes.append(start("worker", address, *one_thread, *options))
            yield address
        finally:
            for process in processes:
                process.kill()
                process.wait()
