"""Receptive fields: against NaN probing, against the models' comments, and where others fail."""

import inspect
import re
from dataclasses import replace

import networks
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from torch import nn

from mnist_steps import graph, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import UnknownOperation
from mnist_steps.receptive_field import FieldMismatch, analyze, axes, effective, rules, verify

DIGIT = (1, 28, 28)


# ---- The stages ---------------------------------------------------------------------------------

COMMENT = re.compile(r"^ +(?P<name>\w+)=nn\..*#(?P<gap> )(?P<size>\d+x\d+) +(?P<field>\d+)$")
MODELS = {stage.model for stage in stages.STAGES}


def columns(model):
    """The comment columns in the model's source, as regular-expression matches."""
    lines = inspect.getsource(model).splitlines()
    return [match for match in map(COMMENT.match, lines) if match]


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: f"stage {stage.number}")
def test_sizes_and_fields_equal_the_comments_beside_the_layers(stage):
    analysis = analyze(stage.build(), DIGIT)
    comments = columns(stage.model)
    assert comments
    for comment in comments:
        layer = analysis[comment["name"]]
        assert "x".join(map(str, layer.output_shape[1:])) == comment["size"], layer.name
        assert layer.size == (int(comment["field"]),) * 2, layer.name


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: f"stage {stage.number}")
def test_the_comment_columns_are_complete_and_aligned(stage):
    comments = columns(stage.model)
    for column in ("size", "field"):
        assert len({comment.start(column) for comment in comments}) == 1, column
    layers = analyze(stage.build(), DIGIT).layers
    spatial = [one.name for one in layers if re.match("(Conv|MaxPool|AvgPool|Adaptive)", one.kind)]
    assert [comment["name"] for comment in comments] == spatial


@pytest.mark.parametrize("stage", stages.STAGES[1:], ids=lambda stage: f"stage {stage.number}")
def test_nan_probing_agrees_on_every_layer_and_unit_and_pixel(stage):
    verified = verify(stage.build(), DIGIT)
    assert verified.pixels == 28 * 28
    assert verified.comparisons == verified.units * 28 * 28


def test_nan_probing_agrees_on_every_layer_and_unit_of_stage_1():
    # Each pixel costs a pass through 6.4 million weights: corners, middle and random ones must do.
    assert verify(stages.get(1).build(), DIGIT, pixels=78).units > 4_000


# ---- A rule for each operation ------------------------------------------------------------------


def test_every_known_operation_has_a_rule_of_its_own():
    assert set(rules.RULES) == set(graph.OPERATIONS)


def test_a_made_up_operation_raises_by_name(monkeypatch):
    class Blur(nn.Module):
        def forward(self, x):
            return x

    monkeypatch.setattr(nn, "Blur", Blur, raising=False)
    monkeypatch.setitem(graph.OPERATIONS, "Blur", replace(graph.OPERATIONS["ReLU"]))
    with pytest.raises(UnknownOperation, match="1: Blur without a rule for receptive fields"):
        analyze(nn.Sequential(nn.Conv2d(1, 1, 3), Blur()), DIGIT)


# ---- Random networks ----------------------------------------------------------------------------


@pytest.mark.slow
@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(networks.random_networks())
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_nan_probing_agrees_on_random_networks(steps):
    network = networks.fitted(steps)
    if len(network):
        verify(network, networks.INPUT)


@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        (networks.Branches, (1, 9, 9)),
        (networks.Inception, (1, 9, 9)),
        (networks.Cross, (1, 9, 9)),
        (networks.Functional, (1, 12, 12)),
        (networks.SqueezeExcitation, (1, 9, 9)),
        (networks.Shared, (1, 9, 9)),
        (networks.ChannelShuffle, (4, 8, 8)),
        (networks.ChannelsLast, (1, 8, 7)),
        (networks.Decoder, networks.INPUT),
        (networks.Masked, (1, 9, 9)),
        (networks.Squeezed, (1, 9, 9)),
        (networks.Tied, (1, 9, 9)),
    ],
)
def test_nan_probing_agrees_on_the_shared_test_networks(cls, shape):
    verify(cls(), shape)


