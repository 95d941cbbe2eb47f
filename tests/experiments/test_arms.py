"""Experiments are data: each network from one line, each run known by name, none twice."""

import pytest
import torch
from torch import nn

from mnist_steps import stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import registry, study
from mnist_steps.experiments.arms import Arm, network

EXPERIMENTS = registry.EXPERIMENTS.values()


def test_a_line_of_layers_becomes_a_network():
    built = network("12@5/2 pool 16@3 average 10@1")
    convolutions = [layer for layer in built if isinstance(layer, nn.Conv2d)]
    assert [one.weight.shape for one in convolutions] == [
        (12, 1, 5, 5),
        (16, 12, 3, 3),
        (10, 16, 1, 1),
    ]
    assert [one.stride for one in convolutions] == [(2, 2), (1, 1), (1, 1)]
    assert [one.bias is None for one in convolutions] == [True, True, False]
    kinds = [type(layer) for layer in built]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.ReLU) == 2
    assert built(torch.zeros(2, 1, 28, 28)).exp().sum(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "word, names",
    [
        ("4@3", ["conv1", "batch_norm1", "relu1"]),
        ("4@3:norm", ["conv1", "batch_norm1"]),
        ("4@3:relu+norm", ["conv1", "relu1", "batch_norm1"]),
        ("4@3:none", ["conv1"]),
        ("4@1", ["point1", "batch_normp1", "relup1"]),
        ("4@map:norm", ["large", "batch_normp1"]),
        ("average 4@1", ["gap", "point1"]),
        ("average 4@1:norm", ["gap", "point1", "batch_normp1"]),
    ],
)
def test_what_follows_a_convolution_stands_behind_its_colon(word, names):
    built = network(word, named=True)
    assert [name for name, _ in built.named_children()] == [*names, "flatten", "log_softmax"]
    scores = word == "average 4@1"
    assert all((one.bias is not None) == scores for one in built if isinstance(one, nn.Conv2d))


@pytest.mark.parametrize(
    "word", ["8x3", "@3", "8@", "8@3/", "8@3:nrom", "8@3:", "8", "pool2", "pool/2", "8@3x"]
)
def test_a_word_that_names_no_layer_is_refused(word):
    with pytest.raises(MnistStepsError, match=f"{word!r} names no layer"):
        network(f"16@3 {word} average 10@1")


def test_a_kernel_as_large_as_the_map_leaves_one_place():
    for layers in ("10@map", "8@3 pool 10@map", "8@4/3 8@3 10@map"):
        assert network(layers)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_windows_may_lie_apart_or_over_each_other():
    built = network("8@3x2 pool/1 4@3/2 6@map")
    assert [layer.dilation for layer in built if isinstance(layer, nn.Conv2d)] == [
        (2, 2), (1, 1), (1, 1),
    ]  # fmt: skip
    assert [layer.stride for layer in built if isinstance(layer, nn.MaxPool2d)] == [1]
    assert built(torch.zeros(2, 1, 28, 28)).shape == (2, 6)


def test_an_arm_knows_its_line_when_its_network_has_one():
    (late,) = (arm for arm in registry.get("search").arms if arm.name == "search-late")
    assert late.layers == "8@3 9@3 12@3 pool 14@3 16@3 14@3 average 10@1"
    assert Arm(None, "itself", stages.get(8)).layers == ""


def test_no_two_runs_of_any_experiment_share_a_file(tmp_path):
    store = study.Store(tmp_path)
    # A finalist's is in both rounds of the search, and the same.
    tasks = {task.digest: task for each in EXPERIMENTS for task in each.tasks([0])}.values()
    own = [task for stage in stages.STAGES for task in study.tasks_for(stage, [0])]
    paths = [store.path(task) for task in tasks if task.arm is not None]
    assert len({*paths, *map(store.path, own)}) == len(paths) + len(own)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_no_committed_run_of_an_experiment_is_stale(experiment):
    """A file there is of today's network and recipe: what refactors them must keep digests."""
    store = study.Store()
    for arm in experiment.arms:
        seeds = store.seeds(arm.stage, arm.name)
        assert seeds, f"{arm.name} was never run"
        made = store.outcomes(arm.stage, arm.name, judged_on=experiment.judged_on)
        assert [outcome.seed for outcome in made] == seeds


def test_every_committed_arm_belongs_to_an_experiment():
    known = {arm.name for each in EXPERIMENTS for arm in each.arms}
    assert {path.parent.name for path in study.STUDIES.glob("*/*/seed-*.json")} <= known
