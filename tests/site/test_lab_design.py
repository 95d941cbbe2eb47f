"""The Lab's designs: the same figures in JavaScript as in Python, and files that the course takes.

Node runs the page's own modules; without it these tests are skipped, and under CI they fail.
"""

import base64
import io
import random
import shutil
import subprocess
import zipfile
from math import prod
from pathlib import Path

import in_node
import pytest
import safetensors.torch
import torch
from browser import missing
from torch import nn

from mnist_steps import augment, data, graph, stages, summary
from mnist_steps.assignment import checking, recipe_toml
from mnist_steps.assignment.rules import Assignment
from mnist_steps.augment import RandomResizedCrop, RandomRotation, RandomTranslation
from mnist_steps.errors import MnistStepsError
from site_tools import lab_presets

DESIGNS = 200


def ask(designs):
    """What the Lab says of each design."""
    code = """
      const { tell } = await load("../../tests/helpers/lab.mjs");
      return given.designs.map(tell);
    """
    return in_node.run(code, designs=designs)


# --- Designs that nobody thought of ---------------------------------------------------------------


def random_design(number):
    """Layers that fit each other, up to an end with ten numbers; and any recipe."""
    rows, channels, side = [], 1, 28

    def convolve(outputs, kernel, stride=1, padding=0, dilation=1):
        nonlocal channels, side
        rows.append({"kind": "Conv2d", "channels": outputs, "kernel": kernel, "stride": stride,
                     "padding": padding, "dilation": dilation,
                     "bias": number.random() < 0.4})  # fmt: skip
        spans = dilation * (kernel - 1) + 1
        channels, side = outputs, (side + 2 * padding - spans) // stride + 1

    for place in range(number.randint(1, 12)):
        kind = number.choice(["Conv2d", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "AvgPool2d"])
        if kind == "Conv2d":
            kernel = number.randint(1, min(side, 6))
            dilation = number.choice([one for one in (1, 1, 2, 3) if one * (kernel - 1) < side])
            stride = number.randint(1, 3) if place == 0 else 1
            padding = number.randint(0, min(dilation * (kernel - 1), 14))
            convolve(number.randint(1, 24), kernel, stride, padding, dilation)
        elif kind in ("BatchNorm2d", "ReLU"):
            rows.append({"kind": kind})
        elif side > 1:
            kernel = number.randint(2, min(side, 4))
            stride = number.choice([kernel, 1, 2])
            rows.append({"kind": kind, "kernel": kernel, "stride": stride})
            side = (side - kernel) // stride + 1
    ends = ["average", "average before", *(["kernel"] if side <= 28 else [])]
    end = number.choice(ends)
    if end == "average before":
        rows.append({"kind": "AdaptiveAvgPool2d"})
        side = 1
    convolve(10, side if end == "kernel" else 1)
    if end == "average":
        rows.append({"kind": "AdaptiveAvgPool2d"})
    return {"layers": rows, "recipe": random_recipe(number)}


def random_recipe(number):
    off = {"centerCrop": 0, "crop": 1, "rotation": 0, "shift": 0}
    on = {"centerCrop": 0.25, "crop": 0.7, "rotation": 12.5, "shift": 1.3}
    return {
        "epochs": number.randint(1, 15),
        "batchSize": 16 * number.randint(1, 32),
        "learningRate": number.choice([0.01, 0.3, 1]),
        "momentum": number.choice([0, 0.9]),
        "weightDecay": number.choice([0, 0.0001]),
        "schedule": number.choice(["constant", "one-cycle"]),
        "peak": number.choice([0.05, 1]),
        **{name: number.choice([off[name], on[name]]) for name in off},
    }


@pytest.fixture(scope="module")
def designs():
    number = random.Random(11)
    return [random_design(number) for _ in range(DESIGNS)]


@pytest.fixture(scope="module")
def told(designs):
    return ask(designs)


def built(told):
    """The network that the exported model.py makes."""
    code = {}
    exec(compile(told["model"], "model.py", "exec"), code)
    return code["build_model"]()


@pytest.fixture(scope="module")
def networks(told):
    """What Python makes of each design: the exported network, and its trace."""
    made = [built(one) for one in told]
    return [(network, graph.trace(network, data.INPUT_SHAPE)) for network in made]


def multiplications(network, traced):
    """Of one image, by layer: each weight of a convolution at each place of its output."""
    shapes = {node.name: node.output_shape for node in traced.nodes}
    return {
        name: layer.weight.numel() * prod(shapes[name][1:])
        if isinstance(layer, nn.Conv2d) else 0
        for name, layer in network.named_children()
    }  # fmt: skip


