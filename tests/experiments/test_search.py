"""What to try for stage 9 can be asked for, keeps to the budget, and never sees a test image."""

import json
import sys

import pytest
import simulated

from mnist_steps import pages
from mnist_steps.commands import main
from mnist_steps.experiments import study
from mnist_steps.experiments.search import FINALS, SEARCH, candidates, chosen, groups, tried


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
    lines = str(pages.candidates(tried(9, store=store))).splitlines()
    places = [
        next(number for number, line in enumerate(lines) if each.title in line)
        for each in (third, first)
    ]
    assert places == sorted(places)
    assert "0.0100" in lines[places[0]] and "99.50" in lines[places[0]]
    shown = "\n".join(lines)
    assert second.title not in shown and other.layers not in shown


def test_networks_by_one_recipe_stand_apart_from_recipes_and_from_dilated_ones():
    networks, recipes, dilated, finalists = groups(tried(9), tried(9, FINALS)).values()
    assert len(networks) + len(recipes) + len(dilated) == len(candidates(9))
    assert [label.partition(":")[0] for label, _ in networks if ":" in label] == ["wide", "deep"]
    assert {label.partition(":")[0] for label, _ in recipes} == {"wide", "deep"}
    assert "wide: weight decay" in dict(recipes)
    assert all("dilation" in label for label, _ in dilated)
    assert {len(losses) for _, losses in finalists} == {FINALS.seeds}


def test_the_first_round_has_one_seed_of_each_and_the_finals_several(tmp_path):
    store = study.Store(tmp_path)
    finalist = FINALS.arms[0]
    put(store, finalist, 0.02, FINALS.seeds + 1)
    ((first,), (last,)) = (tried(9, each, store) for each in (SEARCH, FINALS))
    assert [one.seed for one in first.runs] == [0]
    assert [one.seed for one in last.runs] == list(range(FINALS.seeds))


def test_the_committed_search_has_all_its_runs():
    for each in (SEARCH, FINALS):
        for arm, made in each.outcomes():
            assert len(made) >= each.seeds, arm.name


@pytest.mark.parametrize("number", [9, 10])
def test_a_stage_is_the_finalist_that_validation_images_chose(number):
    assert chosen(number).adopted
    assert [one.adopted for one in tried(number, FINALS)].count(True) == 1
