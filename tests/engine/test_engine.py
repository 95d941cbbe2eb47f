"""The engine gives what PyTorch gives for small networks, and says clearly where it cannot go.

PyTorch sums batch statistics in memory format channels_last, the one that trainings use, less
precisely than in its ordinary format: four digits agree with double precision there, seven here.
So these tests compare with double precision, or with PyTorch in its ordinary format.
"""

import copy
import dataclasses
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from browser import missing
from torch import nn

from mnist_steps import augment, data, engine, evaluation, recipes, runs, stages, training
from mnist_steps.commands import main
from mnist_steps.engine import compiler, network
from mnist_steps.engine.network import Misfit, Network, describe, lay_out
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import study
from mnist_steps.training import Training

CPU = torch.device("cpu")
SMALL = [stage for stage in stages.STAGES if 3 <= stage.number <= 8]
SEVEN = '#include "{header}"\nOFFERED int seven(void) {{{{ return {{}}; }}}}\n'.format(
    header=Path(compiler.__file__).with_name("network.h")
)
WAYS = ("torch", "engine")
posix = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has other permissions, and keeps what is loaded"
)
numbered = pytest.mark.parametrize("stage", SMALL, ids=lambda stage: f"stage{stage.number}")


@pytest.fixture(autouse=True)
def a_compiler():
    if not list(compiler.compilers()):
        missing("no C compiler to test with")


@pytest.fixture
def other_source(tmp_path, monkeypatch, empty_cache):
    """A cache folder of the test's own, and a tiny source in place of the real ones."""
    source = tmp_path / "seven.c"
    source.write_text(SEVEN.format(7))
    monkeypatch.setattr(compiler, "SOURCES", (source,))
    first = next(compiler.compilers())
    monkeypatch.setattr(compiler, "compilers", lambda: iter([first]))
    forget()
    yield source
    forget()


@pytest.fixture
def no_compiler(monkeypatch, empty_cache):
    forget()
    monkeypatch.setattr(compiler, "compilers", lambda: iter(()))
    yield
    forget()


def forget():
    """What was compiled is looked for again."""
    compiler._library.cache_clear()
    network._function.cache_clear()


