"""What stages 9 and 10 are compared with: one family, one recipe, and one view of each image."""

import json
import statistics
from dataclasses import replace

import pytest
from torch import nn

from mnist_steps import figures, frontier, search, stages, study


def kernels(model):
    return [
        (type(layer).__name__, getattr(layer, "kernel_size", None))
        for layer in model
        if not isinstance(layer, nn.BatchNorm2d | nn.ReLU)
    ]


def test_the_family_has_the_layers_of_stage_10_and_other_numbers_of_channels():
    of_stage_10 = kernels(stages.get(10).build())
    for member in frontier.FAMILY:
        assert kernels(member.stage.build()) == of_stage_10, member.layers
        assert member.stage.recipe == stages.get(10).recipe
        assert replace(member.stage, model=stages.get(10).model) == stages.get(10)


def test_the_family_grows_and_each_members_runs_are_named_by_its_parameters():
    counts = [member.stage.parameters for member in frontier.FAMILY]
    assert counts == sorted(set(counts)) and counts[0] < 1000 < 8000 < counts[-1]
    for member, count in zip(frontier.FAMILY, counts, strict=True):
        assert member.arm == (None if count == stages.get(10).parameters else f"frontier-{count}")


def test_the_member_that_is_stage_10_says_so_in_layers_as_well():
    (member,) = (member for member in frontier.FAMILY if member.arm is None)
    described = search.network(member.layers.split())
    shapes = [parameter.shape for parameter in described.parameters()]
    assert shapes == [parameter.shape for parameter in stages.get(10).build().parameters()]


@pytest.mark.parametrize("number", [9, 10])
def test_one_view_trains_as_the_stage_does_and_judges_each_image_once(number):
    stage = stages.get(number)
    single = frontier.one_view(stage)
    assert stage.recipe.test_shifts > 0 == single.recipe.test_shifts
    views = {"test_shifts": stage.recipe.test_shifts, "shifted_epochs": stage.recipe.shifted_epochs}
    assert replace(single, recipe=replace(single.recipe, **views)) == stage


def test_all_runs_are_different_ones_judged_on_test_images():
    tasks = frontier.all_tasks([0, 1])
    assert len({task.digest for task in tasks}) == len(tasks) == 2 * (len(frontier.FAMILY) + 2)
    assert len({(task.number, task.arm, task.seed) for task in tasks}) == len(tasks)
    assert {task.judged_on for task in tasks} == {"test"}


def test_the_command_names_the_runs_that_are_missing(mnist_steps_command, tmp_path):
    options = ["--frontier", "--folder", tmp_path, "--seeds", "1", "--dry-run", "--json"]
    status, out, _ = mnist_steps_command("study", *options)
    assert status == 0
    assert set(json.loads(out)["left"]) == {task.name for task in frontier.all_tasks([0])}


def test_the_members_runs_are_found_by_their_names(tmp_path):
    store = study.Store(tmp_path)
    assert [member for member, _ in frontier.outcomes(store)] == list(frontier.FAMILY)
    assert all(found == [] for _, found in frontier.outcomes(store))


# --- Their figures --------------------------------------------------------------------------


def test_the_frontier_says_what_it_shows():
    family = [(500, [98.0, 98.2]), (4000, [99.4, 99.5])]
    figure = figures.frontier(family, [("stage 8", 7884, [99.3])], [(5854, 99.41)], 99.4)
    for part in ("500: 98.10", "4,000: 99.45", "stage 8 7,884: 99.30", "5,854: 99.41"):
        assert part in figure.alt
    assert "stage 8" in figure.svg.replace("\n", " ")


def test_histories_say_where_the_runs_end():
    runs = [[97.0, 99.3, 99.5], [97.2, 99.2, 99.4]]
    figure = figures.histories(runs, 99.4)
    assert f"{statistics.fmean((99.5, 99.4)):.2f} at the end" in figure.alt
    assert "between 99.40 and 99.50" in figure.alt
    with pytest.raises(ValueError):
        figures.histories([[97.0, 99.3], [97.2]], 99.4)