ONE_AND_THREE_AXES = [
    ([nn.Conv1d(2, 3, 3, dilation=2), nn.MaxPool1d(2, 2, 1), nn.AvgPool1d(2)], (2, 20)),
    ([nn.ConvTranspose1d(2, 2, 3, 2), nn.Upsample(scale_factor=2, mode="linear")], (2, 7)),
    ([nn.LPPool1d(2, 2), nn.AdaptiveMaxPool1d(3), nn.ReplicationPad1d(1)], (1, 10)),
    ([nn.Conv3d(1, 2, (1, 2, 3), 2, 1), nn.AvgPool3d(2), nn.BatchNorm3d(2)], (1, 7, 8, 9)),
    ([nn.ConvTranspose3d(1, 1, 2, 2), nn.MaxPool3d(3, 2, 1, ceil_mode=True)], (1, 3, 4, 5)),
    ([nn.AdaptiveAvgPool3d((2, None, 3)), nn.Upsample(scale_factor=2)], (1, 5, 4, 5)),
]


@pytest.mark.parametrize(("layers", "shape"), ONE_AND_THREE_AXES)
def test_nan_probing_agrees_on_signals_and_volumes(layers, shape):
    verify(nn.Sequential(*layers), shape)
    last = analyze(nn.Sequential(*layers), shape)[-1]
    axes = len(shape) - 1
    assert len(last.size) == len(last.jump) == len(last.start) == axes
    assert len(last.box((0,) * axes)) == 2 * axes
    assert last.mask((0,) * axes).shape == shape[1:]


OTHERS = [
    nn.Sequential(nn.Conv2d(2, 4, (4, 2)), nn.PixelShuffle(2), nn.PixelUnshuffle(4)),
    nn.Sequential(nn.Conv2d(2, 2, 3), nn.GroupNorm(1, 2), nn.Conv2d(2, 2, 3)),
    nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3)),
    nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm(7), nn.Conv2d(2, 2, 3)),
    nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm((2, 9, 7)), nn.Conv2d(2, 2, 3)),
    nn.Sequential(nn.Conv2d(2, 2, 3), nn.Softmax(dim=3), nn.Softmax2d(), nn.Dropout2d()),
    nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(2), nn.Linear(63, 5), nn.Conv1d(2, 2, 3)),
    nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), nn.UpsamplingNearest2d(size=(9, 4))),
    nn.Sequential(nn.Conv2d(2, 2, 3, padding=2), nn.CircularPad2d(1), nn.PReLU(), nn.Softplus()),
]


@pytest.mark.parametrize("network", OTHERS)
def test_nan_probing_agrees_on_other_layers(network):
    verify(network, networks.INPUT)