class InBlocks(nn.Module):
    """Layers as a Network computes them, for one batch, with gradients for PyTorch to hand out."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        class Compute(torch.autograd.Function):
            @staticmethod
            def forward(_, images, *parameters):
                self.network.load(images)
                self.network.forward()
                return self.network.result()

            @staticmethod
            def backward(_, output_gradient):
                self.network.backward(output_gradient)
                return None, *self.network.gradients

        self.network = Network(list(self.layers), len(images), *images.shape[2:], self.training)
        return Compute.apply(images, *self.parameters())


def with_gradients(module, images, passed_back):
    """The output, then the gradients of the images (where asked for) and of all parameters."""
    output = module(images)
    wanted = [tensor for tensor in (images, *module.parameters()) if tensor.requires_grad]
    return output, *torch.autograd.grad(output, wanted, passed_back)


def assert_close_to_double(ours, exact, tolerance=2e-6):
    """Differences relative to the largest value of each tensor."""
    assert len(ours) == len(exact)
    for mine, other in zip(ours, exact, strict=True):
        error = (mine.double() - other).abs().max() / other.abs().max()
        assert error < tolerance, f"{error:.1e} of the largest value, shape {tuple(other.shape)}"


def assert_as_in_double_precision(images, *layers, added=0.0, tolerance=2e-6):
    """Outputs and all gradients of layers are those of float64. Returns that network.

    A first layer passes the images on, with a number added, and the gradient of its weight shows
    the others' by their input.
    """
    first = nn.Conv2d(images.shape[1], images.shape[1], 1)
    nn.init.dirac_(first.weight)
    nn.init.constant_(first.bias.requires_grad_(False), added)
    assert all(map(describe, layers))
    exact = copy.deepcopy(nn.Sequential(first, *layers)).double()
    passed_back = torch.randn(copy.deepcopy(exact)(images.double()).shape)
    assert_close_to_double(
        with_gradients(InBlocks([first, *layers]), images, passed_back),
        with_gradients(exact, images.double(), passed_back.double()),
        tolerance,
    )
    return exact


def convolutions_of_the_stages():
    """Every different one, and some that no stage has.

    Each as (in channels, out channels, kernel, size of its input, stride, padding, bias).
    """
    found = set()
    for stage in SMALL:
        values = torch.zeros(2, 1, 28, 28)
        for layer in stage.build():
            if isinstance(layer, nn.Conv2d):
                kernel, size = layer.kernel_size[0], values.shape[-1]
                found.add((layer.in_channels, layer.out_channels, kernel, size, 1, 0, False))
            values = layer(values)
    return sorted(found) + [
        (3, 7, 3, 9, 1, 1, True),
        (5, 4, 5, 8, 1, 2, False),
        (64, 128, 3, 7, 1, 0, False),
    ]


# --- One layer ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", convolutions_of_the_stages(), ids=str)
def test_a_convolution_and_its_gradients_are_those_of_double_precision(shape):
    in_channels, out_channels, kernel, size, stride, padding, bias = shape
    torch.manual_seed(0)
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias)
    assert_as_in_double_precision(torch.randn(32, in_channels, size, size), layer)


@pytest.mark.parametrize(
    "size, kernel, stride, padding, dilation",
    [(28, 3, 2, 1, 1), (28, 3, 3, 0, 1), (28, 4, 2, 3, 1), (1, 3, 2, 1, 1), (28, 3, 1, 0, 2),
     (28, 4, 3, 4, 2)],
)  # fmt: skip
def test_a_first_convolution_may_have_a_stride(size, kernel, stride, padding, dilation):
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 6, kernel, stride, padding, dilation)
    exact = copy.deepcopy(layer).double()
    images = torch.randn(16, 1, size, size)
    passed_back = torch.randn(layer(images).shape)
    assert describe(layer)
    assert_close_to_double(
        with_gradients(InBlocks([layer]), images, passed_back),
        with_gradients(exact, images.double(), passed_back.double()),
    )


@pytest.mark.parametrize(
    "channels, kernel, dilation, padding",
    [
        (4, 3, 2, 0), (4, 3, 2, 2), (4, 3, 2, 4), (4, 3, 3, 5), (4, (2, 3), 4, 1),
        (13, 5, 2, 1), (4, 2, 30, 20),  # whose kernel reaches over the map and touches nothing
    ],
    ids=str,
)  # fmt: skip
def test_a_dilated_convolution_is_that_of_double_precision(channels, kernel, dilation, padding):
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 7, kernel, padding=padding, dilation=dilation)
    assert_as_in_double_precision(torch.randn(32, channels, 11, 12), layer)


def test_weights_may_lie_in_memory_either_way():
    torch.manual_seed(0)
    layer, images, outcomes = nn.Conv2d(4, 6, 3), torch.randn(16, 4, 5, 5), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        one = copy.deepcopy(layer).to(memory_format=memory_format)
        output = InBlocks([one])(images)
        (output * output).sum().backward()
        assert one.weight.grad.stride() == one.weight.stride()
        outcomes.append((output, one.weight.grad, one.bias.grad))
    torch.testing.assert_close(*outcomes, rtol=0, atol=0)


@pytest.mark.parametrize("relu", [False, True], ids=["alone", "with_relu"])
@pytest.mark.parametrize("centre", [0, 1000], ids=lambda centre: f"mean{centre}")
def test_batch_normalization_is_that_of_double_precision(relu, centre):
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(10)
    nn.init.uniform_(layer.weight, -1, 1)
    nn.init.uniform_(layer.bias, -1, 1)
    # Multiples of 1/128 up to 1000 are exact in float32: only our sums can err.
    values = (torch.randn(32, 10, 7, 5) * 128).round() / 128
    # Around a mean of 1000, x * scale + shift loses a digit or two, in PyTorch too.
    exact = assert_as_in_double_precision(
        values,
        layer,
        *([nn.ReLU()] if relu else []),
        added=centre,
        tolerance=2e-6 if centre == 0 else 5e-5,
    )
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layer, name).double(), getattr(exact[1], name))
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ReLU(),),
        (nn.ReLU(), nn.ReLU()),
        (nn.MaxPool2d(2), nn.ReLU()),
        (nn.MaxPool2d(2),),
        (nn.MaxPool2d((3, 2)),),
        # Windows that share pixels, and windows with pixels between them.
        (nn.MaxPool2d(2, stride=1),),
        (nn.MaxPool2d(3, stride=(2, 1)), nn.ReLU()),
        (nn.MaxPool2d((1, 2), stride=(3, 4)),),
        (nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d(2, stride=1)),
        (nn.AvgPool2d(3, stride=1),),
        (nn.AvgPool2d(2, stride=3), nn.ReLU()),
        (nn.AvgPool2d(2), nn.ReLU()),
        (nn.AvgPool2d((2, 3)),),
        (nn.AdaptiveAvgPool2d(1),),
        (nn.Conv2d(4, 5, 3), nn.ReLU(), nn.BatchNorm2d(5), nn.ReLU()),
        # Small windows often have no value above 0: such a window gets no gradient.
        (nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d((2, 1)), nn.AdaptiveAvgPool2d(1)),
        (nn.Conv2d(4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    ],
    ids=str,
)
def test_other_layers_are_those_of_double_precision(layers):
    """On maps of 7 rows and 5 columns, where windows leave rows and columns over."""
    torch.manual_seed(0)
    assert_as_in_double_precision(torch.randn(32, 4, 7, 5), *layers)


def test_a_gradient_goes_to_the_first_of_equal_values():
    torch.manual_seed(0)
    images = torch.randint(3, (16, 2, 4, 6)).float()
    assert_as_in_double_precision(images, nn.MaxPool2d(2))


def test_what_is_no_number_stays_none():
    """A training that diverged has to be seen to."""
    images = torch.randn(16, 1, 9, 9)
    images[3, 0, 4, 4] = torch.nan
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)]
    lost = InBlocks(layers)(images).isnan().flatten(1).all(dim=1)
    assert lost.nonzero().tolist() == [[3]]
    layers.insert(1, nn.BatchNorm2d(4))  # spreads it to all images
    assert InBlocks(layers)(images).isnan().all()


# --- Descriptions, perhaps from strangers ---------------------------------------------------

CONVOLUTION = [0, 1, 4, 3, 3, 1, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "numbers, layer, problem",
    [
        ([], -1, "ends inside"),
        ([16, 1, 28, 28, 1], -1, "has no layers"),
        ([16, 1, 28, 28, 1, 0, 1, 4], 0, "ends inside"),
        ([15, 1, 28, 28, 1, *CONVOLUTION], -1, "multiple of 16"),
        ([16, 1, 28, 28, 2, *CONVOLUTION], -1, "setting"),
        ([16, 1, 0, 28, 1, *CONVOLUTION], -1, "whole numbers from 1"),
        ([16, 1, float("nan"), 28, 1, *CONVOLUTION], -1, "whole numbers from 1"),
        ([16, 1, 28.5, 28, 1, *CONVOLUTION], -1, "whole numbers from 1"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 7], 1, "kind"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, -1], 1, "kind"),
        ([16, 2, 28, 28, 1, *CONVOLUTION], 0, "another number of channels"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 1, 5, 0.1, 1e-5], 1, "another number of channels"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 1, 4, 0.1, float("inf")], 1, "setting"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 2, 0, 4, 4, 3, 3, 2, 1, 0, 0, 1, 0], 2, "stride"),
        ([16, 1, 28, 28, 1, 0, 1, 4, 3, 3, 1, 1, 3, 0, 1, 0], 0, "padding"),
        ([16, 1, 28, 28, 1, 0, 1, 4, 3, 3, 1, 2, 5, 0, 1, 0], 0, "padding"),
        ([16, 1, 28, 28, 1, 0, 1, 4, 3, 3, 1, 14, 0, 0, 1, 0], 0, "larger than the map"),
        ([16, 1, 2, 28, 1, *CONVOLUTION], 0, "larger than the map"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 3, 27, 1, 1, 1], 1, "larger than the map"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 3, 0, 1, 1, 1], 1, "whole numbers from 1"),
        ([16, 1, 28, 28, 1, *CONVOLUTION, 3, 2, 2, 0, 1], 1, "whole numbers from 1"),
        ([32752, 1, 28, 28, 1, 0, 1, 12, 3, 3, 1, 1, 0, 0, 1, 0], 0, "memory"),
        ([16, 1, 32767, 32767, 1, *CONVOLUTION], -1, "memory"),
        ([16, 1, 1000, 1000, 1, 0, 1, 11, 1, 1, 1, 1, 0, 0, 0, 0], 0, "memory"),
        ([16, 1, 28, 28, 1, 0, 1, 32767, 28, 28, 1, 1, 27, 27, 1, 0], 0, "memory"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused_with_its_layer_and_why(numbers, layer, problem):
    with pytest.raises(Misfit, match=problem) as refused:
        lay_out(numbers)
    assert refused.value.layer == layer


def test_any_list_of_numbers_is_laid_out_or_refused():
    """Whatever it says; and what is laid out gives out maps of at least one pixel."""
    generator, laid_out = random.Random(0), 0
    sizes = [0, 1, 2, 3, 5, 28, 100, 32767, 1e9, -1, 0.5, float("nan"), float("inf")]
    for _ in range(20_000):
        numbers = [16, 1, 28, 28, 1, *CONVOLUTION, 2, 3, 2, 2, 2, 2, 1, 4, 0.1, 1e-5, *CONVOLUTION]
        for _ in range(generator.randint(0, 3)):
            numbers[generator.randrange(len(numbers))] = generator.choice(sizes)
        try:
            size, shape = lay_out(numbers[: generator.randint(12, len(numbers))])
        except Misfit:
            continue
        laid_out += 1
        assert 0 < size < 2**31 and min(shape) > 0
    assert laid_out > 100


# --- Whole networks -------------------------------------------------------------------------


@numbered
def test_a_network_and_its_gradients_are_those_of_double_precision(stage, few_digits):
    torch.manual_seed(0)
    images = stage.recipe.normalize_train(few_digits.images[:64].float() / 255)
    model = stage.build()
    exact = copy.deepcopy(model).double()
    passed_back = torch.randn(64, 10)
    *layers, flatten, log_softmax = model
    ours = nn.Sequential(InBlocks(layers), flatten, log_softmax)
    found = with_gradients(ours, images, passed_back)
    expected = with_gradients(exact, images.double(), passed_back.double())
    # The bias of a batch normalization that another one follows has the gradient 0.
    meant = [place for place, tensor in enumerate(expected) if tensor.abs().max() > 1e-9]
    assert len(meant) >= len(expected) - 3
    assert_close_to_double(
        [found[place] for place in meant], [expected[place] for place in meant], tolerance=2e-5
    )


def trained_both_ways(stage, steps, digits=None):
    """Losses of the first steps: the engine's, and PyTorch's in its ordinary memory format."""
    plain, quick = (Training(stage, stages.SEED, CPU, digits, engine=way) for way in WAYS)
    plain.model.to(memory_format=torch.contiguous_format)
    return [under_way.train_epoch(max_steps=steps).losses for under_way in (quick, plain)]


@numbered
def test_the_first_steps_are_the_same_both_ways(stage, few_digits):
    stage = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, batch_size=64))
    ours, theirs = trained_both_ways(stage, 3, few_digits)
    assert ((ours - theirs).abs() / theirs <= runs.tolerances(3)).all()


@pytest.mark.slow
def test_fifty_steps_of_stage_8_are_the_same_both_ways():
    ours, theirs = trained_both_ways(stages.get(8), 50)
    relative = (ours - theirs).abs() / theirs
    assert relative[:3].max() < 1e-6
    # From then on each step multiplies what differs, as between two kinds of processors.
    assert (relative[:10] <= runs.tolerances(10)).all()
    assert relative.max() < 5e-2


@pytest.mark.slow
def test_fifty_steps_of_stage_8_stay_by_those_of_double_precision():
    """PyTorch's batch normalization drifts away in single precision; what is exact does not."""
    steps, recipe, split = 50, stages.get(8).recipe, data.mnist().full_train
    quick = Training(stages.get(8), 8, CPU, engine="engine")
    exact = Training(stages.get(8), 8, CPU)
    exact.model.double().to(memory_format=torch.contiguous_format)
    ours = quick.train_epoch(max_steps=steps).losses
    batches = torch.randperm(len(split), generator=exact.generator).split(64)[:steps]
    losses = []
    for chosen, maps in zip(batches, training.moves(batches, recipe, exact.generator), strict=True):
        images = augment.batch_affine(split.images[chosen].float() / 255, maps).double()
        scores = exact.model(recipe.normalize_train(images))
        loss = nn.functional.nll_loss(scores, split.labels[chosen])
        exact.optimizer.zero_grad()
        loss.backward()
        exact.optimizer.step()
        exact.schedule.step()
        losses.append(loss.item())
    relative = (ours - torch.tensor(losses)).abs() / ours
    assert relative[:6].max() < 1e-6 and relative[:10].max() < 1e-3
    assert relative.max() < 2e-2


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4, 5, 8])
def test_a_record_replays_by_the_engine(number):
    # Those of stages 6 and 7 do not, nor do they in PyTorch's ordinary memory format: what their
    # batch statistics differ by, see above, is too much for their first steps.
    assert runs.replay(runs.load(number), engine="engine").ok


