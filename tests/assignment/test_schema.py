"""Descriptions of networks: the stages survive them unchanged, forgeries are refused."""

import copy
import functools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_steps import graph, receptive_field, stages
from mnist_steps.assignment import rebuild, schema
from mnist_steps.assignment.schema import GraphRefused

SHAPE = (1, 28, 28)


@functools.cache
def traced(number):
    return graph.trace(stages.get(number).build(), SHAPE).as_data()


def described(number=8):
    """A stage's description, for the test to damage."""
    return copy.deepcopy(traced(number))


def read(data):
    return rebuild.read(json.dumps(data))


@pytest.mark.parametrize("number", range(1, 9))
def test_a_stage_survives_description_and_rebuilding_unchanged(number):
    network = read(described(number))
    assert network.graph.as_data() == traced(number)
    assert graph.trace(network.build(), SHAPE).as_data() == traced(number)


@pytest.mark.parametrize("number", [3, 4, 6])
def test_a_rebuilt_network_computes_what_the_original_does(number):
    original, rebuilt = stages.get(number).build().eval(), read(described(number)).build().eval()
    rebuilt.load_state_dict(original.state_dict())
    images = torch.rand(3, *SHAPE)
    torch.testing.assert_close(rebuilt(images), original(images), rtol=0, atol=0)


class Branching(nn.Module):
    """Everything that the eight stages do not have: branches, functions, containers, sharing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.shared = nn.Conv2d(8, 8, 3, padding="same", groups=2)
        self.wide = nn.Conv2d(8, 4, 5, padding=2)
        self.act = nn.PReLU()
        self.drop = nn.Dropout2d(0.1)
        self.fc = nn.Linear(12, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.shared(self.shared(x)) + x
        x = torch.cat([x, self.wide(x)], dim=1)
        x = F.max_pool2d(F.pad(self.act(x), (1, 1, 1, 1)), 2)
        x = self.drop(x).mean((2, 3))
        x = F.dropout(x.view(x.size(0), -1), 0.1, training=self.training)
        return F.log_softmax(self.fc(x), dim=-1)


def test_branches_functions_and_shared_layers_are_rebuilt():
    model = Branching().eval()
    network = read(graph.trace(model, SHAPE).as_data())
    assert network.parameters == sum(one.numel() for one in model.parameters())
    rebuilt = network.build().eval()
    rebuilt.load_state_dict(model.state_dict())
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(rebuilt(images), model(images))
    fields = {layer.name: layer.size for layer in receptive_field.analyze(model, SHAPE)}
    assert {name: layer.size for name, layer in network.layers.items()} == fields


class Everything(nn.Module):
    """One network of what torch.nn and arithmetic have, and how students put it together."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
        self.twin = nn.Conv2d(6, 6, 3, padding=1)
        self.tied = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.tied.weight = self.twin.weight
        self.up = nn.ConvTranspose2d(6, 6, 2, stride=2)
        self.group, self.layer = nn.GroupNorm(3, 6), nn.LayerNorm([6, 13, 13])
        self.one = nn.InstanceNorm2d(6, affine=True)
        self.gate = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())
        self.fc = nn.Linear(12, 10)

    def forward(self, x):
        x = F.mish(self.layer(self.conv(x.to("cpu"))))
        x = self.group(self.twin(x)) * 0.5 + 1 - self.tied(x).abs().sqrt()
        x = F.avg_pool2d(self.one(self.up(x)), 2)
        x = x * self.gate(x.mean([2, 3])).view(-1, 6, 1, 1)
        x = torch.maximum(x, F.interpolate(x[:, :, ::2, ::2], size=13)).clamp(max=4)
        x = torch.stack([x.amax((2, 3)), x.flatten(2).std(dim=2)], dim=1).transpose(1, 2)
        return F.log_softmax(self.fc(x.reshape(-1, 12)).squeeze(), dim=-1).view(-1, 10)


