"""The rungs to stage 11 change one thing each, and their study can be asked for."""

import json
import sys
from dataclasses import fields

import pytest

from mnist_steps import stages
from mnist_steps.commands import main
from mnist_steps.experiments import study
from mnist_steps.experiments.ladder import LADDER

RUNGS = LADDER.arms


def settings(stage):
    """All that decides a training, by name."""
    recipe = {field.name: getattr(stage.recipe, field.name) for field in fields(stage.recipe)}
    return {"model": stage.model, **recipe}


def changes(before, after):
    old, new = settings(before), settings(after)
    return {name for name in old if old[name] != new[name]}


def test_the_first_rung_is_a_shorter_stage_8_and_the_last_stage_11():
    first, last = RUNGS[0], RUNGS[-1]
    assert changes(stages.get(8), first.stage) <= {"epochs", "normalize_test"}
    assert last.name is None and last.stage == stages.get(11)


def test_each_rung_changes_one_thing():
    assert [
        changes(before.stage, after.stage) for before, after in zip(RUNGS, RUNGS[1:], strict=False)
    ] == [{"schedule"}, {"batch_size", "schedule"}, {"model"}, {"augmentation"}, {"test_shifts"}]


def test_every_rung_stays_within_the_budget():
    assert all(rung.stage.parameters < 8000 for rung in RUNGS)


def test_rungs_have_runs_of_their_own():
    tasks = LADDER.tasks([0, 1])
    assert len({task.digest for task in tasks}) == len(tasks) == 2 * len(RUNGS)
    assert all(task.engine == "engine" and task.judged_on == "test" for task in tasks)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["mnist-steps", "study", "--folder", str(tmp_path), *arguments]
        )
        with pytest.raises(SystemExit) as stop:
            main.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_a_study_of_the_ladder_names_what_is_missing(command, tmp_path):
    status, out, _ = command("--of", "ladder", "--seeds", "1", "--dry-run", "--json")
    left = json.loads(out)["left"]
    assert status == 0 and set(left.values()) == {"missing"}
    assert set(left) == {task.name for task in LADDER.tasks([0])}


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--of", "stairs"), "are ablation, causes, ladder, search, finals, frontier"),
        (("--of", "ladder", "--stages", "8"), "Leave one out"),
        (("--of", "ladder", "--seeds", "0"), "names no seeds"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(command, arguments, complaint):
    status, _, err = command(*arguments, "--dry-run")
    assert status == 2 and complaint in err and err.count("\n") == 1


def test_each_rungs_runs_are_found_by_its_name(tmp_path):
    store = study.Store(tmp_path)
    assert [rung for rung, _ in LADDER.outcomes(store=store)] == list(RUNGS)
    assert all(outcomes == [] for _, outcomes in LADDER.outcomes(store=store))