@pytest.mark.parametrize("number", [3, 8])
def test_two_threads_give_the_same_as_one(number, few_digits):
    stage = stages.get(number)
    stage = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, batch_size=64))
    outcomes = []
    for threads in (1, 2):
        with training.cpu_threads(threads):
            under_way = Training(stage, 0, CPU, few_digits[:256], few_digits[:100], engine="engine")
            under_way.run_epoch()
            outcomes.append({"losses": under_way.losses[0], **under_way.model.state_dict()})
    torch.testing.assert_close(outcomes[0], outcomes[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.1},
    ],
    ids=str,
)
def test_the_optimizer_and_the_loss_are_those_of_pytorch(settings, few_digits):
    """Nine steps, after three and six of which the optimizer's state was saved and loaded."""
    torch.manual_seed(0)
    split = few_digits[:96]
    model = stages.get(8).build().double()
    exact = torch.optim.SGD(model.parameters(), lr=0.01, **settings)
    ours = copy.deepcopy(model).float()
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01, **settings)
    for _ in range(3):
        trainer = engine.Trainer(ours, optimizer, split, recipes.Normalization(0.25, 0.5))
        for chosen in torch.arange(96).split(32):
            images = (split.images[chosen].double() / 255 - 0.25) / 0.5
            log_probabilities = model(images)
            expected = nn.functional.nll_loss(log_probabilities, split.labels[chosen])
            exact.zero_grad()
            expected.backward()
            exact.step()
            loss, correct = trainer.step(chosen, None)
            assert loss == pytest.approx(expected.item(), rel=1e-5)
            assert correct == (log_probabilities.argmax(dim=1) == split.labels[chosen]).sum()
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(
            value.double(), model.state_dict()[name].double(), rtol=1e-4, atol=1e-4
        )