def test_random_designs_have_the_same_figures_in_python(designs, told, networks):
    for number, (design, one, (network, traced)) in enumerate(
        zip(designs, told, networks, strict=True)
    ):
        fatal = [problem for problem in one["analysis"]["problems"] if problem["fatal"]]
        assert not fatal, f"design {number}: {fatal}"
        table = summary.summarize(network, data.INPUT_SHAPE, everything=True)
        counted = multiplications(network, traced)
        expected = [
            {
                "name": row.name,
                "kind": row.kind,
                "outputShape": list(row.output_shape),
                "parameters": row.params,
                "multiplications": counted[row.name],
                "size": row.size[0],
                "jump": row.jump[0],
            }
            for row in table.rows[: len(design["layers"])]
        ]
        assert one["analysis"]["rows"] == expected, f"design {number}"
        assert one["analysis"]["parameters"] == table.total_params
        assert one["analysis"]["multiplications"] == sum(counted.values())
        assert [row.kind for row in table.rows[len(expected) :]] == ["Flatten", "LogSoftmax"]
        assert all(row.size[0] == row.size[1] for row in table.rows[: len(expected)])


def test_random_designs_come_back_from_their_address(told):
    assert all(one["sameAgain"] for one in told)
    assert len({one["fragment"] for one in told}) == DESIGNS


def test_the_engines_layers_are_those_of_the_exported_network(told, networks):
    for one, (_, traced) in zip(told, networks, strict=True):
        for layer, node_ in zip(one["network"], traced.nodes, strict=True):
            said = node_.as_data()
            assert (layer["name"], layer["kind"]) == (said["name"], said["op"])
            assert layer["output_shape"] == said["output_shape"] and layer["params"] == node_.params
            for name, value in layer["attributes"].items():
                assert said["attributes"][name] == value, f"{layer['name']}, {name}"


def test_what_is_refused_at_a_row_torch_refuses_or_the_engine(designs):
    number = random.Random(12)
    broken = []
    for design in designs:
        layers = [dict(row) for row in design["layers"]]
        changed = number.choice([row for row in layers if "kernel" in row])
        changed["kernel"] = number.randint(1, 28)
        broken.append({"layers": layers, "recipe": {}})
    refused = 0
    for design, one in zip(broken, ask(broken), strict=True):
        fatal = [one for one in one["analysis"]["problems"] if one["fatal"]]
        at = fatal[0]["row"] if fatal else None
        found = [row is not None for row in one["analysis"]["rows"]]
        assert found == [at is None or i < at for i in range(len(found))]
        if at is None or "only the first layer" in fatal[0]["text"]:
            continue
        if "more would only add zeros" in fatal[0]["text"]:
            row = design["layers"][at]
            assert row["padding"] > row["dilation"] * (row["kernel"] - 1)
            continue
        refused += 1
        with pytest.raises((RuntimeError, MnistStepsError)):
            torch_network(design["layers"][: at + 1])(torch.zeros(2, 1, 28, 28))
    assert refused > 20


def torch_network(rows):
    """The rows as torch has them, by itself."""
    layers, channels = [], 1
    for row in rows:
        if row["kind"] == "Conv2d":
            layers.append(nn.Conv2d(channels, row["channels"], row["kernel"], row["stride"],
                                    row["padding"], row["dilation"], bias=row["bias"]))  # fmt: skip
            channels = row["channels"]
        elif row["kind"] == "BatchNorm2d":
            layers.append(nn.BatchNorm2d(channels))
        elif row["kind"] == "AdaptiveAvgPool2d":
            layers.append(nn.AdaptiveAvgPool2d(1))
        elif row["kind"] == "ReLU":
            layers.append(nn.ReLU())
        else:
            layers.append(getattr(nn, row["kind"])(row["kernel"], row["stride"]))
    return nn.Sequential(*layers)


def test_weights_load_into_the_exported_network(told):
    for one in told[:20]:
        network = built(one)
        weights = safetensors.torch.load(base64.b64decode(one["safetensors"]))
        network.load_state_dict(weights)
        trained = [
            (name, tensor) for name, tensor in network.state_dict().items()
            if tensor.is_floating_point()
        ]  # fmt: skip
        for place, (name, tensor) in enumerate(trained):
            expected = torch.arange(tensor.numel(), dtype=torch.float32) + 1000 * place
            assert torch.equal(tensor.flatten(), expected), name
        counts = [tensor for name, tensor in weights.items() if name.endswith("tracked")]
        assert all(int(count) == 7 for count in counts)