class Calls(nn.Module):
    """One function on what a convolution gives."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.filterwarnings("ignore:Implicit dimension")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.max(x, 2)[0],
        lambda x: x.min(1, keepdim=True).values,
        lambda x: torch.max(x, x.mean((2, 3), keepdim=True)),
        lambda x: x + torch.arange(x.shape[3]),
        lambda x: x * torch.linspace(0, 1, x.size(2)).view(-1, 1),
        lambda x: x + torch.zeros_like(x),
        lambda x: F.log_softmax(x),
        lambda x: F.group_norm(x, 2),
        lambda x: F.instance_norm(x),
        lambda x: x[..., 1::2],
        lambda x: x[:, None, 1],
        lambda x: x[:, :, 2],
        lambda x: x.permute(0, 3, 1, 2).softmax(1),
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)).flatten(1).view(-1, 5, 6, 4),
        lambda x: F.pad(x, (1, 0, 2, -1)),
        lambda x: F.pad(x, (1, 0, 0, 2), mode="circular"),
        lambda x: F.interpolate(x, size=(2, 3), mode="area"),
        lambda x: F.interpolate(x, scale_factor=(2.0, 1.5)),
        lambda x: F.interpolate(x, scale_factor=1.3, recompute_scale_factor=True),
        lambda x: x.std((1, 2), keepdim=True),
        lambda x: torch.stack((x, x[:, :, :1].expand(-1, -1, 6, -1)), 2),
        lambda x: torch.cat((x, x[..., :2]), 3),
        lambda x: torch.cat((x.mean(3), x.amax(3)), 2),
    ],
)
def test_nan_probing_agrees_on_functions(function):
    verify(Calls(function), (2, 8, 6))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: F.max_pool1d(x.flatten(2), 3), "along axis 2, which mixes axes of the image"),
        (
            nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")),
            "along axis 2, which mixes axes of the image",
        ),
        (lambda x: torch.cat((x.flatten(1), x.mean((2, 3))), 1), "along axis 1, which mixes axes"),
        (lambda x: x + x.transpose(2, 3), "of tensors that differ in what axis 2 counts"),
        (lambda x: F.conv2d(x, x[:, :, :3, :3]), "Conv2d with weights that depend on the image"),
        (lambda x: F.conv_transpose2d(x, x[:, :, :3, :3]), "ConvTranspose2d with weights"),
        (lambda x: F.linear(x.flatten(1), x.flatten(1)), "Linear with weights that depend on the"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "with mode 'bicubic'"),
        (lambda x: F.batch_norm(x, None, None, training=True), "without running statistics, over"),
        (lambda x: x.sum(0), "sum over the images of a batch"),
        (lambda x: x.reshape(-1, 2, 12, 3), "that cuts an axis of the image"),
        (lambda x: x[:, :, 9:], "that leaves nothing"),
        (lambda x: torch.cat((x, torch.zeros_like(x)), 2), "cat with a constant"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(function, why):
    with pytest.raises(UnknownOperation, match=f" {why}"):
        analyze(Calls(function), (2, 8, 8))


def test_a_pool_that_also_gives_places_is_refused():
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2, return_indices=True)

        def forward(self, x):
            return self.pool(x)[0]

    with pytest.raises(UnknownOperation, match="taking a part of what pool returns is not known"):
        analyze(Places(), (2, 8, 8))


@pytest.mark.parametrize("pixels", [1, 2, 129])
def test_probing_takes_two_images_at_a_time_at_least(pixels):
    assert verify(networks.Squeezed(), (1, 9, 9), pixels=pixels).pixels == min(pixels, 81)


def test_a_softmax_over_the_images_of_a_batch_is_refused():
    """Torch's own axis for three axes is the first."""
    with pytest.raises(UnknownOperation, match="LogSoftmax over the images of a batch"):
        analyze(nn.Sequential(nn.Flatten(2), nn.LogSoftmax()), networks.INPUT)


def test_a_network_without_layers_has_none():
    assert verify(nn.Sequential(), networks.INPUT).layers == 0


# ---- Where known tools fail ---------------------------------------------------------------------


def test_parallel_branches_unite_and_do_not_add_up():
    assert analyze(networks.Branches(), (1, 9, 9))["add"].size == (3, 3)
    assert analyze(networks.Inception(), (1, 9, 9))["cat"].size == (5, 5)


def test_functional_pooling_counts():
    analysis = analyze(networks.Functional(), (1, 12, 12))
    assert analysis["max_pool2d"].size == (4, 4)
    assert analysis["max_pool2d"].jump == (2, 2)


def test_the_start_of_a_dilated_convolution_is_where_its_first_tap_lies():
    layer = analyze(nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2, padding=2)), (1, 9, 9))[0]
    assert (layer.size, layer.jump, layer.start) == ((5, 5), (1, 1), (-2, -2))


def test_dilation_leaves_holes():
    layer = analyze(nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2)), (1, 9, 9))[0]
    assert layer.box(0, 0) == (0, 0, 5, 5)
    assert layer.pixels(0, 0) == 9
    assert layer.mask(0, 0).nonzero().tolist() == [[r, c] for r in (0, 2, 4) for c in (0, 2, 4)]


