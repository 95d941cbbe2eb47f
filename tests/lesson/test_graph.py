"""Tracing: what a network is, as plain data, without touching it."""

import json
from collections import OrderedDict

import networks
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_steps import graph, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import NotTraceable, UnknownOperation, trace


class Modules(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (3, 5), stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.LeakyReLU(0.2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.conv(x))))
        return self.linear(self.flatten(x))


class Functions(Modules):
    def forward(self, x):
        norm = self.norm
        x = F.conv2d(x, self.conv.weight, stride=(2, 2), padding=1)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        x = F.max_pool2d(F.leaky_relu(x, negative_slope=0.2), 3, stride=2, padding=1)
        return F.linear(torch.flatten(x, 1), self.linear.weight, self.linear.bias)


def test_functions_are_described_like_the_modules_that_do_the_same():
    modules = trace(Modules(), (1, 16, 16)).nodes
    functions = trace(Functions(), (1, 16, 16)).nodes
    for module, function in zip(modules, functions, strict=True):
        assert function.op == module.op
        assert function.attributes == module.attributes
        assert function.output_shape == module.output_shape
        assert (function.params, function.macs) == (module.params, module.macs)


class Calls(nn.Module):
    """One function on the image."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (F.logsigmoid, nn.LogSigmoid()),
        (lambda x: F.threshold(x, 0.1, 2), nn.Threshold(0.1, 2)),
        (lambda x: F.relu(x, True), nn.ReLU()),
        (lambda x: x.relu_(), nn.ReLU()),
        (lambda x: F.layer_norm(x, [6]), nn.LayerNorm(6, elementwise_affine=False, bias=False)),
        (lambda x: F.group_norm(x, 2), nn.GroupNorm(2, 4, affine=False)),
        (lambda x: F.dropout2d(x, 0.2, training=False), nn.Dropout2d(0.2)),
        (lambda x: x.unflatten(1, sizes=(2, 2)), nn.Unflatten(1, (2, 2))),
        (lambda x: F.avg_pool2d(x, 3, 2, 1), nn.AvgPool2d(3, 2, 1)),
    ],
)
def test_a_function_is_described_like_its_module(function, module):
    (called,), (layer,) = (
        trace(model, (4, 6, 6)).nodes for model in (Calls(function), nn.Sequential(module))
    )
    assert (called.op, called.attributes) == (layer.op, layer.attributes)


@pytest.mark.parametrize(
    ("function", "drops"),
    [(F.dropout, True), (F.dropout2d, True), (F.alpha_dropout, False)],
)
def test_dropout_that_also_drops_in_evaluation_is_told_apart(function, drops):
    (node,) = trace(Calls(function), (4, 6, 6)).nodes
    assert node.attributes.get("training", False) is drops, "as the function's default is"
    torch.manual_seed(0)
    image = torch.ones(1, 4, 6, 6)
    assert (not torch.equal(function(image), image)) is drops


def test_a_convolution_is_described_completely():
    conv = nn.Sequential(nn.Conv2d(4, 6, (3, 5), 2, (0, 1), (1, 2), groups=2, bias=False))
    (node,) = trace(conv, (4, 20, 20)).nodes
    assert node.attributes == {
        "in_channels": 4,
        "out_channels": 6,
        "kernel_size": [3, 5],
        "stride": [2, 2],
        "padding": [0, 1],
        "dilation": [1, 2],
        "groups": 2,
        "bias": False,
        "padding_mode": "zeros",
    }
    assert node.parameters == {"0.weight": (6, 2, 3, 5)}
    assert node.params == 6 * 2 * 3 * 5
    assert node.macs == node.params * 9 * 7


def test_the_data_survives_json_and_is_the_same_for_the_same_network():
    for stage in stages.STAGES:
        data = trace(stage.build(), (1, 28, 28)).as_data()
        assert json.loads(json.dumps(data)) == data
        assert data == trace(stage.build(), (1, 28, 28)).as_data(), "weights must not matter"


def test_the_data_names_no_file_and_no_version():
    text = json.dumps(trace(networks.Functional(), (1, 12, 12)).as_data())
    assert "/" not in text and ".py" not in text and torch.__version__ not in text


@pytest.mark.parametrize("change", [{"stride": 2}, {"bias": False}, {"dilation": 2}, {"groups": 2}])
def test_a_changed_layer_changes_the_data(change):
    plain = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1))
    changed = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, **change))
    assert trace(plain, (2, 8, 8)).as_data() != trace(changed, (2, 8, 8)).as_data()


def test_nodes_are_named_after_modules_and_functions_after_where_they_are_called():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return F.relu(self.conv1(x) + x) + x

    net = nn.Sequential(OrderedDict(stem=nn.Sequential(Block(), Block())))
    names = [node.name.removeprefix("stem.") for node in trace(net, (2, 6, 6)).nodes]
    assert all(node.name.startswith("stem.") for node in trace(net, (2, 6, 6)).nodes)
    assert names == [
        "0.conv1", "0.add", "0.relu", "0.add_1", "1.conv1", "1.add", "1.relu", "1.add_1",
    ]  # fmt: skip


def test_a_shared_module_gets_two_names_and_counts_once():
    traced = trace(networks.Shared(), (1, 9, 9))
    assert [node.name for node in traced.nodes] == ["conv", "relu", "conv_1"]
    assert [node.params for node in traced.nodes] == [10, 0, 10]
    assert traced.total_params == 10


def test_a_parameter_used_directly_is_an_input_and_counts_for_its_user():
    multiply = trace(networks.ChannelsLast(), (1, 8, 7))["mul"]
    assert multiply.inputs == ("scale", "permute_1")
    assert multiply.params == 4
    assert multiply.parameters == {"scale": (4, 1, 1)}


def test_parts_of_a_split_refer_to_what_was_split():
    left, right = (trace(networks.ChannelShuffle(), (4, 8, 8))[name] for name in
                   ("getitem", "getitem_1"))  # fmt: skip
    assert left.inputs == right.inputs == (graph.INPUT,)
    assert right.attributes == {"index": [[None, None, None], [2, 4, None]]}


def test_a_model_in_training_mode_is_traced_as_it_evaluates():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.helper = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return (self.conv(x), self.helper(x)) if self.training else self.conv(x)

    traced = trace(Auxiliary().train(), (1, 5, 5))
    assert [node.name for node in traced.nodes] == ["conv"]
    assert traced.outputs == ("conv",)
    assert traced.total_params == 20, "weights that the trace does not use are weights all the same"


@pytest.mark.filterwarnings("ignore:Implicit dimension")
@pytest.mark.parametrize("function", [F.log_softmax, F.softmax, nn.LogSoftmax(), nn.Softmax()])
@pytest.mark.parametrize("start", [1, 2, 3])
def test_softmax_without_an_axis_takes_torch_s_own(function, start):
    """With two and four axes the second, with three the first."""
    last = function if isinstance(function, nn.Module) else Calls(function)
    node = trace(nn.Sequential(nn.Flatten(start), last), (4, 3, 3)).nodes[-1]
    image = torch.rand(2, 4, 3, 3).flatten(start)
    again = getattr(nn, node.op)(node.attributes["dim"])(image)
    assert torch.equal(function(image), again)


@pytest.mark.parametrize(
    ("function", "op", "attributes"),
    [
        (lambda x: torch.max(x, 1)[0], "amax", {"dim": [1], "keepdim": False}),
        (lambda x: torch.max(x, dim=2, keepdim=True).values, "amax", {"dim": [2], "keepdim": True}),
        (lambda x: x.min(-1)[0], "amin", {"dim": [3], "keepdim": False}),
        (lambda x: torch.max(x, x.exp()), "maximum", {}),
    ],
)
def test_the_values_of_max_and_min_are_known(function, op, attributes):
    node = trace(Calls(function), (4, 6, 6)).nodes[-1]
    assert (node.op, node.attributes) == (op, attributes)


def test_where_the_largest_value_lies_is_not_known():
    with pytest.raises(UnknownOperation, match="the second result of torch.max"):
        trace(Calls(lambda x: torch.max(x, 1)[1]), (4, 6, 6))


@pytest.mark.parametrize(
    ("function", "op", "shape"),
    [
        (lambda x: x + torch.arange(x.shape[3], device=x.device), "arange", (6,)),
        (lambda x: x * torch.linspace(0, 1, x.size(2)).view(x.size(2), 1), "linspace", (6,)),
        (lambda x: x + torch.zeros_like(x[:, :1]), "zeros_like", (2, 1, 6, 6)),
        (lambda x: x * x.new_ones(4, 1, 1), "new_ones", (4, 1, 1)),
    ],
)
def test_constants_that_depend_on_the_image_s_size_are_described(function, op, shape):
    nodes = trace(Calls(function), (4, 6, 6)).nodes
    constant = next(node for node in nodes if node.op == op)
    assert constant.output_shape == shape
    assert graph.INPUT not in constant.inputs


def test_what_is_computed_from_a_buffer_is_part_of_the_trace():
    traced = trace(networks.Masked(), (1, 9, 9))
    assert [node.op for node in traced.nodes] == ["Conv2d", "getitem", "reshape", "mul", "mul"]
    assert traced.nodes[1].parameters == {"mask": (8,)}


def test_weights_tied_between_layers_have_one_name_and_count_once():
    traced = trace(networks.Tied(), (1, 9, 9))
    assert traced.total_params == 9 * 3 + 9 * 9
    names = [list(node.parameters) for node in traced.nodes]
    assert names == [["first.weight"], ["second.weight"], ["second.weight"]]


# ---- Failing clearly ----------------------------------------------------------------------------


def line_of(cls, text):
    """'networks.py:N' of the first line below the class that holds the text."""
    lines = open(networks.__file__).read().splitlines()
    start = lines.index(f"class {cls.__name__}(nn.Module):")
    number = next(n for n, line in enumerate(lines, 1) if n > start and text in line)
    return f"networks.py:{number}"


def test_an_unknown_operation_is_named_with_its_line():
    with pytest.raises(UnknownOperation) as raised:
        trace(networks.Unknown(), (1, 9, 9))
    message = str(raised.value)
    assert message.startswith("cumsum: the function torch.cumsum is not known")
    assert line_of(networks.Unknown, "torch.cumsum") in message


def test_an_unknown_module_is_named():
    with pytest.raises(UnknownOperation, match="1: the module LSTM is not known"):
        trace(nn.Sequential(nn.Flatten(2), nn.LSTM(9, 3)), (4, 3, 3))


def test_a_decision_on_pixel_values_stops_the_trace_with_its_line_and_a_way_out():
    with pytest.raises(NotTraceable) as raised:
        trace(networks.Counting(), (1, 9, 9))
    message = str(raised.value)
    assert "control flow" in message
    assert line_of(networks.Counting, "if x.sum() > 0") in message
    assert "compute both branches" in message


def test_a_shape_that_does_not_fit_is_reported_with_the_layer_that_fails():
    with pytest.raises(NotTraceable, match="linear fails on input of shape"):
        trace(Modules(), (1, 28, 28))


def test_a_reshape_that_loses_the_axis_of_the_batch_is_refused():
    with pytest.raises(
        NotTraceable, match="does not keep the first axis for the images of a batch"
    ):
        trace(Calls(lambda x: x.view(-1)), (1, 4, 4))


@pytest.mark.parametrize(
    "function",
    [lambda x: x.permute(1, 0, 2, 3), lambda x: x.transpose(0, 2)],
)
def test_moving_the_batch_to_another_axis_is_told_as_what_it_is(function):
    with pytest.raises(UnknownOperation, match="moves the images of the batch to another axis"):
        trace(Calls(function), (2, 4, 4))


@pytest.mark.parametrize(
    "cls", [networks.Attention, networks.FusedAttention, networks.FlattenedAttention]
)
def test_attention_is_refused_by_its_name(cls):
    """Also where the trace stops before, at a step which belongs to it."""
    with pytest.raises(UnknownOperation) as raised:
        trace(nn.Sequential(nn.Flatten(2), cls(9)), (4, 3, 3))
    message = str(raised.value)
    assert "belongs to attention, which is not known" in message
    assert "first axis" not in message and "networks.py:" in message
    assert "depends on their values" in message


def test_an_operation_beside_attention_is_not_taken_for_it():
    with pytest.raises(UnknownOperation, match="cumsum is not known to mnist_steps, and what"):
        trace(nn.Sequential(networks.Unknown(), nn.Flatten(2), networks.Attention(49)), (1, 9, 9))


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: x + missing, "NameError: name 'missing' is not defined"),  # noqa: F821
        (lambda x: x + {}["bias"], "KeyError: 'bias'"),
        (lambda x: nn.boolean_mask(x), "has no attribute 'boolean_mask'"),
    ],
)
def test_a_forward_that_fails_for_another_reason_says_which(function, found):
    with pytest.raises(NotTraceable) as raised:
        trace(Calls(function), (2, 4, 4))
    message = str(raised.value)
    assert found in message and "test_graph.py:" in message
    assert "decision" not in message, "no pixel decides anything here"


@pytest.mark.parametrize("decide", [int, float, bool, len, list])
def test_a_decision_on_pixels_is_told_as_one(decide):
    with pytest.raises(NotTraceable) as raised:
        trace(Calls(lambda x: x * decide(x)), (2, 4, 4))
    assert "decision" in str(raised.value)


def test_a_constant_that_is_changed_in_place_is_refused():
    with pytest.raises(UnknownOperation, match="Tensor.add_ on a constant"):
        trace(Calls(lambda x: torch.zeros_like(x).add_(x)), (2, 4, 4))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: torch.topk(x, 2), "torch.topk"),
        (lambda x: x.chunk(2, 1)[0:1], "operator.getitem"),
        (lambda x: torch.max(x, 1).nothing, "Tensor.nothing"),
    ],
)
def test_of_functions_that_return_several_tensors_what_is_not_known_is_refused(function, name):
    with pytest.raises(MnistStepsError, match=name):
        trace(Calls(function), (2, 4, 4))


def test_a_second_input_is_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(NotTraceable, match="missing 1 required positional argument: 'y'"):
        trace(Two(), (1, 4, 4))


def test_a_subclass_with_a_forward_of_its_own_is_looked_into():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    traced = trace(nn.Sequential(Doubled(1, 1, 3)), (1, 5, 5))
    assert [node.op for node in traced.nodes] == ["Conv2d", "mul"]


# ---- Leaving the model alone --------------------------------------------------------------------


@pytest.mark.parametrize("cls", [networks.SqueezeExcitation, networks.Unknown, networks.Counting])
@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was_also_after_an_exception(cls, mode):
    model = nn.Sequential(cls(), nn.BatchNorm2d(4)).train(mode)
    called = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: called.append("hook"))
        module.register_forward_pre_hook(lambda *_: called.append("hook"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    try:
        trace(model, (1, 9, 9))
    except MnistStepsError:
        pass
    assert not called, "the reader's hook ran"
    assert all(module.training is mode for module in model.modules())
    assert all(len(module._forward_hooks) == 1 for module in model.modules())
    assert all(len(module._forward_pre_hooks) == 1 for module in model.modules())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert places == {name: value.data_ptr() for name, value in after.items()}


class Moved(nn.Module):
    """Puts the image on a device, as many training scripts do, and shares a weight."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x):
        x = self.one(x.to(torch.device("cpu")).cpu())
        return x * 2 if self.training else self.two(x)


def test_the_device_is_no_concern_of_a_graph():
    traced = graph.trace(Moved(), (4, 8, 8))
    assert [node.op for node in traced.nodes] == ["identity", "identity", "Conv2d", "Conv2d"]


def test_a_weight_that_two_layers_share_has_one_name_and_counts_once():
    traced = graph.trace(Moved(), (4, 8, 8))
    assert traced["one"].parameters == {"one.weight": (4, 4, 3, 3), "one.bias": (4,)}
    assert traced["two"].parameters == {"one.weight": (4, 4, 3, 3), "two.bias": (4,)}
    assert traced.total_params == 144 + 8 and traced["two"].params == 148


def test_a_model_can_be_traced_as_it_is_while_training():
    traced = graph.trace(Moved(), (4, 8, 8), training=True)
    assert [node.op for node in traced.nodes] == ["identity", "identity", "Conv2d", "mul"]
    model = Moved().eval()
    graph.trace(model, (4, 8, 8), training=True)
    assert not model.training, "the model itself stays as it is"
