"""Exported networks: the record's weights, in the order of the layers, for other languages."""

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from mnist_steps import graph, runs, stages
from mnist_steps.commands import main
from mnist_steps.errors import MnistStepsError
from mnist_steps.pages import export

PARTS = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(scope="module", params=[3, 5, 8])
def exported(request, tmp_path_factory):
    """(stage number, model.json's content, weights.bin's bytes)"""
    folder = tmp_path_factory.mktemp("network")
    export.export(request.param, folder)
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return request.param, model, (folder / "weights.bin").read_bytes()


def test_the_weights_are_the_records_bit_for_bit(exported):
    number, model, packed = exported
    recorded = runs.load(number).weights
    found = {}
    for layer in model["layers"]:
        for name, place in layer["weights"].items():
            values = np.frombuffer(packed, "<f4", np.prod(place["shape"]), place["offset"])
            found[f"{layer['name']}.{name}"] = values.reshape(place["shape"])
    assert set(found) == {name for name in recorded if not name.endswith("num_batches_tracked")}
    for name, values in found.items():
        assert values.tobytes() == recorded[name].numpy().tobytes(), name


def test_the_weights_lie_one_after_another_without_gaps(exported):
    _, model, packed = exported
    places = [place for layer in model["layers"] for place in layer["weights"].values()]
    end = 0
    for place in places:
        assert place["offset"] == end
        end += 4 * int(np.prod(place["shape"]))
    assert end == len(packed) == model["weights"]["bytes"]
    assert hashlib.sha256(packed).hexdigest() == model["weights"]["sha256"]


def test_the_layers_are_the_traced_networks(exported):
    number, model, _ = exported
    nodes = graph.trace(stages.get(number).build(), (1, 28, 28)).nodes
    assert [layer["name"] for layer in model["layers"]] == [node.name for node in nodes]
    for layer, node in zip(model["layers"], nodes, strict=True):
        assert layer["kind"] == node.op
        assert layer["attributes"] == node.as_data()["attributes"]
        assert tuple(layer["output_shape"]) == node.output_shape


def test_batch_normalization_is_not_folded(exported):
    number, model, _ = exported
    norms = [layer for layer in model["layers"] if layer["kind"] == "BatchNorm2d"]
    assert bool(norms) == (number >= 4)
    for layer in norms:
        assert tuple(layer["weights"]) == PARTS


def test_the_model_names_its_record_and_the_test_images_normalization(exported):
    number, model, _ = exported
    stage = stages.get(number)
    record = runs.folder_of(stage, stages.SEED) / "run.json"
    assert model["record"] == json.loads(record.read_text(encoding="utf-8"))["digest"]
    assert model["stage"] == number and model["title"] == stage.title
    assert model["normalize"] == {
        "mean": stage.recipe.normalize_test.mean,
        "sd": stage.recipe.normalize_test.sd,
    }


def test_a_network_that_is_no_chain_is_refused():
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, images):
            return images + self.conv(images)

    class Run:
        stage = stages.get(8).__class__(9, "nine", "Nine", Residual, None, None)
        weights = Residual().state_dict()

    with pytest.raises(MnistStepsError, match=r"add takes \(input\), conv"):
        export.describe(Run())


def run_command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["mnist-steps", "export", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.main()
    return stop.value.code or 0, capsys.readouterr()


def test_the_command_writes_both_files_into_a_new_folder(monkeypatch, capsys, tmp_path):
    out = tmp_path / "new" / "folder"
    status, printed = run_command(monkeypatch, capsys, 8, "--out", out)
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "weights.bin"]
    assert "27 layers" in printed.out


@pytest.mark.parametrize("number", [1, 99])
def test_what_cannot_be_exported_is_one_line_and_status_2(monkeypatch, capsys, tmp_path, number):
    status, printed = run_command(monkeypatch, capsys, number, "--out", tmp_path / "out")
    assert status == 2
    assert printed.err.count("\n") == 1
    assert ("keeps no weights" if number == 1 else "there is no stage 99") in printed.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    (tmp_path / "out").write_text("")
    status, printed = run_command(monkeypatch, capsys, 8, "--out", tmp_path / "out")
    assert status == 2
    assert printed.err.count("\n") == 1 and "cannot write" in printed.err
