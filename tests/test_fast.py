"""The fast way for small networks gives what PyTorch gives, and says clearly where it cannot go.

PyTorch sums batch statistics in memory format channels_last, the one that trainings use, less
precisely than in its ordinary format: four digits agree with double precision there, seven here.
So these tests compare with double precision, or with PyTorch in its ordinary format.
"""

import copy
import dataclasses
import os
import shutil
import sys

import pytest
import torch
from browser import missing
from torch import nn

from mnist_steps import augment, cli, data, fast, runs, stages, study, training
from mnist_steps.errors import MnistStepsError
from mnist_steps.fast import FastSequential, compiler
from mnist_steps.training import Training

CPU = torch.device("cpu")
SMALL = [stage for stage in stages.STAGES if 3 <= stage.number <= 8]
numbered = pytest.mark.parametrize("stage", SMALL, ids=lambda stage: f"stage{stage.number}")


@pytest.fixture(autouse=True)
def a_compiler():
    if sys.platform == "win32" or not any(map(shutil.which, compiler.COMPILERS)):
        missing("no C compiler to test with, or none that fast knows how to use")


@pytest.fixture
def other_source(tmp_path, monkeypatch, empty_cache):
    """A cache folder of the test's own, and a tiny source in place of kernels.c."""
    source = tmp_path / "kernels.c"
    source.write_text("int seven(void) { return 7; }\n")
    monkeypatch.setattr(compiler, "SOURCE", source)
    compiler.library.cache_clear()
    yield source
    compiler.library.cache_clear()


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
    """Outputs and all gradients of layers are, once fast, those of float64. Returns that network.

    A first layer passes the images on, with a number added, and the gradient of its weight shows
    the others' by their input.
    """
    first = nn.Conv2d(images.shape[1], images.shape[1], 1)
    nn.init.dirac_(first.weight)
    nn.init.constant_(first.bias.requires_grad_(False), added)
    model = nn.Sequential(first, *layers, nn.Flatten())
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        passed_back = torch.randn_like(copy.deepcopy(model)(images))
    assert type(fast.speed_up(model)) is FastSequential
    assert_close_to_double(
        with_gradients(model, images, passed_back),
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
    return sorted(found) + [(3, 7, 3, 9, 1, 1, True), (5, 4, 5, 8, 1, 2, False)]


# --- One layer ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", convolutions_of_the_stages(), ids=str)
def test_a_convolution_and_its_gradients_are_those_of_double_precision(shape):
    in_channels, out_channels, kernel, size, stride, padding, bias = shape
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias)
    assert_as_in_double_precision(torch.randn(32, in_channels, size, size), layer)


@pytest.mark.parametrize(
    "size, kernel, stride, padding", [(28, 3, 2, 1), (28, 3, 3, 0), (28, 4, 2, 3), (1, 3, 2, 1)]
)
def test_a_first_convolution_may_have_a_stride(size, kernel, stride, padding):
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 6, kernel, stride, padding)
    model = nn.Sequential(layer, nn.Flatten())
    exact = copy.deepcopy(model).double()
    images = torch.randn(16, 1, size, size)
    passed_back = torch.randn(model(images).shape)
    assert type(fast.speed_up(model)) is FastSequential
    assert_close_to_double(
        with_gradients(model, images, passed_back),
        with_gradients(exact, images.double(), passed_back.double()),
    )


def test_weights_may_lie_in_memory_either_way():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten())
    images, outcomes = torch.randn(16, 4, 5, 5), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        one = fast.speed_up(copy.deepcopy(model).to(memory_format=memory_format))
        output = one(images)
        (output * output).sum().backward()
        assert one[0].weight.grad.stride() == one[0].weight.stride()
        outcomes.append((output, one[0].weight.grad, one[0].bias.grad))
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
        (nn.AvgPool2d(2), nn.ReLU()),
        (nn.AvgPool2d((2, 3)),),
        (nn.AdaptiveAvgPool2d(1),),
        (nn.Conv2d(4, 5, 3), nn.ReLU(), nn.BatchNorm2d(5), nn.ReLU()),
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


def test_what_is_no_number_stays_none(few_digits):
    """A training that diverged has to be seen to."""
    model = fast.speed_up(stages.get(5).build())
    images = few_digits.images[:16].float() / 255
    images[3, 0, 14, 14] = torch.nan
    assert model.train()(images).isnan().all(), "batch normalization spreads it to all images"
    with torch.no_grad():
        assert fast.speed_up(stages.get(3).build().eval())(images)[3].isnan().all()


# --- Steps that overlap ---------------------------------------------------------------------