def test_adaptive_pooling_has_sizes_per_unit():
    layer = analyze(nn.Sequential(nn.AdaptiveAvgPool2d((3, 1))), (1, 7, 5))[0]
    assert layer.sizes(axis=0) == (3, 3, 3)
    assert layer.starts(axis=0) == (0, 2, 4)
    assert layer.sizes(axis=1) == (5,)
    uneven = analyze(nn.Sequential(nn.AdaptiveMaxPool2d(4)), (1, 7, 7))[0]
    assert uneven.sizes(axis=0) == (2, 3, 3, 2)
    assert uneven.size == (3, 3), "that of the largest"
    assert uneven.jump == (None, None)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_is_right_for_odd_and_even_kernels():
    odd = analyze(nn.Sequential(nn.Conv2d(1, 1, 5, padding="same")), (1, 9, 9))[0]
    assert (odd.size, odd.start) == ((5, 5), (-2, -2))
    even = analyze(nn.Sequential(nn.Conv2d(1, 1, 4, padding="same")), (1, 9, 9))[0]
    assert (even.size, even.start) == ((4, 4), (-1, -1)), "the larger half comes behind"


def test_kernels_need_not_be_square():
    net = nn.Sequential(nn.Conv2d(1, 1, (3, 7), stride=(1, 2)), nn.MaxPool2d((2, 3), (2, 1)))
    layer = analyze(net, (1, 20, 30))[-1]
    assert (layer.size, layer.jump) == ((4, 11), (2, 2))


def test_transposed_convolution_shrinks_the_jump_and_not_below_one_pixel():
    net = nn.Sequential(nn.Conv2d(1, 1, 4, stride=4), nn.ConvTranspose2d(1, 1, 4, stride=2))
    layer = analyze(net, (1, 32, 32))[-1]
    assert layer.size == (8, 8), "each unit sees two neighbours"
    assert layer.starts(0)[:6] == (-4, -4, 0, 0, 4, 4), "in pairs"
    assert layer.box(0, 0) == (0, 0, 4, 4)


def test_a_unit_that_sees_nothing_says_so():
    layer = analyze(nn.Sequential(nn.ConvTranspose2d(1, 1, 1, stride=2)), (1, 4, 4))[0]
    assert layer.box(1, 1) == layer.box(1, 1, clip=False) == (0, 0, 0, 0)
    assert layer.pixels(1, 1) == 0
    assert layer.sizes(0) == (1, 0, 1, 0, 1, 0, 1)
    assert layer.starts(0)[:2] == (0, None)


@pytest.mark.parametrize("call", [analyze, verify])
@pytest.mark.parametrize("cls", [networks.SqueezeExcitation, networks.Unknown])
def test_weights_hooks_and_mode_are_left_alone_also_after_an_exception(call, cls):
    model = nn.Sequential(cls(), nn.BatchNorm2d(4 if cls is networks.SqueezeExcitation else 1))
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    try:
        call(model, (1, 9, 9))
    except UnknownOperation:
        pass
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not module._backward_hooks


# ---- What the numbers mean ----------------------------------------------------------------------


def test_a_union_of_fields_is_not_its_bounding_square():
    layer = analyze(networks.Cross(), (1, 9, 9))["add"]
    assert layer.box(4, 4) == (2, 2, 7, 7)
    assert layer.pixels(4, 4) == 9
    assert layer.mask(4, 4).sum() == 9
    assert layer.mask(4, 4)[4, 2:7].all() and layer.mask(4, 4)[2:7, 4].all()


def test_boxes_are_clipped_at_the_border_on_request():
    layer = analyze(stages.get(1).build(), DIGIT)["conv3"]
    assert layer.size == (10, 10)
    assert layer.box(0, 13, clip=False) == (-4, 22, 6, 32)
    assert layer.box(0, 13) == (0, 22, 6, 28)
    assert layer.pixels(0, 13) == 6 * 6
    assert layer.box(7, 7) == layer.box(7, 7, clip=False)


def test_squeeze_and_excitation_is_global_and_says_why():
    layer = analyze(networks.SqueezeExcitation(), (1, 9, 9))["mul"]
    assert layer.note == "global by gating (mul)"
    added = analyze(Calls(lambda x: x + x.mean((2, 3), keepdim=True)), (2, 8, 6))[-1]
    assert added.note == "global by broadcasting (add)"
    normed = analyze(Calls(lambda x: F.layer_norm(x, (4,))), (2, 8, 6))[-1]
    assert normed.note == "global by normalization (layer_norm)"
    joined = analyze(Calls(lambda x: (y := F.layer_norm(x, (4,))) + y.relu()), (2, 8, 6))[-1]
    assert joined.note == normed.note, "what is computed of it is global for the same reason"
    assert layer.box(0, 0) == (0, 0, 9, 9)
    assert layer.jump == (None, None)


