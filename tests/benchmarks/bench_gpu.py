"""Seconds an epoch on a GPU, and whether records hold there.

Run it from the repository's root, on a machine with a GPU that does nothing else:

    python tests/benchmarks/bench_gpu.py FILE.json [DEVICE]

It takes less than ten minutes. The images lie on the device, as for every training; each epoch is
timed with its evaluation, after one that starts things. 'compiled' has the network compiled by
torch.compile with CUDA graphs, which takes the place of starting its parts one by one. A record
holds when the losses of its first steps, trained again on the device, are within what a replay on
another processor may differ by.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from mnist_steps import data, runs, stages, training
from mnist_steps.training import Training

STAGES = (1, 2, 8, 11)
EPOCHS = 3
STEPS = 10


class Copied(nn.Module):
    def forward(self, outputs):
        return outputs.clone()


def timed(stage, device, compiled):
    under_way = Training(stage, stages.SEED, device, engine="torch")
    if compiled:
        # An output lies where the next call writes its own: outputs that are kept are copied.
        graphs = torch.compile(under_way.model, mode="reduce-overhead")
        under_way.model = nn.Sequential(graphs, Copied())
    seconds = []
    for _ in range(1 + EPOCHS):
        start = time.perf_counter()
        under_way.run_epoch()  # ends with figures on the CPU, so the device is done
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds[1:]), 2)


def replayed(stage, device):
    """How far off, relatively, and whether a replay may be; None without a record."""
    if not runs.has_record(stage):
        return None
    run = runs.load(stage.number)
    torch.backends.cudnn.allow_tf32 = False  # records are of float32 in full
    again = Training(stage, run.seed, device, engine="torch").train_epoch(max_steps=STEPS).losses
    torch.backends.cudnn.allow_tf32 = True
    recorded = torch.tensor([step.loss for step in run.steps[:STEPS]])
    apart = (again - recorded).abs() / recorded
    return {"largest": apart.max().item(), "holds": bool((apart <= runs.tolerances(STEPS)).all())}


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tests/benchmarks/bench_gpu.py FILE.json [DEVICE]")
    device = training.pick_device(sys.argv[2] if len(sys.argv) == 3 else "cuda")
    torch.backends.cudnn.benchmark = True
    rows = []
    for number in STAGES:
        stage = stages.get(number)
        rows.append(
            {
                "stage": number,
                "seconds_per_epoch": {
                    way: timed(stage, device, compiled=way == "compiled")
                    for way in ("as it is", "compiled")
                },
                "replay": replayed(stage, device),
            }
        )
        print(rows[-1], file=sys.stderr)
    machine = training.describe_environment(device, ())
    found = {"rows": rows, "device": machine.device, "date": machine.date, "torch": machine.torch}
    data.write_atomically(Path(sys.argv[1]), (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