def test_a_batch_that_is_no_multiple_of_16_goes_pytorchs_way(few_digits):
    stage = dataclasses.replace(
        stages.get(8), recipe=dataclasses.replace(stages.get(8).recipe, batch_size=32)
    )
    ours, theirs = trained_both_ways(stage, 3, few_digits[:88])
    assert ((ours - theirs).abs() / theirs <= runs.tolerances(3)).all()


def test_a_stopped_training_goes_on_to_the_same_result(few_digits, short_stage):
    through, stopped = (
        Training(short_stage, 3, CPU, few_digits, engine="engine") for _ in range(2)
    )
    through.run_epoch(), through.run_epoch()
    stopped.run_epoch()
    later = Training(short_stage, 4, CPU, few_digits, engine="engine")
    later.restore(copy.deepcopy(stopped.state()))
    later.run_epoch()
    assert later.epochs == through.epochs
    torch.testing.assert_close(
        dict(later.model.state_dict()), dict(through.model.state_dict()), rtol=0, atol=0
    )


def test_recorded_weights_recognise_the_same_digits_both_ways():
    run, split = runs.load(8), data.mnist().test[:1050]
    model, normalization = run.build(), run.stage.recipe.normalize_test
    plain = evaluation.log_probabilities(model, split.images, normalization)
    quick = engine.evaluate(model, split.images, normalization)
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)
    assert not torch.equal(quick, plain), "the same way twice"