def test_two_batches_may_be_under_way_at_once(few_digits):
    torch.manual_seed(0)
    model = fast.speed_up(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()))
    first, second = (few_digits.images[:32].float() / 255).split(16)
    apart = [
        torch.autograd.grad(model(images).square().sum(), model[0].weight)[0]
        for images in (first, second)
    ]
    outputs = [model(images).square().sum() for images in (first, second)]
    together = [torch.autograd.grad(output, model[0].weight)[0] for output in outputs]
    torch.testing.assert_close(together, apart, rtol=0, atol=0)


def test_weights_that_change_before_the_backward_pass_are_noticed(few_digits):
    model = fast.speed_up(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()))
    output = model(few_digits.images[:16].float()).sum()
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward()


def test_a_second_backward_pass_is_refused_as_by_pytorch(few_digits):
    model = fast.speed_up(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()))
    output = model(few_digits.images[:16].float()).sum()
    output.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        output.backward()


def test_a_layer_that_is_replaced_is_not_used_any_more(few_digits):
    model = fast.speed_up(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()))
    images = few_digits.images[:16].float() / 255
    before = model(images)
    model[0] = nn.Conv2d(1, 4, 3)
    torch.testing.assert_close(model(images), nn.Sequential(*model)(images))
    assert not torch.equal(model(images), before)


# --- Whole networks -------------------------------------------------------------------------


@numbered
def test_a_network_and_its_gradients_are_those_of_double_precision(stage, few_digits):
    torch.manual_seed(0)
    images = training.normalize(few_digits.images[:64].float() / 255, stage.recipe.normalize_train)
    model = stage.build()
    exact = copy.deepcopy(model).double()
    passed_back = torch.randn(64, 10)
    found = with_gradients(fast.speed_up(model), images, passed_back)
    expected = with_gradients(exact, images.double(), passed_back.double())
    assert type(model) is FastSequential
    # The bias of a batch normalization that another one follows has the gradient 0.
    meant = [place for place, tensor in enumerate(expected) if tensor.abs().max() > 1e-9]
    assert len(meant) >= len(expected) - 3
    assert_close_to_double(
        [found[place] for place in meant], [expected[place] for place in meant], tolerance=2e-5
    )


@numbered
def test_parameters_and_their_names_stay_as_they_are(stage):
    model = stage.build()
    before = copy.deepcopy(model.state_dict())
    assert list(model.state_dict()) == list(fast.speed_up(model).state_dict())
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)


def trained_both_ways(stage, steps, digits=None):
    """Losses of the first steps: the fast way, and PyTorch's in its ordinary memory format."""
    plain, quick = (Training(stage, stage.recipe.seed, CPU, digits, fast=way) for way in (0, 1))
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
@pytest.mark.parametrize("number", [3, 4, 5, 8])
def test_a_record_replays_the_fast_way(number):
    # Those of stages 6 and 7 do not, nor do they in PyTorch's ordinary memory format: what their
    # batch statistics differ by, see above, is too much for their first steps.
    assert runs.replay(runs.load(number), fast=True).ok


@pytest.mark.parametrize("number", [3, 8])
def test_two_threads_give_the_same_as_one(number, few_digits):
    stage = stages.get(number)
    stage = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, batch_size=64))
    outcomes = []
    for threads in (1, 2):
        with training.cpu_threads(threads):
            under_way = Training(stage, 0, CPU, few_digits[:256], few_digits[:100], fast=True)
            under_way.run_epoch()
            outcomes.append({"losses": under_way.losses[0], **under_way.model.state_dict()})
    torch.testing.assert_close(outcomes[0], outcomes[1], rtol=0, atol=0)


def test_recorded_weights_recognise_the_same_digits_the_fast_way():
    run = runs.load(8)
    model, normalization = run.build(), run.stage.recipe.normalize_test
    plain = training.evaluate(model, data.mnist().test[:1050], normalization)
    quick = training.evaluate(fast.speed_up(model), data.mnist().test[:1050], normalization)
    torch.testing.assert_close(
        quick.log_probabilities, plain.log_probabilities, rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(quick.log_probabilities, plain.log_probabilities), "the same way twice"


# --- Where it does not go -------------------------------------------------------------------


@pytest.mark.parametrize(
    "count, prepare",
    [
        (24, lambda model: model),
        (16, lambda model: model.double()),
        (16, lambda model: model.batch_norm1.eval()),
    ],
    ids=["24 images", "double precision", "a layer in evaluation mode"],
)
def test_what_does_not_fit_takes_the_ordinary_way(count, prepare, few_digits):
    torch.manual_seed(0)
    model = stages.get(5).build()
    prepare(model)
    images = (few_digits.images[:count].float() / 255).to(next(model.parameters()).dtype)
    plain = with_gradients(copy.deepcopy(model), images, torch.ones(count, 10).to(images))
    quick = with_gradients(fast.speed_up(model), images, torch.ones(count, 10).to(images))
    torch.testing.assert_close(quick, plain, rtol=0, atol=0)


@pytest.mark.parametrize("training_mode", [True, False])
def test_gradients_of_images_come_from_pytorch(training_mode, few_digits):
    model = fast.speed_up(stages.get(5).build()).train(training_mode)
    images = (few_digits.images[:16].float() / 255).requires_grad_()
    model(images).sum().backward()
    assert images.grad.shape == images.shape


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 64, 3),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout(),
    ],
    ids=repr,
)
def test_a_network_with_another_layer_stays_as_it_is(layer):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Flatten())
    assert type(fast.speed_up(model)) is nn.Sequential


