"""How a network is judged: which images it sees, and what its answers count."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mnist_steps import data, evaluation, recipes
from mnist_steps.evaluation import Evaluation


class Watched(nn.Module):
    """Gives the log-softmax of ten pixels, and keeps how it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x):
        self.asked.append((len(x), self.training, torch.is_inference_mode_enabled()))
        return x[:, 0, 14, 9:19].log_softmax(dim=1)


def test_a_network_is_asked_in_batches_in_evaluation_mode_and_about_normalized_images():
    images, network = data.mnist().test.images[:250], Watched().train()
    found = evaluation.log_probabilities(network, images, recipes.TEST_PIXELS)
    assert network.asked == [(100, False, True), (100, False, True), (50, False, True)]
    pixels = (images[:, 0, 14, 9:19] / 255 - 0.1325) / 0.3104
    torch.testing.assert_close(found, pixels.log_softmax(dim=1))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, -1), (2, 1), (-1, 2)])
def test_images_move_by_whole_pixels_and_paper_comes_in(down, right):
    images = data.mnist().test.images[:3].clamp(min=1)  # no paper, which is what comes in
    moved = evaluation.shifted(images, down, right)
    expected = torch.zeros_like(images)
    for row in range(28):
        for column in range(28):
            if 0 <= row - down < 28 and 0 <= column - right < 28:
                expected[:, :, row, column] = images[:, :, row - down, column - right]
    assert moved.dtype == images.dtype and torch.equal(moved, expected)


def test_several_views_are_judged_by_their_mean_beside_the_one_that_is_not_moved():
    split, seen = data.mnist().test[:5], []
    recipe = dataclasses.replace(recipes.LR_SCHEDULER, test_shifts=2)

    def compute(model, images, normalization):
        assert model == "the network" and normalization == recipe.normalize_test
        seen.append(images)
        return (images[:, 0, 14, 9:19].float() / 255).log_softmax(dim=1)

    alone = evaluation.evaluate("the network", split, recipe, compute=compute)
    assert len(seen) == 1 and torch.equal(seen[0], split.images) and alone.one_view is None

    judged = evaluation.evaluate("the network", split, recipe, final=True, compute=compute)
    views = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    for images, (down, right) in zip(seen[1:], views, strict=True):
        assert torch.equal(images, evaluation.shifted(split.images, down, right))
    each = [compute("the network", images, recipe.normalize_test) for images in seen[1:26]]
    mean = torch.stack(each).mean(dim=0).log_softmax(dim=1)
    torch.testing.assert_close(judged.log_probabilities, mean)
    assert torch.equal(judged.one_view.log_probabilities, alone.log_probabilities)
    for one in (judged, judged.one_view, alone):
        assert torch.equal(one.labels, split.labels)


def test_a_loss_is_a_mean_over_images_and_an_accuracy_percent_of_them():
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.25, 0.25, 0.5]])
    judged = Evaluation(shares.log(), torch.tensor([0, 2, 2]))
    assert judged.predictions.tolist() == [0, 1, 2]
    assert judged.accuracy == pytest.approx(200 / 3)
    assert judged.loss == pytest.approx(-(math.log(0.7) + math.log(0.2) + math.log(0.5)) / 3)


def test_normalized_pixels_have_a_mean_of_0_and_a_spread_of_1():
    pixels = torch.tensor([0.1325, 0.1325 + 0.3104])
    torch.testing.assert_close(recipes.TEST_PIXELS(pixels), torch.tensor([0.0, 1.0]))