def test_shifted_images_are_judged_the_same_both_ways(few_digits):
    stage = stages.get(11)
    plain, quick = (
        Training(stage, 3, CPU, few_digits[:128], few_digits[:100], engine=way) for way in WAYS
    )
    quick.model.load_state_dict(plain.model.state_dict())
    torch.testing.assert_close(
        quick.evaluate(final=True).log_probabilities,
        plain.evaluate(final=True).log_probabilities,
        rtol=1e-4,
        atol=1e-5,
    )


# --- Where it does not go -------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 129, 3),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, dilation=(1, 2)),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.MaxPool2d(3, dilation=2),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout(),
    ],
    ids=repr,
)
def test_a_network_with_another_layer_takes_the_ordinary_way(layer):
    def around(layers):
        channels = getattr(layers[-1], "out_channels", 4) if layers else 4
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), *layers, nn.Conv2d(channels, 10, 1), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.LogSoftmax(dim=1),
        )  # fmt: skip

    assert engine.misfit(around([])) is None and engine.misfit(around([layer]))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.double(),
        lambda model: model.to("meta"),
        lambda model: model.conv1.weight.requires_grad_(False),
        lambda model: setattr(model, "gap", nn.AvgPool2d(3)),
        lambda model: setattr(model, "log_softmax", nn.Identity()),
        lambda model: setattr(model, "conv3", model.conv2),
        lambda model: setattr(model.conv3, "weight", model.conv2.weight),
        lambda model: model.conv3.register_forward_hook(lambda *given: None),
        lambda model: nn.utils.parametrizations.weight_norm(model.conv3),
    ],
    ids=[
        "double precision", "another device", "a frozen layer", "larger maps", "other outputs",
        "a layer twice", "weights twice", "a hook", "weights computed from others",
    ],
)  # fmt: skip
def test_a_network_that_is_otherwise_unusual_takes_the_ordinary_way(change):
    model = stages.get(5).build()
    assert engine.misfit(model) is None
    change(model)
    assert engine.misfit(model)


