"""The layer table: against the original's eight tables, and against torchinfo."""

import json
from html.parser import HTMLParser
from math import prod
from pathlib import Path

import networks
import pytest
import torch
import torchinfo
import torchvision
from torch import nn

from mnist_steps import stages, summary

REFERENCE = json.loads((Path(__file__).parent / "stages.json").read_text())


@pytest.mark.parametrize("reference", REFERENCE, ids=lambda one: f"stage {one['number']}")
def test_the_table_equals_the_original_s_row_by_row(reference):
    table = summary.summarize(stages.get(reference["number"]).build(), (1, 28, 28))
    rows = [
        {"kind": row.kind, "output_shape": list(row.output_shape), "params": row.params}
        for row in table.rows
    ]
    assert rows == reference["layers"]
    assert table.total_params == reference["total_params"]
    sizes = {
        "input": table.input_mb,
        "forward_backward": table.forward_backward_mb,
        "params": table.params_mb,
        "total": table.total_mb,
    }
    assert {name: round(size, 2) for name, size in sizes.items()} == reference["size_mb"]


def test_activations_and_reshapes_have_rows_on_request():
    kinds = [row.kind for row in summary.summarize(stages.get(8).build(), (1, 28, 28)).rows]
    assert not {"ReLU", "Flatten", "LogSoftmax"} & set(kinds)
    table = summary.summarize(stages.get(8).build(), (1, 28, 28), everything=True)
    assert [row.kind for row in table.rows][-2:] == ["Flatten", "LogSoftmax"]


def test_functional_calls_have_rows_with_the_module_s_kind():
    rows = summary.summarize(networks.Functional(), (1, 12, 12)).rows
    assert [row.kind for row in rows] == [
        "Conv2d", "MaxPool2d", "ConstantPad2d", "Upsample", "mean",
    ]  # fmt: skip


def test_a_shared_layer_has_a_row_for_each_use_but_its_weights_count_once():
    table = summary.summarize(networks.Shared(), (1, 9, 9))
    assert [row.params for row in table.rows] == [10, 10]
    assert table.total_params == 10
    assert table.total_macs == 10 * 7 * 7 + 10 * 5 * 5


# ---- Against torchinfo --------------------------------------------------------------------------

NETWORKS = ["resnet18", "mobilenet_v3_small", "googlenet", "densenet121", "convnext_tiny"]


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_macs_equal_torchinfo_s(name):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    with torch.device("meta"):  # drawing random weights would take longer than the test
        model = torchvision.models.get_model(name, weights=None, **options)
    table = summary.summarize(model, (3, 224, 224))
    theirs = torchinfo.summary(
        model.to_empty(device="cpu"), (1, 3, 224, 224), device="cpu", verbose=0
    )
    assert table.total_params == theirs.total_params

    # torchinfo counts a linear layer once per image. ConvNeXt applies its linear layers at every
    # position of the map, in NHWC, so there it misses all positions but one.
    missed = sum(
        row.params * (prod(row.output_shape[:-1]) - 1) for row in table.rows if row.kind == "Linear"
    )
    assert table.total_macs == theirs.total_mult_adds + missed
    assert (missed > 0) == (name == "convnext_tiny")


def test_a_transposed_convolution_costs_its_weights_at_each_input_position():
    # torchinfo multiplies by the output positions, of which most see a part of the kernel only.
    model = nn.Sequential(nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False))
    table = summary.summarize(model, (3, 7, 7))
    multiplications = 7 * 7 * (3 * 5 * 2 * 2)  # each input pixel meets each weight once
    assert table.total_macs == multiplications
    theirs = torchinfo.summary(model, (1, 3, 7, 7), device="cpu", verbose=0)
    assert theirs.total_mult_adds == 4 * multiplications


# ---- How it reads -------------------------------------------------------------------------------


def test_the_text_is_aligned():
    lines = str(summary.summarize(stages.get(1).build(), (1, 28, 28))).splitlines()
    head, last = lines[2], lines[-4]
    assert last.startswith("conv7") and "92,170" in last and "40×40" in last
    assert len(head) == len(last), "numbers end where their heading ends"
    assert "6,379,786 parameters" in lines[-2]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_html_table_can_be_read_by_a_screen_reader():
    table = summary.summarize(stages.get(8).build(), (1, 28, 28))
    reader = Reader()
    reader.feed(table._repr_html_())
    assert ("table", {"class": "layers"}) in reader.tags
    assert reader.tags[0][1]["tabindex"] == "0", "a wide table scrolls by keyboard too"
    scopes = [attributes["scope"] for tag, attributes in reader.tags if tag == "th"]
    assert scopes == ["col"] * 7 + ["row"] * len(table.rows)
    assert "caption" in [tag for tag, _ in reader.tags]
    assert "10×26×26" in reader.texts and "518,400" in reader.texts


def test_names_are_escaped_in_html():
    Odd = type("<b>Odd</b>", (nn.Sequential,), {})
    html = summary.summarize(Odd(nn.Conv2d(1, 1, 3)), (1, 5, 5))._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;Odd" in html


def test_the_data_survives_json():
    data = summary.summarize(networks.Functional(), (1, 12, 12)).as_data()
    assert json.loads(json.dumps(data)) == data
    assert data["rows"][0]["output_shape"] == [2, 10, 10]


# ---- Multiplications ----------------------------------------------------------------------------


def test_multiplications_are_those_of_convolutions_and_linear_layers_without_biases():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=True, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 4 * 5, 7),
    )  # fmt: skip
    table = summary.summarize(model, (2, 6, 7))
    by_kind = {row.kind: row.multiplications for row in table.rows}
    assert by_kind["Conv2d"] == 6 * (1 * 3 * 3) * (4 * 5)
    assert by_kind["BatchNorm2d"] == 0 and by_kind["Linear"] == 120 * 7
    assert table.total_multiplications == by_kind["Conv2d"] + by_kind["Linear"]
    assert table.total_macs > table.total_multiplications, "biases and normalization"


def test_each_multiplication_of_a_network_happens():
    """Counted by hooks, from what each layer takes and gives when it runs."""
    for number in (1, 6, 8, 11):
        model, counted = stages.get(number).build().eval(), []

        def count(layer, taken, given, counted=counted):
            patch = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            counted.append(given[0].numel() * patch)

        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(count)
        model(torch.zeros(1, 1, 28, 28))
        assert summary.summarize(model, (1, 28, 28)).total_multiplications == sum(counted)


def test_a_transposed_convolution_multiplies_once_per_input_position():
    row = summary.summarize(nn.Sequential(nn.ConvTranspose2d(3, 5, 4, stride=2)), (3, 6, 7)).rows[0]
    assert row.multiplications == 3 * 5 * 4 * 4 * 6 * 7


def test_the_table_shows_multiplications_and_keeps_macs_as_data():
    table = summary.summarize(stages.get(8).build(), (1, 28, 28))
    assert "multiplications" in str(table) and "MACs" not in str(table)
    (row,) = (line for line in str(table).splitlines() if line.startswith("batch_norm1 "))
    assert row.split()[4] == "–", "it has parameters, and no multiplications that count"
    described = table.as_data()
    assert described["total_macs"] == table.total_macs
    assert described["rows"][0]["macs"] and described["rows"][0]["multiplications"]
