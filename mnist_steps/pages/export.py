"""A recorded network as two files that any language can read.

    model.json    the layers in order: kind, attributes, shapes, where their weights are
    weights.bin   all weights one after another, 32-bit floats, little-endian

Nothing is simplified on the way: batch normalization keeps its four vectors, so every layer of
the summary is there to be computed and looked at. The site's playground reads these files.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from mnist_steps import graph, runs, stages
from mnist_steps.data import INPUT_SHAPE, json_bytes, write_atomically
from mnist_steps.errors import MnistStepsError
from mnist_steps.stages import Stage
from mnist_steps.training import Run

FORMAT = 1
BYTES_PER_WEIGHT = 4


def export(number: int, folder: Path, seed: int | None = None) -> dict[str, Any]:
    """Write a stage's record as model.json and weights.bin, and return what model.json says.

    seed: of the record; None for that of the records
    Raises MnistStepsError when the record keeps no weights, and what `runs.load` raises.
    """
    stage = stages.get(number)
    _refuse_without_weights(stage)
    run = runs.load(number, seed)
    layers, weights = describe(run)
    description = {
        "format": FORMAT,
        "stage": number,
        "title": stage.title,
        "seed": run.seed,
        "record": _digest_of_record(run),
        # Pixels are 0 (paper) to 1 (ink); the network takes (pixel - mean) / sd.
        "normalize": {
            "mean": stage.recipe.normalize_test.mean,
            "sd": stage.recipe.normalize_test.sd,
        },
        "input_shape": list(INPUT_SHAPE),
        "weights": {
            "file": "weights.bin",
            "type": "float32, little-endian",
            "bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        },
        "layers": layers,
    }
    # The weights first: a reader who finds model.json finds what it points at.
    write_atomically(folder / "weights.bin", weights)
    write_atomically(folder / "model.json", json_bytes(description))
    return description


def describe(run: Run) -> tuple[list[dict[str, Any]], bytes]:
    """The layers as plain data, and the weights that they point into.

    A layer's `weights` give, by name, the first byte and the shape of each of its tensors.
    Raises MnistStepsError when the network is not a plain chain of layers with own weights.
    """
    assert run.weights is not None
    nodes = graph.trace(run.stage.build(), INPUT_SHAPE).nodes
    layers, packed = [], bytearray()
    previous = graph.INPUT
    for node in nodes:
        if node.inputs != (previous,):
            raise MnistStepsError(
                f"stage {run.stage.number}: {node.name} takes {', '.join(node.inputs)}, and the "
                f"layer before it is {previous}. Only networks whose layers form a chain can be "
                "exported."
            )
        previous = node.name
        offsets = {}
        for name in _weight_names(run, node.module):
            tensor = run.weights[f"{node.module}.{name}"]
            offsets[name] = {"offset": len(packed), "shape": list(tensor.shape)}
            packed += tensor.contiguous().numpy().astype("<f4").tobytes()
        layers.append(
            {
                "name": node.name,
                "kind": node.op,
                "attributes": node.as_data()["attributes"],
                "output_shape": list(node.output_shape),
                "params": node.params,
                "weights": offsets,
            }
        )
    expected = sum(tensor.numel() for tensor in run.weights.values() if tensor.is_floating_point())
    if len(packed) != expected * BYTES_PER_WEIGHT:
        raise MnistStepsError(
            f"stage {run.stage.number}: {len(packed) // BYTES_PER_WEIGHT} weights belong to "
            f"layers, the record has {expected}. Weights that layers share cannot be exported."
        )
    return layers, bytes(packed)


def _weight_names(run: Run, module: str | None) -> list[str]:
    """A module's tensors, in the order of its definition: weight, bias, then running figures."""
    if module is None or run.weights is None:
        return []
    names = run.stage.build().get_submodule(module).state_dict()
    # Batch normalization also counts its batches, as an integer that no forward pass uses.
    return [name for name in names if run.weights[f"{module}.{name}"].dtype == torch.float32]


def _refuse_without_weights(stage: Stage) -> None:
    size = sum(tensor.nbytes for tensor in stage.build().state_dict().values())
    if size > runs.MAX_WEIGHTS_BYTES:
        having = [
            str(other.number)
            for other in stages.STAGES
            if other.number > stage.number and runs.has_record(other)
        ]
        raise MnistStepsError(
            f"stage {stage.number}: its record keeps no weights, they would take "
            f"{size / 1e6:.0f} MB. Export one of the stages {', '.join(having)}."
        )


def _digest_of_record(run: Run) -> str:
    file = runs.folder_of(run.stage, run.seed) / "run.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["digest"])
