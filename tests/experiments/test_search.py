"""What to try for stage 9 can be asked for, keeps to the budget, and never sees a test image."""

import json
import statistics
import sys

import pytest
import simulated

from mnist_steps import pages, stages
from mnist_steps.commands import main
from mnist_steps.experiments import study
from mnist_steps.experiments.search import SEARCH, candidates, groups, tried


def test_every_candidate_stays_within_the_budget():
    for candidate in SEARCH.arms:
        assert candidate.stage.parameters < 8000, candidate.layers
        assert candidate.stage.recipe.epochs <= 15


def test_every_run_is_judged_on_validation_images_and_has_a_name_of_its_own():
    tasks = SEARCH.tasks([0, 1])
    assert len({task.digest for task in tasks}) == len(tasks) == 2 * len(SEARCH.arms)
    assert len({(task.arm, task.seed) for task in tasks}) == len(tasks)
    assert {task.judged_on for task in tasks} == {"validation"}


def test_the_command_names_the_runs_that_are_missing(monkeypatch, capsys, tmp_path):
    options = ["--of", "search", "--folder", str(tmp_path), "--seeds", "1", "--dry-run", "--json"]
    monkeypatch.setattr(sys, "argv", ["mnist-steps", "study", *options])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert not stop.value.code
    left = json.loads(capsys.readouterr().out)["left"]
    assert set(left) == {task.name for task in SEARCH.tasks([0])}


def put(store, candidate, loss, seeds):
    tasks = study.tasks_for(candidate.stage, range(seeds), candidate.name, judged_on="validation")
    for task in tasks:
        store.put(simulated.made_up(task, [99.0, 99.5], loss))


def test_the_table_lists_a_stages_candidates_with_runs_the_lowest_loss_first(tmp_path):
    store = study.Store(tmp_path)
    first, second, third = (each for each in SEARCH.arms[:3])
    other = next(each for each in SEARCH.arms if each.stage.number == 10)
    put(store, first, 0.03, 1)
    put(store, third, 0.01, 2)
    put(store, other, 0.02, 1)
    lines = str(pages.candidates(tried(9, store))).splitlines()
    places = [
        next(number for number, line in enumerate(lines) if each.title in line)
        for each in (third, first)
    ]
    assert places == sorted(places)
    assert "0.0100" in lines[places[0]] and "99.50" in lines[places[0]]
    shown = "\n".join(lines)
    assert second.title not in shown and other.layers not in shown


def test_networks_by_one_recipe_stand_apart_from_recipes_for_two_of_them():
    networks, recipes = groups(tried(9)).values()
    assert len(networks) + len(recipes) == len(candidates(9))
    assert [label.partition(":")[0] for label, _ in networks if ":" in label] == ["wide", "deep"]
    assert {label.partition(":")[0] for label, _ in recipes} == {"wide", "deep"}
    assert "wide: weight decay" in dict(recipes)


def test_the_committed_search_has_a_run_of_every_candidate():
    assert all(made for number in (9, 10) for _, made in SEARCH.outcomes(candidates(number)))


@pytest.mark.parametrize("number", [9, 10])
def test_a_stage_is_the_candidate_with_the_lowest_validation_loss(number):
    chosen, _ = min(
        SEARCH.outcomes(candidates(number)),
        key=lambda each: statistics.fmean(run.epochs["test_loss"][-1] for run in each[1]),
    )
    stage = stages.get(number)
    assert chosen.stage.recipe == stage.recipe
    shapes = [parameter.shape for parameter in chosen.stage.build().parameters()]
    assert shapes == [parameter.shape for parameter in stage.build().parameters()]
