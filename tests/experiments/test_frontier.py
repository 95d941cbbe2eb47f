"""What stages 9 and 10 are compared with: one family and one recipe."""

import json

from torch import nn

from mnist_steps import figures, stages
from mnist_steps.experiments import frontier, study
from mnist_steps.experiments.arms import network


def kernels(model):
    return [
        (type(layer).__name__, getattr(layer, "kernel_size", None))
        for layer in model
        if not isinstance(layer, nn.BatchNorm2d | nn.ReLU)
    ]


def test_the_family_has_the_layers_and_the_recipe_of_both_stages():
    of_stage_10 = kernels(stages.get(10).build())
    assert stages.get(9).recipe == stages.get(10).recipe
    for member in frontier.FAMILY:
        assert kernels(member.stage.build()) == of_stage_10, member.title
        assert member.stage.recipe == stages.get(10).recipe


def test_the_family_grows_and_each_members_runs_are_named_by_its_parameters():
    counts = [member.stage.parameters for member in frontier.FAMILY]
    assert counts == sorted(set(counts)) and counts[0] < 1000 and 16_000 < counts[-1] < 20_000
    for member, count in zip(frontier.FAMILY, counts, strict=True):
        assert member.name in (None, f"frontier-{count}")


def test_the_members_that_are_stages_say_so_in_layers_as_well():
    members = [member for member in frontier.FAMILY if member.name is None]
    assert [member.stage.number for member in members] == [10, 9]
    for member in members:
        described = network(member.title)
        shapes = [parameter.shape for parameter in described.parameters()]
        assert shapes == [parameter.shape for parameter in member.stage.build().parameters()]


def test_all_runs_are_different_ones_judged_on_test_images():
    tasks = frontier.FRONTIER.tasks([0, 1])
    arms = [member.name for member in frontier.FAMILY if member.name is not None]
    assert {task.arm for task in tasks} == set(arms)
    assert len({task.digest for task in tasks}) == len(tasks) == 2 * len(arms)
    assert {task.judged_on for task in tasks} == {"test"}


def test_the_command_names_the_runs_that_are_missing(mnist_steps_command, tmp_path):
    options = ["--of", "frontier", "--folder", tmp_path, "--seeds", "1", "--dry-run", "--json"]
    status, out, _ = mnist_steps_command("study", *options)
    assert status == 0
    assert set(json.loads(out)["left"]) == {task.name for task in frontier.FRONTIER.tasks([0])}


def test_the_members_runs_are_found_by_their_names(tmp_path):
    store = study.Store(tmp_path)
    found = frontier.FRONTIER.outcomes(frontier.FAMILY, store)
    assert [member for member, _ in found] == list(frontier.FAMILY)
    assert all(outcomes == [] for _, outcomes in found)


# --- Their figures --------------------------------------------------------------------------


def test_the_frontier_says_what_it_shows():
    family = [(500, [98.0, 98.2]), (4000, [99.4, 99.5])]
    figure = figures.frontier(
        family, [("stage 8", 7884, [99.3])], [frontier.Public("a run", "", 5854, 99.41, None)]
    )
    for part in ("500: 98.100", "4,000: 99.450", "stage 8 7,884: 99.300", "5,854: 99.41"):
        assert part in figure.alt
    assert "stage 8" in figure.svg.replace("\n", " ")