def test_layers_after_flattening_have_one_unit_for_all():
    analysis = analyze(stages.get(3).build(), DIGIT)
    assert analysis["flatten"].units == (1, 1)
    assert analysis[-1].name == "log_softmax"
    assert analysis[-1].box() == (0, 0, 28, 28)
    assert analysis[-1].jump == (None, None)


def test_a_linear_layer_over_channels_keeps_flattened_places_apart():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(2, 2)

        def forward(self, x):
            return self.mix(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (11, 9))

    layer = analyze(Tokens(), networks.INPUT)[-1]
    assert layer.box(3, 4) == (3, 4, 4, 5)
    verify(Tokens(), networks.INPUT)


def test_a_missing_layer_or_unit_is_named():
    analysis = analyze(stages.get(3).build(), DIGIT)
    with pytest.raises(MnistStepsError, match="no layer 'conv99'; there are conv1"):
        analysis["conv99"]
    with pytest.raises(MnistStepsError, match="conv9 has 1×1 units; there is no"):
        analysis["conv9"].box(1, 0)


def test_memory_grows_with_the_edge_and_not_with_the_area():
    def numbers(edge):
        with torch.device("meta"):
            model = torchvision.models.resnet18(weights=None)
        reaches = {
            id(reach): reach.starts.size
            for layer in analyze(model, (3, edge, edge))
            for product in layer.products
            for reach in product
        }
        return sum(reaches.values())

    assert numbers(448) <= 2.1 * numbers(224)


# ---- verify() is able to fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "network"),
    [
        (axes.Window, nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2))),
        (axes.Adaptive, nn.Sequential(nn.AdaptiveAvgPool2d(4))),
        (axes.TransposedWindow, nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2))),
        (axes.Resize, nn.Sequential(nn.Upsample(scale_factor=2))),
    ],
)
def test_verify_catches_a_wrong_rule(monkeypatch, rule, network):
    right = rule.real_sources

    def off_by_one(self, units):
        sources, valid = right(self, units)
        return sources + 1, valid

    monkeypatch.setattr(rule, "real_sources", off_by_one)
    with pytest.raises(FieldMismatch, match=r"0: unit \(.*\) (sees|does not see) input pixel"):
        verify(network, networks.INPUT)


def test_verify_catches_a_union_taken_for_a_product(monkeypatch):
    def square(self, several):
        joined = united(self, several)
        product = joined.products[0]
        for other in joined.products[1:]:
            product = tuple(one.united(two) for one, two in zip(product, other, strict=True))
        return replace(joined, products=(product,))

    united = rules.Composer.united
    monkeypatch.setattr(rules.Composer, "united", square)
    with pytest.raises(FieldMismatch, match="add: unit"):
        verify(networks.Cross(), (1, 9, 9))


