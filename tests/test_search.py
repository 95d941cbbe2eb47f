"""What to try for stage 9 can be asked for, keeps to the budget, and never sees a test image."""

import json
import sys

import pytest
import torch
from torch import nn

from mnist_steps import cli, search


def test_a_list_of_layers_becomes_a_network():
    network = search.network(["12@5/2", "pool", "16@3", "average", "10@1"])
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    assert [one.weight.shape for one in convolutions] == [
        (12, 1, 5, 5),
        (16, 12, 3, 3),
        (10, 16, 1, 1),
    ]
    assert [one.stride for one in convolutions] == [(2, 2), (1, 1), (1, 1)]
    assert [one.bias is None for one in convolutions] == [True, True, False]
    kinds = [type(layer) for layer in network]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.ReLU) == 2
    assert network(torch.zeros(2, 1, 28, 28)).exp().sum(dim=1).tolist() == pytest.approx([1, 1])


def test_every_candidate_stays_within_the_budget():
    for candidate in search.CANDIDATES:
        assert candidate.stage.parameters < 8000, candidate.layers
        assert candidate.stage.recipe.epochs <= 15


def test_every_run_is_judged_on_validation_images_and_has_a_name_of_its_own():
    tasks = search.all_tasks([0, 1])
    assert len({task.digest for task in tasks}) == len(tasks) == 2 * len(search.CANDIDATES)
    assert len({(task.arm, task.seed) for task in tasks}) == len(tasks)
    assert {task.judged_on for task in tasks} == {"validation"}


def test_the_command_names_the_runs_that_are_missing(monkeypatch, capsys, tmp_path):
    options = ["--search", "--folder", str(tmp_path), "--seeds", "1", "--dry-run", "--json"]
    monkeypatch.setattr(sys, "argv", ["mnist-steps", "study", *options])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    left = json.loads(capsys.readouterr().out)["left"]
    assert set(left) == {task.name for task in search.all_tasks([0])}