def test_all_kinds_of_layers_and_functions_are_rebuilt_with_equal_outputs_and_gradients():
    model = Everything()
    network = read(graph.trace(model, SHAPE).as_data())
    assert network.parameters == sum(one.numel() for one in model.parameters())
    rebuilt = network.build()
    shared = rebuilt.get_parameter("tied.weight")
    assert shared is rebuilt.get_parameter("twin.weight")
    rebuilt.load_state_dict(model.state_dict())
    images = torch.rand(4, *SHAPE)
    torch.testing.assert_close(rebuilt(images), model(images))
    for one in (model, rebuilt):
        F.nll_loss(one(images), torch.arange(4)).backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    for name, weight in rebuilt.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name])
    again = rebuild.read(json.dumps(network.graph.as_data()))
    assert again.graph.as_data() == network.graph.as_data()


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"dims": [1, 0, 2, 3]}, "the batch first"),
        ({"dims": [0, 1, 1, 3]}, "each axis once"),
        ({"dims": [0, 1, 2]}, "do not fit together"),
    ],
)
def test_an_order_of_axes_that_moves_the_batch_is_refused(attributes, complaint):
    with pytest.raises(GraphRefused, match=complaint):
        read(chain(layer("turned", "permute", ["(input)"], attributes, False)))


@pytest.mark.parametrize("index", [[0], [[0, 1, None]], ["new"]])
def test_a_part_of_the_batch_is_refused(index):
    with pytest.raises(GraphRefused, match="keep the first axis"):
        read(chain(layer("part", "getitem", ["(input)"], {"index": index}, False)))


def test_a_layer_may_have_any_name_that_is_no_method():
    network = read(chain(layer("operations", "ReLU", ["(input)"], {})))
    assert network.build()(torch.rand(2, *SHAPE)).shape == (2, 10)


def test_weights_of_two_shapes_cannot_be_one():
    data = described()
    first, second = (node for node in data["nodes"] if node["name"] in ("conv1", "conv2"))
    second["parameters"] = first["parameters"]
    with pytest.raises(GraphRefused, match="what layers share must have one shape"):
        read(data)


# ---- Forgeries of the text -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 60_000, "nested too deeply"),
        (" " * (schema.LARGEST_TEXT + 1), "more than 64 KB"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "too large"),
        ('{"a": 1, "a": 1}', "twice"),
        ("null", "expected exactly"),
        ('"text"', "expected exactly"),
        ("{}", "expected exactly"),
    ],
)  # fmt: skip
def test_what_is_not_plain_small_json_is_refused(text, complaint):
    with pytest.raises(GraphRefused, match=complaint) as refusal:
        rebuild.read(text)
    assert len(str(refusal.value).splitlines()) == 1


# ---- Forgeries of the graph: path to a value in stage 8's description, and what is put there -----


def forged(path, value):
    data = described()
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


