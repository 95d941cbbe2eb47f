"""Pictures of networks, signals and steps: they say what PyTorch counts and computes."""

import itertools
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mnist_steps import data, figures, receptive_field, runs, stages
from mnist_steps.experiments.arms import network
from mnist_steps.figures import networks, style

# --- Networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.slug)
def test_a_networks_columns_hold_all_its_parameters_and_multiplications(stage):
    columns = networks.columns_of(stage.build())
    assert sum(column.parameters for column in columns) == stage.parameters
    model = stage.build().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, 28, 28))
    # torch counts a multiplication and an addition as two operations.
    counted = counter.get_total_flops() // 2
    assert sum(column.multiplications for column in columns) == counted


def test_a_network_picture_shows_every_layer_with_its_field_and_squares_to_scale():
    stage = stages.get(8)
    picture = figures.network(stage)
    markup = picture._repr_html_()
    columns = networks.columns_of(stage.build())
    for column in columns:
        assert f">{column.name}</text>" in markup and str(column) in picture.alt
    areas = [
        float(found[1]) * float(found[2])
        for figure in picture.figures
        for found in re.finditer(
            r'<rect [^>]*width="([\d.]+)" height="([\d.]+)" style="[^"]*fill-opacity', figure.svg
        )
    ]
    weighed = [column.parameters for column in columns if column.parameters]
    for area, parameters in zip(areas, weighed, strict=True):
        assert area / areas[-2] == pytest.approx(parameters / weighed[-2], rel=0.02)


def test_what_changed_between_two_networks_has_another_colour():
    picture = figures.network_change(stages.get(6), stages.get(7))
    orange = "fill: var(--figure-train"
    now = "".join(one.svg for one in picture.figures if "now" in one.alt)
    assert now.count(orange) == 4  # conv5, conv6, conv7, point2
    same = figures.network_change(stages.get(7), stages.get(8))
    assert orange not in "".join(one.svg for one in same.figures)


def test_a_kernel_whose_weights_lie_apart_says_how_far():
    model = network("4@3 4@3x2 4@3 average 10@1", named=True)
    notes = [column.notes for column in networks.columns_of(model)]
    assert [found[:1] for found in notes[:3]] == [["norm"], ["2 apart"], ["norm"]]
    picture = figures.network(model)
    assert "conv2 4×22×22, kernel 3×3, weights 2 apart" in picture.alt
    assert sum(one.svg.count(">2 apart<") for one in picture.figures) == 1


def test_a_network_with_branches_says_where_each_layer_takes_its_maps_from():
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(1, 4, 3, padding=1)
            self.second = torch.nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            return torch.relu(x + self.second(x))

    columns = {column.name: column for column in networks.columns_of(Residual())}
    assert columns["add"].sources == ("first", "second")
    picture = figures.network(Residual())
    assert "add 4×28×28, takes first and second" in picture.alt
    assert all(f">← {name}</text>" in picture._repr_html_() for name in ("first", "second"))


def test_labels_of_lines_that_end_together_stand_apart():
    analyses = {
        f"stage {number}": receptive_field.analyze(stages.get(number).build(), (1, 28, 28))
        for number in (1, 2, 3, 8)
    }
    svg = figures.growth(analyses, 28).svg
    heights = sorted(map(float, re.findall(r'y="([\d.]+)"[^>]*>stage \d', svg)))
    assert len(heights) == len(analyses)
    assert min(b - a for a, b in itertools.pairwise(heights)) > 9


def test_labels_are_moved_no_further_than_they_must():
    assert style.apart([3.0, 1.0], 0.5) == [3.0, 1.0]
    assert style.apart([1.0, 1.0, 1.2], 0.5) == [1.0, 1.5, 2.0]


# --- Signals and steps ---------------------------------------------------------------------------


def test_the_signal_at_the_start_is_what_a_forward_and_a_backward_pass_give():
    found = figures.signal_at_start(stages.get(3), count=16)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = stages.get(3).build()
    some = data.mnist().full_train[:16]
    signal = (some.images.float() / 255 - 0.1307) / 0.3081
    spreads = []
    for name, layer in model.named_children():
        signal = layer(signal)
        if name.startswith("conv"):
            spreads.append(signal.std().item())
    loss = torch.nn.functional.nll_loss(signal, some.labels)
    loss.backward()
    assert found.activations == pytest.approx(spreads, rel=1e-4)
    last = model.conv9.weight.grad
    assert found.gradients[-1] == pytest.approx((last**2).mean().sqrt().item(), rel=1e-4)
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)


def test_one_step_starts_along_its_own_tangent():
    step = figures.one_step(stages.get(8), rate=1e-4, reach=4, count=8)
    measured = (step.losses[1] - step.losses[0]) / step.rates[1]
    assert measured == pytest.approx(step.slope, rel=0.1)
    assert step.after == step.losses[step.rates.index(step.rate)] < step.before


def test_the_loss_of_guessing_is_marked_beside_the_first_steps():
    run = runs.load(4)
    figure = figures.loss_by_step([run], steps=50)
    assert "−log(1/10) = 2.303" in figure.svg and "stage 4" in figure.svg
    fell = next(i for i, step in enumerate(run.steps, 1) if step.loss < 2.302585 / 2)
    assert f"stage 4 falls below half of that first at step {fell}" in figure.alt