# --- Presets, and what the course takes ---------------------------------------------------------


@pytest.fixture(scope="module")
def presets():
    return lab_presets.presets()


def test_presets_are_the_stages_networks_by_name_and_figure(presets):
    answers = ask([preset["design"] for preset in presets])
    assert [preset["id"] for preset in presets] == [*map(str, range(3, 12)), "starter"]
    for preset, one in zip(presets[:-1], answers, strict=False):
        stage = stages.get(int(preset["id"]))
        expected = {name: tuple(value.shape) for name, value in stage.build().state_dict().items()}
        found = {name: tuple(value.shape) for name, value in built(one).state_dict().items()}
        assert found == expected, preset["title"]
        assert one["analysis"]["parameters"] == stage.parameters
        assert [row["kind"] for row in preset["design"]["layers"]] == [
            type(layer).__name__ for layer in list(stage.build())[:-2]
        ]


def test_presets_train_as_their_stages(presets):
    """The submission's recipe is the stage's, but for what submissions do not have."""
    answers = ask([preset["design"] for preset in presets])
    for preset, one in zip(presets[:-1], answers, strict=False):
        recipe = stages.get(int(preset["id"])).recipe
        parsed = recipe_toml.parse(unpacked(one)["recipe.toml"], Assignment())
        for name in ("batch_size", "epochs", "optimizer", "schedule", "augmentation"):
            assert getattr(parsed, name) == getattr(recipe, name), f"{preset['title']}: {name}"
        said = preset["design"]["recipe"]
        assert said["testShifts"] == recipe.test_shifts
        assert said["shiftedEpochs"] == recipe.shifted_epochs


def test_the_lab_asks_for_what_the_assignment_asks_for():
    rules = Assignment()
    assert in_node.run("return (await load('lab/design.js')).ASSIGNMENT") == {
        "budget": rules.parameters, "target": rules.accuracy, "epochs": rules.epochs,
        "work": rules.macs,
    }  # fmt: skip


def unpacked(one):
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(one["zip"]))) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_exported_submissions_pass_the_check_but_for_prose(
    presets, designs, tmp_path, trace_without_jail
):
    several = [*(preset["design"] for preset in presets), *designs[:15]]
    for number, one in enumerate(ask(several)):
        place = tmp_path / f"{number}.zip"
        place.write_bytes(base64.b64decode(one["zip"]))
        checked = checking.check(place, Assignment(), unsafe=True)
        over = {problem["part"] for problem in one["analysis"]["problems"]} & {"budget", "work"}
        left = [
            finding for finding in checked.findings
            if "is not written yet" not in finding.what
            and not ("parameters, expected fewer" in finding.what and "budget" in over)
            and not ("multiply-accumulate" in finding.what and "work" in over)
        ]  # fmt: skip
        assert not left, f"{number}: {left}"
        assert checked.network is not None and checked.recipe is not None
        assert checked.network.parameters == one["analysis"]["parameters"]
        assert checked.facts is not None
        assert checked.facts.fields_right == checked.facts.fields_expected > 0
        assert checked.facts.sections_written == 0, "what is left to write is the student's"


# --- Addresses ----------------------------------------------------------------------------------


def test_addresses_from_strangers_do_no_harm():
    node = shutil.which("node")
    if not node:
        missing("no node to read addresses with")
    file = Path(__file__).parents[1] / "helpers" / "lab_fragments.test.mjs"
    done = subprocess.run(
        [node, "--test", str(file)], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout


# --- Examples of augmentation -------------------------------------------------------------------


def test_example_digits_are_resampled_as_torch_does():
    images = data.mnist().full_train.images[:8].float() / 255
    moves = (RandomResizedCrop(0.6, 1.0), RandomRotation(20), RandomTranslation(0.1))
    maps = augment.draw(moves, 8, torch.Generator().manual_seed(1))
    found = in_node.run(
        """
        const { resample } = await load("figures/resample.js");
        return given.images.map((image, i) => [...resample(image, given.maps[i])]);
        """,
        images=images.flatten(1).tolist(),
        maps=maps.tolist(),
    )
    expected = augment.batch_affine(images, maps).flatten(1)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-5)
    assert (expected - images.flatten(1)).abs().max() > 0.5