CONV = ("nodes", 0, "attributes")


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (["extra"], 1, "expected exactly"),
        (["input_shape"], [3, 28, 28], "input_shape"),
        (["input_shape"], [True, 28, 28], "input_shape"),
        (["total_params"], -1, "no count"),
        (["total_params"], 1.5, "no count"),
        (["nodes"], [], "1 to 256"),
        (["nodes"], {}, "1 to 256"),
        (["nodes"], [None] * 257, "1 to 256"),
        (["nodes", 0], None, "expected exactly"),
        (["nodes", 0, "extra"], None, "expected exactly"),
        (["nodes", 0, "name"], 7, "no name"),
        (["nodes", 0, "name"], "conv1\x1b[2J", "no name"),
        (["nodes", 0, "name"], "сonv1", "no name"),  # a Cyrillic first letter
        (["nodes", 0, "name"], "n" * 81, "no name"),
        (["nodes", 0, "name"], "a." * 9 + "a", "deeper"),
        (["nodes", 1, "name"], "conv1", "used twice"),
        (["nodes", 0, "op"], "LSTM", "not allowed"),
        (["nodes", 0, "op"], "Module", "not allowed"),
        (["nodes", 0, "op"], ["Conv2d"], "not allowed"),
        (["nodes", -1, "op"], "Softmax", "ends in Softmax: .* return raw scores"),
        (["nodes", 1, "inputs"], ["conv9"], "no result of an earlier operation"),
        (["nodes", 1, "inputs"], ["relu1"], "no result of an earlier operation"),
        (["nodes", 1, "inputs"], ["batch_norm1"], "no result of an earlier operation"),
        (["nodes", 1, "inputs"], [["conv1"]], "no result of an earlier operation"),
        (["nodes", 1, "inputs"], [], "1 to 16 inputs"),
        (["nodes", 1, "inputs"], ["conv1", "conv1"], "2 inputs"),
        (["nodes", 0, "module"], "forward", "method of nn.Module"),
        (["nodes", 0, "module"], "__class__", "method of nn.Module"),
        (["nodes", 0, "module"], "batch_norm1.inner", "no container"),
        (["nodes", 0, "module"], None, "called as a function"),
        (["nodes", 3, "module"], "conv1", "do not fit|two ways"),
        (["nodes", 0, "output_shape"], [-1], "whole numbers"),
        (["nodes", 0, "parameters"], {"w": "x"}, "shapes by name"),
        (["nodes", 0, "macs"], "many", "no count"),
        ([*CONV, "extra"], 1, "expected exactly"),
        ([*CONV, "out_channels"], 10**9, "outside of what is allowed"),
        ([*CONV, "out_channels"], 0, "outside of what is allowed"),
        ([*CONV, "out_channels"], 10.0, "outside of what is allowed"),
        ([*CONV, "out_channels"], 11, "do not fit together"),
        ([*CONV, "kernel_size"], [3], "outside of what is allowed"),
        ([*CONV, "kernel_size"], [3, True], "outside of what is allowed"),
        ([*CONV, "kernel_size"], [29, 29], "do not fit together"),
        ([*CONV, "padding"], [-1, -1], "outside of what is allowed"),
        ([*CONV, "padding"], "circular", "outside of what is allowed"),
        ([*CONV, "groups"], 3, "divisible"),
        ([*CONV, "bias"], 0, "outside of what is allowed"),
        (["nodes", 1, "attributes", "track_running_stats"], False, "outside of what is allowed"),
        (["nodes", 1, "attributes", "eps"], "inf", "outside of what is allowed"),
        (["outputs"], ["conv1"], "expected one output"),
        (["outputs"], ["flatten", "log_softmax"], "expected one output"),
        (["nodes", -1, "attributes", "dim"], 0, "over the batch, axis 0, .* write dim=1"),
        (["nodes", -1, "attributes", "dim"], 5, "outside of what is allowed"),
        (["besides"], [["odd", "conv1", ""]], "no difference"),
        (["besides"], [["hook", "conv1"]], "no difference"),
        (["besides"], [["hook", "conv1", ""]] * 65, "at most 64"),
    ],
)  # fmt: skip
def test_a_forged_graph_is_refused_in_one_line(path, value, complaint):
    read(described())  # the honest twin
    with pytest.raises(GraphRefused, match=complaint) as refusal:
        read(forged(path, value))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_network_of_raw_scores_gets_its_log_softmax_and_is_told_so():
    scores = described()
    del scores["nodes"][-1]
    scores["outputs"] = ["flatten"]
    network = read(scores)
    assert network.description.besides == (("scores", "flatten", ""),)
    images = torch.rand(3, *SHAPE)
    torch.testing.assert_close(network.build()(images).exp().sum(dim=1), torch.ones(3))
    assert read(described()).description.besides == ()


def test_a_network_must_return_ten_numbers():
    eleven = described(1)
    conv7 = next(node for node in eleven["nodes"] if node["name"] == "conv7")
    conv7["attributes"]["out_channels"] = 11
    with pytest.raises(GraphRefused, match="returns 11 values"):
        read(eleven)


def test_lies_about_derived_numbers_change_nothing():
    data = described()
    data["total_params"] = 5
    for node in data["nodes"]:
        node.update(params=0, macs=0, output_shape=[1], parameters={})
    assert read(data).graph.as_data() == traced(8)


