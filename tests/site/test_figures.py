"""A figure shows all that it is given, or says that it cannot."""

import dataclasses
import re

import pytest

from mnist_steps import figures, receptive_field, runs, stages
from mnist_steps.errors import MnistStepsError


def test_each_run_has_a_line_of_its_own_or_the_figure_is_refused():
    made = [runs.load(number) for number in (8, 7, 6, 5, 4, 3)]
    svg = figures.learning_rates(made).svg
    assert all(f"stage {run.stage.number}" in svg for run in made)
    colours = ("muted", "accent", "test", "train", "wrong", "ink")
    lines = [f"stroke: var(--figure-{colour}" for colour in colours]
    assert all(line in svg for line in lines)
    with pytest.raises(MnistStepsError, match="found 7 lines .* at most 6"):
        figures.learning_rates([*made, runs.load(2)])


def test_each_network_has_a_line_of_its_own_or_the_figure_is_refused():
    analyses = {
        f"net {number}": receptive_field.analyze(stages.get(number).build(), (1, 28, 28))
        for number in range(1, 7)
    }
    with pytest.raises(MnistStepsError, match="found 6 lines .* at most 5"):
        figures.growth(analyses, 28)
    del analyses["net 6"]
    svg = figures.growth(analyses, 28).svg
    assert all(name in svg for name in analyses)


def test_a_part_has_the_same_colour_in_all_bars_or_the_figure_is_refused():
    svg = figures.step_parts({"a": {"load": 1.0, "forward": 2.0}, "b": {"forward": 1.0}}).svg
    # Once in the legend, and once in each bar that has the part.
    assert svg.count("fill: var(--figure-grid") == 2 and svg.count("fill: var(--figure-train") == 3
    with pytest.raises(MnistStepsError, match="found 7 lines or parts .* at most 6"):
        figures.step_parts({"a": {f"part {number}": 1.0 for number in range(7)}})


def test_curves_have_the_same_axes_unless_a_run_would_leave_them():
    usual = runs.load(8)
    better = dataclasses.replace(usual.epochs[-1], train_accuracy=99.9, train_loss=0.004)
    beyond = dataclasses.replace(usual, epochs=(*usual.epochs[:-1], better))
    perfect = dataclasses.replace(better, train_accuracy=100.0, train_loss=0.0)
    for run, marks in (
        (usual, (False, False)),
        (beyond, (True, True)),
        (dataclasses.replace(usual, epochs=(*usual.epochs[:-1], perfect)), (True, True)),
    ):
        svg = figures.curves(run).svg
        assert (">99.8</text>" in svg, ">0.005</text>" in svg) == marks
        assert ">99.5</text>" in svg and ">0.02</text>" in svg


def test_text_in_a_figure_is_text():
    svg = figures.curves(runs.load(8)).svg
    (shown,) = re.findall(r"<text ([^>]*)>epoch</text>", svg)[:1]
    assert "var(--figure-ink" in shown and "system-ui" in shown and "DejaVu" not in svg
