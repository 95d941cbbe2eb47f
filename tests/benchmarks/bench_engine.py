"""The engine natively and in Chromium, beside PyTorch: seconds an epoch, and memory.

Run it from the repository's root, on a machine that does nothing else, with what tests need:

    PYTHONPATH=tests/helpers python tests/benchmarks/bench_engine.py [FILE.json]

It takes five minutes on two cores. The ways take turns, a few steps each, so that all meet the same
machine; an epoch's seconds follow from the median of a step's. Evaluation is not counted. PyTorch's
way is the one that records are made by.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from browser import CHROMIUM, QUIET, served
from engine_page import floats, network_of, numbers_of, write_page
from playwright.sync_api import sync_playwright

from mnist_steps import data, stages, training
from mnist_steps.training import Training

STAGES = (8, 11)
ROUNDS = 5
STEPS = 30
CPU = torch.device("cpu")

CREATE = """
async ({ network, sizes, batch }) => {
  const images = await file("images.bin", Uint8Array);
  const labels = await file("labels.bin", Uint8Array);
  await call("create", network, images, labels);
  await call("load", parts(await file("weights.bin", Float32Array), sizes));
  globalThis.chosen = Array.from({ length: batch }, (_, i) => i);
  globalThis.maps = await file("maps.bin", Float32Array);
}
"""
TAKE = """
async (steps) => {
  const start = performance.now();
  for (let step = 0; step < steps; step++) await call("step", chosen, maps, 0.01);
  return (performance.now() - start) / 1000;
}
"""


def native(under_way, threads):
    with training.cpu_threads(threads):
        start = time.perf_counter()
        under_way.train_epoch(max_steps=STEPS)
        return time.perf_counter() - start


def measure(stage, page, folder):
    recipe, split = stage.recipe, data.mnist().full_train
    ways = {way: Training(stage, stages.SEED, CPU, engine=way) for way in ("torch", "engine")}
    batch = torch.arange(recipe.batch_size)
    (maps,) = training.moves([batch], recipe, torch.Generator().manual_seed(0))
    state = floats(ways["engine"].model.state_dict())
    for name, content in {
        "images": split.images.numpy(),
        "labels": split.labels.to(torch.uint8).numpy(),
        "maps": numbers_of([maps]),
        "weights": numbers_of(state.values()),
    }.items():
        content.tofile(folder / f"{name}.bin")
    sizes = {name: value.numel() for name, value in state.items()}
    page.evaluate(
        CREATE, {"network": network_of(stage), "sizes": sizes, "batch": recipe.batch_size}
    )
    turns = {
        "PyTorch, two threads": lambda: native(ways["torch"], 2),
        "engine, two threads": lambda: native(ways["engine"], 2),
        "engine, one thread": lambda: native(ways["engine"], 1),
        "engine in Chromium": lambda: page.evaluate(TAKE, STEPS),
    }
    taken = {name: [] for name in turns}
    for turn in turns.values():
        turn()  # starts things, and lets the browser compile what is used often
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            taken[name].append(turn())
    steps = -(-len(split) // recipe.batch_size)
    return {
        "stage": stage.number,
        "seconds_per_epoch": {
            name: round(statistics.median(values) / STEPS * steps, 2)
            for name, values in taken.items()
        },
        "megabytes_in_page": round(page.evaluate("() => call('memory')") / 1e6),
    }


def main():
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_page(folder)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        with served(folder) as address:
            rows = []
            for number in STAGES:
                page = browser.new_page()
                page.goto(address)
                rows.append(measure(stages.get(number), page, folder))
                page.close()
        version = browser.version
        browser.close()
    machine = training.describe_environment(CPU, ())
    found = {
        "rows": rows,
        "megabytes_natively": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "chromium": version,
        **{name: getattr(machine, name) for name in ("date", "processor", "torch")},
    }
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if target is not None:
        data.write_atomically(target, text.encode())


if __name__ == "__main__":
    main()