def layer(name, op, inputs, attributes, module=True):
    return {
        "name": name, "op": op, "inputs": inputs, "attributes": attributes, "output_shape": [1],
        "params": 0, "macs": 0, "parameters": {}, "module": name if module else None,
    }  # fmt: skip


def chain(*nodes):
    """The nodes, brought to ten log-probabilities."""
    tail = [
        layer("gap", "mean", [nodes[-1]["name"]], {"dim": [2, 3], "keepdim": False}, False),
        layer("fc", "Linear", ["gap"], {"in_features": 1, "out_features": 10, "bias": True}),
        layer("out", "LogSoftmax", ["fc"], {"dim": 1}),
    ]
    return {
        "input_shape": [1, 28, 28], "nodes": [*nodes, *tail], "outputs": ["out"], "total_params": 0,
    }  # fmt: skip


CONV_3 = dict(in_channels=1, out_channels=1, kernel_size=[3, 3], stride=[1, 1], padding=[1, 1],
              dilation=[1, 1], groups=1, bias=False, padding_mode="zeros")  # fmt: skip


def test_a_network_that_needs_too_much_is_refused_before_anything_is_allocated():
    assert read(chain(layer("c", "Conv2d", ["(input)"], CONV_3))).parameters == 9 + 20
    wide = CONV_3 | {"out_channels": 4096, "kernel_size": [64, 64]}
    with pytest.raises(GraphRefused, match="parameters are more than"):
        read(chain(layer("c", "Conv2d", ["(input)"], wide)))
    borders = {"padding": [64] * 4}
    pads = [layer("pad0", "ZeroPad2d", ["(input)"], borders)]
    for number in range(1, 40):
        pads.append(layer(f"pad{number}", "ZeroPad2d", [pads[-1]["name"]], borders))
    with pytest.raises(GraphRefused, match="values in the outputs"):
        read(chain(*pads))
    busy = CONV_3 | {"in_channels": 1024, "out_channels": 1024}
    first = CONV_3 | {"out_channels": 1024}
    with pytest.raises(GraphRefused, match="multiply-accumulate|do not fit"):
        read(chain(layer("a", "Conv2d", ["(input)"], first), layer("b", "Conv2d", ["a"], busy)))
    doubled = [layer("cat0", "cat", ["(input)"] * 16, {"dim": 1}, False)]
    for number in range(1, 8):
        doubled.append(layer(f"cat{number}", "cat", [doubled[-1]["name"]] * 16, {"dim": 1}, False))
    with pytest.raises(GraphRefused):
        read(chain(*doubled))


class OwnTensor(nn.Module):
    """A parameter or constant used directly, where weights or test answers could be hidden."""

    def __init__(self, value):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.value = value

    def forward(self, x):
        return F.log_softmax(self.fc(x.flatten(1)) + self.value, dim=1)


@pytest.mark.parametrize("value", [nn.Parameter(torch.ones(10)), torch.ones(10)])
def test_parameters_and_constants_outside_of_layers_are_refused(value):
    model = OwnTensor(value)
    with pytest.raises(GraphRefused, match="without parameters or tensors of its own"):
        read(graph.trace(model, SHAPE).as_data())
    honest = nn.Sequential(nn.Flatten(), model.fc, nn.LogSoftmax(dim=1))
    assert read(graph.trace(honest, SHAPE).as_data()).parameters == 7850


def test_dropout_that_never_stops_is_refused():
    class Always(nn.Module):
        def __init__(self, training):
            super().__init__()
            self.fc, self.always = nn.Linear(784, 10), training

        def forward(self, x):
            x = F.dropout(x.flatten(1), 0.1, training=self.always or self.training)
            return F.log_softmax(self.fc(x), dim=1)

    read(graph.trace(Always(False), SHAPE).as_data())
    with pytest.raises(GraphRefused, match="drop values in evaluation too"):
        read(graph.trace(Always(True), SHAPE).as_data())