def test_a_layer_without_weights_may_stand_in_a_network_twice(few_digits):
    relu, pool = nn.ReLU(), nn.MaxPool2d(2)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), relu, pool, nn.Conv2d(4, 6, 3), relu, pool, nn.Conv2d(6, 10, 5),
        nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    assert engine.misfit(model) is None
    ways = (engine.evaluate, evaluation.log_probabilities)
    ours, theirs = (way(model, few_digits.images[:32], recipes.TRAIN_PIXELS) for way in ways)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_recipe_whose_batches_do_not_fit_takes_the_ordinary_way():
    stage = stages.get(8)
    recipe = dataclasses.replace(stage.recipe, batch_size=100)
    choice = engine.choose(stage.build(), recipe)
    assert choice.engine == "torch" and "batches of 100 images are no multiple of 16" in choice.line


def test_why_a_network_does_not_fit_is_one_line():
    model = nn.Sequential(stages.get(8).build(), nn.Flatten(), nn.LogSoftmax(dim=1))
    assert engine.misfit(model) == "0, CapacityNet, does what the engine cannot"


def test_of_the_stages_those_with_few_channels_gain():
    gaining = [stage.number for stage in stages.STAGES if engine.misfit(stage.build()) is None]
    assert gaining == [stage.number for stage in stages.STAGES][1:]
    assert "conv4 has 256 channels" in engine.misfit(stages.get(1).build())


def test_a_large_network_trains_as_it_does_without(few_digits):
    stage = stages.get(1)
    plain, quick = (
        Training(stage, 8, CPU, few_digits[:32], few_digits[:32], engine=way)
        for way in ("torch", "auto")
    )
    assert quick.choice.engine == "torch" and "channels" in quick.choice.line
    with pytest.raises(MnistStepsError, match="the engine cannot train this: conv4 has 256"):
        engine.choose(stage.build(), stage.recipe, "engine")
    torch.testing.assert_close(quick.train_epoch().losses, plain.train_epoch().losses)


# --- Compiling ------------------------------------------------------------------------------


