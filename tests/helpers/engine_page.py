"""A page with the engine in a worker: for tests of it in a browser, and to measure it there."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from mnist_steps import graph
from mnist_steps.data import INPUT_SHAPE
from site_tools import engine_assets, privacy

ROOT = Path(__file__).parents[2]

# The page: a worker with a Trainer, and a function that calls a method of it.
SCRIPT = """
const worker = new Worker("javascripts/engine/worker.js", { type: "module" });
const waiting = new Map();
worker.onmessage = ({ data }) => {
  const [give, fail] = waiting.get(data.id);
  data.problem === undefined ? give(data.result) : fail(new Error(data.problem));
};
let calls = 0;
globalThis.call = (method, ...given) =>
  new Promise((...both) => {
    waiting.set(++calls, both);
    worker.postMessage({ id: calls, method, given });
  });
globalThis.file = async (name, Kind) => new Kind(await (await fetch(name)).arrayBuffer());
/** Numbers one after another, cut into named parts. */
globalThis.parts = (numbers, sizes) => {
  let place = 0;
  return Object.fromEntries(
    Object.entries(sizes).map(([name, size]) => [name, numbers.subarray(place, (place += size))]),
  );
};
"""


def write_page(folder):
    """The engine's scripts, and a page with the policy that every page of the site has."""
    scripts = folder / "javascripts" / "engine"
    shutil.copytree(ROOT / "docs" / "javascripts" / "engine", scripts)
    shutil.copy(engine_assets.WASM, scripts)
    (folder / "page.js").write_text(SCRIPT)
    page = (
        '<!doctype html><html><head><meta charset="utf-8"><title>engine</title>'
        '<link rel="icon" href="data:,"></head><body><script src="page.js"></script></body></html>'
    )
    (folder / "index.html").write_text(privacy.restricted(page))


def layers_of(stage):
    """As model.json has them."""
    nodes = graph.trace(stage.build(), INPUT_SHAPE).nodes
    return [
        {"name": node.name, "kind": node.op, "attributes": node.as_data()["attributes"]}
        for node in nodes
    ]


def network_of(stage):
    recipe = stage.recipe
    return {
        "layers": layers_of(stage),
        "normalize": dataclasses.asdict(recipe.normalize_train),
        "normalizeTest": dataclasses.asdict(recipe.normalize_test),
        "momentum": recipe.optimizer.momentum,
        "nesterov": recipe.optimizer.nesterov,
        "weightDecay": recipe.optimizer.weight_decay,
    }


def numbers_of(tensors):
    """One after another, each as [out][in][row][column], as weights.bin has them."""
    flat = [tensor.detach().contiguous().flatten().numpy() for tensor in tensors]
    return np.concatenate(flat).astype("<f4")


def floats(state):
    return {name: value for name, value in state.items() if value.is_floating_point()}