def test_verify_catches_a_tensor_changed_under_its_second_name():
    class Alias(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.AvgPool2d(3, 1, 1)

        def forward(self, x):
            first = x * 1
            second = first
            second += self.pool(x)  # changes `first` too; the trace cannot know
            return first

    with pytest.raises(FieldMismatch, match="second name"):
        verify(Alias(), (1, 9, 9))


def test_verify_catches_an_image_written_into_a_constant():
    def hidden(x):
        constant = torch.zeros_like(x)
        torch.add(x, 1, out=constant)
        return constant * 2

    with pytest.raises(FieldMismatch, match="mul sees the image, but by analyze"):
        verify(Calls(hidden), networks.INPUT)


def test_verify_refuses_a_network_that_gives_nan_by_itself():
    conv = nn.Conv2d(1, 1, 3)
    nn.init.constant_(conv.weight, float("nan"))
    with pytest.raises(MnistStepsError, match="0 is NaN on an image without NaN"):
        verify(nn.Sequential(conv), (1, 9, 9))


# ---- Effective fields ---------------------------------------------------------------------------


def test_a_single_even_convolution_is_as_strong_everywhere():
    conv = nn.Conv2d(1, 1, 5, bias=False)
    nn.init.ones_(conv.weight)
    found = effective(nn.Sequential(conv), torch.rand(3, 1, 15, 15), share=1.0)
    assert found.size == 5
    assert torch.allclose(found.map[5:10, 5:10], torch.tensor(1 / 25))
    assert found.map.sum() == pytest.approx(1)


def test_even_convolutions_in_a_row_pile_up_in_the_middle():
    layers = [nn.Conv2d(1, 1, 3, bias=False) for _ in range(2)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    found = effective(nn.Sequential(*layers), torch.rand(2, 1, 9, 9), share=49 / 81)
    counts = torch.tensor([1.0, 2, 3, 2, 1])  # ways through two kernels of three
    assert torch.allclose(found.map[2:7, 2:7], counts.outer(counts) / 81)
    assert found.size == 3, "the middle 3×3 has (2 + 3 + 2)² of 81 ways"


@pytest.mark.parametrize("cls", [networks.Masked, networks.Squeezed])
def test_effective_fields_do_not_depend_on_the_batches(cls):
    """Of three images two at a time, the last is alone in its batch."""
    torch.manual_seed(0)
    model, images = cls(), torch.randn(3, 1, 9, 9)
    together, in_twos, alone = (effective(model, images, batch_size=size).map for size in (3, 2, 1))
    assert torch.allclose(together, in_twos) and torch.allclose(together, alone)


def test_effective_fields_lie_inside_the_theoretical_ones():
    torch.manual_seed(0)
    model = stages.get(8).build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    analysis = analyze(model, DIGIT)
    for name in ("conv4", "conv6"):
        found = effective(model, torch.rand(8, 1, 28, 28), name)
        middle = tuple(units // 2 for units in analysis[name].units)
        assert not found.map[~analysis[name].mask(*middle)].any()
        assert 1 < found.size <= analysis[name].size[0]
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


# ---- torchvision --------------------------------------------------------------------------------

# Attention reaches wherever the pixel values say; it has no receptive field of this kind.
ATTENTION = ("vit_", "swin_", "maxvit_")


def torchvision_model(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    # RegNet computes with its own settings while it is built, which the meta device cannot.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return torchvision.models.get_model(name, weights=None, **options)


# Of each kind the smallest: others differ from these in width and depth only.
QUICK = ["resnet18", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5", "vit_b_32"]
OTHER_KINDS = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "regnet_x_400mf", "regnet_y_400mf",
    "resnet50", "resnext50_32x4d", "squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11",
    "vgg11_bn", "wide_resnet50_2",
]  # fmt: skip


def test_no_kind_of_torchvision_model_is_left_out():
    def kinds(names):
        return {re.match("[a-z]+", name)[0] for name in names}

    everything = torchvision.models.list_models(module=torchvision.models)
    assert kinds(everything) == kinds(QUICK + OTHER_KINDS)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_KINDS)]
)
def test_each_kind_of_torchvision_model_is_analysed_or_refused_clearly(name):
    model = torchvision_model(name)
    size = 299 if name == "inception_v3" else 224
    if name.startswith(ATTENTION):
        with pytest.raises(
            UnknownOperation, match=r"not known[^\n]*\n *It is called at .*\.py:\d+\."
        ):
            analyze(model, (3, size, size))
        return
    last = analyze(model, (3, size, size))[-1]
    assert last.output_shape == (1000,)
    # SqueezeNet's first layer, without padding and in steps of two, misses the last row and column.
    seen = size - 1 if name.startswith("squeezenet") else size
    assert last.box() == (0, 0, seen, seen)


def test_the_field_of_resnet_18_is_the_published_one():
    # 435 is the figure for the last convolution in Araujo, Norris and Sim's table.
    assert analyze(torchvision_model("resnet18"), (3, 224, 224))["layer4.1.conv2"].size[0] == 435


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5",
                                  "densenet121", "convnext_tiny", "googlenet"])  # fmt: skip
def test_nan_probing_agrees_on_torchvision_models(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options)
    verify(model, (3, 96, 80), pixels=12)