def test_of_the_stages_those_with_few_channels_gain():
    fast_ones = [
        stage.number
        for stage in stages.STAGES
        if type(fast.speed_up(stage.build())) is FastSequential
    ]
    assert set(fast_ones) >= {3, 4, 5, 6, 7, 8} and not {1, 2} & set(fast_ones)


# --- Compiling ------------------------------------------------------------------------------


def test_without_a_compiler_one_clear_line_says_so(monkeypatch, capsys, empty_cache):
    compiler.library.cache_clear()
    monkeypatch.setenv("PATH", str(empty_cache))
    monkeypatch.setattr(sys, "argv", ["mnist-steps", "train", "8", "--fast"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert message.count("\n") == 1 and "found no compiler" in message and "gcc" in message
    compiler.library.cache_clear()


def test_source_that_does_not_compile_is_reported_in_one_line(other_source):
    other_source.write_text("int seven(void) { return\n")
    with pytest.raises(MnistStepsError, match="cannot compile kernels.c .*error") as problem:
        compiler.library()
    assert "\n" not in str(problem.value)
    assert not list(compiler.folder().iterdir()), "something half-made was left"


def test_a_second_use_loads_what_the_first_compiled(other_source):
    assert compiler.library().seven() == 7
    (made,) = compiler.folder().iterdir()
    before = made.stat().st_mtime_ns
    compiler.library.cache_clear()
    assert compiler.library().seven() == 7
    assert [path.stat().st_mtime_ns for path in compiler.folder().iterdir()] == [before]


def test_changed_source_is_compiled_anew(other_source):
    compiler.library()
    other_source.write_text("int seven(void) { return 8 - 1; }\n")
    compiler.library.cache_clear()
    assert compiler.library().seven() == 7
    assert len(list(compiler.folder().iterdir())) == 2


def test_a_damaged_or_foreign_file_is_not_loaded(other_source):
    compiler.library()
    (made,) = compiler.folder().iterdir()
    whole = made.read_bytes()
    made.unlink()  # not overwritten: this process has it in use
    made.write_bytes(whole[:1000])
    compiler.library.cache_clear()
    assert compiler.library().seven() == 7
    assert made.read_bytes() == whole


def test_code_is_kept_where_only_its_owner_can_write(other_source):
    compiler.library()
    place = compiler.folder()
    assert place.stat().st_mode & 0o777 == 0o700
    os.chmod(place, 0o777)
    compiler.library.cache_clear()
    with pytest.raises(MnistStepsError, match="only you can use"):
        compiler.library()


# --- Studies --------------------------------------------------------------------------------


def test_fast_does_not_change_what_a_run_is():
    (plain,) = study.tasks_for(stages.get(8), [0])
    (quick,) = study.tasks_for(stages.get(8), [0], fast=True)
    assert quick.fast and not plain.fast
    assert quick.digest == plain.digest


def test_a_study_made_fast_trains_fast(monkeypatch, few_images, short_stage):
    ways = []
    monkeypatch.setattr(fast, "speed_up", lambda model: ways.append(type(model)) or model)
    for way in (False, True):
        (task,) = study.tasks_for(short_stage, [0], arm="short", train_images=128, fast=way)
        study.train(task)
        assert len(ways) == way


# --- Augmentation ---------------------------------------------------------------------------


def test_images_move_as_pytorch_moves_them():
    """Mild and violent maps, so that much, little and nothing of the image stays."""
    images = data.mnist().full_train.images[:100].float() / 255
    for transforms in (
        stages.get(8).recipe.augmentation,
        (augment.RandomRotation(180), augment.RandomTranslation(1.0)),
        (augment.RandomCenterCrop(22, 0.5),),
        (),
    ):
        ours, theirs = (
            move(images, transforms, torch.Generator().manual_seed(3))
            for move in (fast.augment, augment.augment)
        )
        assert torch.allclose(ours, theirs, atol=1e-5)
