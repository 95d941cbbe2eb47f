"""Convolutions with fewer multiplications give what ordinary ones give."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_steps import stages, training
from mnist_steps.engine import winograd
from mnist_steps.engine.winograd import WinogradConv2d

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", range(winograd.SMALLEST, winograd.LARGEST + 1))
def test_outputs_and_gradients_equal_those_of_an_ordinary_convolution(size):
    torch.manual_seed(size)
    images = torch.randn(3, 5, size, size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, dtype=torch.float64, requires_grad=True)

    ours, theirs = winograd.convolve(images, weight), F.conv2d(images, weight)
    torch.testing.assert_close(ours, theirs)
    passed_back = torch.randn_like(theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (images, weight), passed_back),
        torch.autograd.grad(theirs, (images, weight), passed_back),
    )


def test_rounding_in_single_precision_stays_far_below_the_values():
    torch.manual_seed(0)
    images, layer = torch.randn(16, 256, 7, 7), nn.Conv2d(256, 512, 3)
    plain, quick = layer(images), winograd.speed_up(layer)
    fast = quick(images)
    assert type(quick) is WinogradConv2d
    assert (fast - plain).abs().max() < 1e-4 * plain.abs().max()


def test_a_map_of_another_size_takes_the_ordinary_way():
    layer = winograd.speed_up(nn.Conv2d(512, 512, 3))
    images = torch.randn(1, 512, 9, 8)
    assert torch.equal(layer(images), F.conv2d(images, layer.weight, layer.bias))


def test_of_the_stages_only_the_large_layers_of_the_first_gain():
    fast = {
        (stage.number, name)
        for stage in stages.STAGES
        for name, layer in winograd.speed_up(stage.build()).named_modules()
        if isinstance(layer, WinogradConv2d)
    }
    assert fast == {(1, "conv5"), (1, "conv6")}


def test_parameters_their_names_and_their_order_stay_as_they_are():
    plain = stages.get(1).build()
    before = dict(plain.named_parameters())
    quick = winograd.speed_up(plain)
    after = dict(quick.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_a_layer_that_is_used_twice_stays_one_layer():
    layer = nn.Conv2d(512, 512, 3)
    quick = winograd.speed_up(nn.Sequential(layer, nn.Sequential(nn.ReLU(), layer)))
    assert type(quick[0]) is WinogradConv2d and quick[0] is quick[1][1]


@pytest.mark.parametrize("change", [{"stride": 2}, {"padding": 1}, {"dilation": 2}, {"groups": 2}])
def test_a_convolution_of_another_kind_stays_as_it_is(change):
    layer = nn.Conv2d(512, 512, 3, **change)
    assert type(winograd.speed_up(layer)) is nn.Conv2d


@pytest.mark.slow
def test_stage_1_learns_the_same_both_ways(few_digits, monkeypatch):
    stage = stages.get(1)
    stage = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, batch_size=16))
    fast = training.Training(stage, 8, CPU, few_digits[:64]).train_epoch()
    monkeypatch.setattr(winograd, "speed_up", lambda model: model)
    plain = training.Training(stage, 8, CPU, few_digits[:64]).train_epoch()
    torch.testing.assert_close(fast.losses, plain.losses, rtol=1e-5, atol=0)