def test_who_insists_without_a_compiler_is_told_in_one_line(monkeypatch, capsys, no_compiler):
    monkeypatch.setattr(sys, "argv", ["mnist-steps", "train", "8", "--engine", "engine"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert message.count("\n") == 1 and "no compiler was found" in message and "gcc" in message


def test_without_a_compiler_pytorch_trains_and_one_line_says_why(no_compiler):
    choice = engine.choose(stages.get(8).build(), stages.get(8).recipe)
    assert choice.engine == "torch" and "\n" not in choice.line
    assert choice.line.startswith("computed by PyTorch: the engine is C code, and no compiler")


def test_without_a_folder_to_write_to_pytorch_trains_and_one_line_says_why(other_source):
    blocked = compiler.data.root()
    blocked.write_text("a file where the folder should be")
    choice = engine.choose(stages.get(8).build(), stages.get(8).recipe)
    assert choice.engine == "torch" and "\n" not in choice.line
    assert f"cannot make the folder {blocked}" in choice.line


def test_without_room_to_compile_pytorch_trains_and_one_line_says_why(other_source, monkeypatch):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiler.tempfile, "TemporaryDirectory", full)
    choice = engine.choose(stages.get(8).build(), stages.get(8).recipe)
    assert choice.engine == "torch" and "\n" not in choice.line
    assert "cannot write to" in choice.line and "No space left on device" in choice.line


@posix
def test_what_cannot_be_compiled_is_not_tried_again(other_source, tmp_path, monkeypatch):
    tried = tmp_path / "tried"
    broken = tmp_path / "gcc"
    broken.write_text(f"#!/bin/sh\necho once >> '{tried}'\necho error: no >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(compiler, "compilers", lambda: iter([[str(broken)]]))
    for _ in range(2):
        with pytest.raises(MnistStepsError, match="gcc cannot compile the engine"):
            compiler.library()
    assert len(tried.read_text().splitlines()) == len(compiler.OPTIONS)


def test_only_the_systems_compilers_or_only_the_packages_may_be_asked_for(monkeypatch):
    monkeypatch.setenv("MNIST_STEPS_COMPILER", "system")
    assert not any(compiler.PACKAGE in command for command in compiler.compilers())
    monkeypatch.setenv("MNIST_STEPS_COMPILER", "package")
    assert all(compiler.PACKAGE in command for command in compiler.compilers())


def test_an_unknown_engine_is_named():
    with pytest.raises(MnistStepsError, match="found the engine 'gpu': expected auto, torch, eng"):
        engine.choose(stages.get(8).build(), stages.get(8).recipe, "gpu")


@posix
def test_the_next_compiler_serves_where_the_first_cannot(other_source, tmp_path, monkeypatch):
    broken = tmp_path / "gcc"
    broken.write_text("#!/bin/sh\necho error: no >&2\nexit 1\n")
    broken.chmod(0o700)
    commands = [[str(broken)], *compiler.compilers()]
    monkeypatch.setattr(compiler, "compilers", lambda: iter(commands))
    assert compiler.library().seven() == 7


def test_source_that_does_not_compile_is_reported_in_one_line(other_source):
    other_source.write_text("int seven(void) { return\n")
    with pytest.raises(MnistStepsError, match="cannot compile .*error") as problem:
        compiler.library()
    assert "\n" not in str(problem.value)
    assert not list(compiler.folder().iterdir()), "something half-made was left"


def test_every_compiler_here_takes_the_sources():
    """The first one that does is used: without this, another could refuse them in silence."""
    for command in compiler.compilers():
        plain = [*command, *compiler.FLAGS]
        assert compiler._compiled(plain).is_file(), command


def test_a_second_use_loads_what_the_first_compiled(other_source):
    assert compiler.library().seven() == 7
    (made,) = compiler.folder().iterdir()
    before = made.stat().st_mtime_ns
    compiler._library.cache_clear()
    assert compiler.library().seven() == 7
    assert [path.stat().st_mtime_ns for path in compiler.folder().iterdir()] == [before]


def test_changed_source_is_compiled_anew(other_source):
    compiler.library()
    other_source.write_text(SEVEN.format("8 - 1"))
    compiler._library.cache_clear()
    assert compiler.library().seven() == 7
    assert len(list(compiler.folder().iterdir())) == 2


@posix
def test_a_damaged_or_foreign_file_is_not_loaded(other_source):
    compiler.library()
    (made,) = compiler.folder().iterdir()
    whole = made.read_bytes()
    made.unlink()  # not overwritten: this process has it in use
    made.write_bytes(whole[:1000])
    compiler._library.cache_clear()
    assert compiler.library().seven() == 7
    assert made.read_bytes() == whole


@posix
def test_code_is_kept_where_only_its_owner_can_write(other_source):
    compiler.library()
    place = compiler.folder()
    assert place.stat().st_mode & 0o777 == 0o700
    os.chmod(place, 0o777)
    compiler._library.cache_clear()
    with pytest.raises(MnistStepsError, match="only you can use"):
        compiler.library()


# --- Studies --------------------------------------------------------------------------------


def test_the_engine_does_not_change_what_a_run_is():
    (plain,) = study.tasks_for(stages.get(8), [0], engine="torch")
    (quick,) = study.tasks_for(stages.get(8), [0], engine="engine")
    (usual,) = study.tasks_for(stages.get(8), [0])
    assert (usual.engine, quick.engine, plain.engine) == ("engine", "engine", "torch")
    assert quick.digest == plain.digest


def test_a_run_of_a_study_notes_what_computed_it(few_images, short_stage):
    for way in WAYS:
        (task,) = study.tasks_for(short_stage, [0], arm="short", train_images=128, engine=way)
        assert study.train(task).environment["engine"] == way


def test_runs_are_read_without_a_compiler(monkeypatch):
    monkeypatch.setattr(compiler, "compilers", lambda: pytest.fail("one was looked for"))
    forget()
    assert len(study.Store().outcomes(stages.get(8))) >= 10


# --- Augmentation ---------------------------------------------------------------------------


def test_images_move_as_pytorch_moves_them():
    """Mild and violent maps, so that much, little and nothing of the image stays."""
    images, chosen = data.mnist().full_train.images, torch.arange(100, 200, dtype=torch.int32)
    as_it_is = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(as_it_is.weight)
    network = Network([as_it_is], 100, 28, 28, training=False)
    for transforms in (
        stages.get(8).recipe.augmentation,
        (augment.RandomRotation(180), augment.RandomTranslation(1.0)),
        (augment.RandomCenterCrop(22, 0.5),),
        (),
    ):
        maps = (
            augment.draw(transforms, 100, torch.Generator().manual_seed(3)) if transforms else None
        )
        network.prepare(images, chosen, maps, recipes.Normalization(0.25, 0.5))
        network.forward()
        expected = augment.augment(
            images[100:200].float() / 255, transforms, torch.Generator().manual_seed(3)
        )
        assert torch.allclose(network.result(), (expected - 0.25) / 0.5, atol=2e-5)


# --- Other systems --------------------------------------------------------------------------

SYSTEMS = {
    "Windows": ("x86_64-windows-gnu", "-mcpu=x86_64_v3", b"MZ"),
    "macOS": ("aarch64-macos", "-mcpu=apple_m1", b"\xcf\xfa\xed\xfe"),
    "Linux on ARM": ("aarch64-linux-gnu", "-mcpu=neoverse_n1", b"\x7fELF"),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_it_compiles_for_other_systems(system, tmp_path):
    """With the functions that Python calls on offer. Whether it runs there, that system tests."""
    if find_spec(compiler.PACKAGE) is None:
        missing(f"the package {compiler.PACKAGE} is not installed")
    target, processor, magic = SYSTEMS[system]
    made = tmp_path / "engine"
    sources = [str(path) for path in compiler.SOURCES if path.suffix == ".c"]
    command = [sys.executable, "-m", compiler.PACKAGE, "cc", "-target", target, processor]
    shared = [*compiler.FLAGS, "-Werror", "-shared", "-o", str(made), *sources]
    linked = () if system == "Windows" else ("-fPIC", "-lm")
    done = subprocess.run([*command, *shared, *linked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = made.read_bytes()
    assert content.startswith(magic)
    assert all(f"{name}\0".encode() in content for name in (*network.RETURNED, "forward", "update"))
