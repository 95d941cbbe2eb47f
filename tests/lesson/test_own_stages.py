"""Stages of our own, which the original does not have: everything copes without claim and record.

A made-up one is appended to the real stages. Its evidence is a study of three simulated runs.
"""

import contextlib
import json
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from simulated import TinyNet, simulate
from torch.nn import functional as F

from mnist_steps import data, pages, runs, stages, training
from mnist_steps.commands import runs as commands
from mnist_steps.errors import MnistStepsError, RecordMismatch
from mnist_steps.experiments import study
from mnist_steps.pages import comparison
from mnist_steps.recipes import SGD, Recipe
from mnist_steps.stages import Stage
from site_tools import packing

ROOT = Path(__file__).parents[2]

RECIPE = replace(
    stages.get(8).recipe,
    epochs=3,
    optimizer=SGD(lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.002),
)
OWN = Stage(number=90, slug="90_made_up", title="Made up", model=TinyNet, recipe=RECIPE)
SECONDS = (10.0, 12.0, 14.3)


@contextlib.contextmanager
def with_own_stage():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "STAGES", (*stages.STAGES, OWN))
        yield


def fill(folder):
    store = study.Store(folder)
    for task, seconds in zip(study.tasks_for(OWN, range(3)), SECONDS, strict=True):
        store.put(replace(simulate(task), seconds=seconds))
    return store


@pytest.fixture
def own():
    """The stage, as long as the test runs."""
    with with_own_stage():
        yield OWN


@pytest.fixture
def store(own, tmp_path, monkeypatch):
    """A store with three runs of the stage and nothing else, in place of the package's own."""
    monkeypatch.setattr(study.Store.__init__, "__defaults__", (tmp_path / "studies",))
    monkeypatch.setattr(study, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(study.OURS, "folder", tmp_path / "studies")
    return fill(tmp_path / "studies")


@pytest.fixture(scope="module")
def trained():
    """The stage after a real training, on few images."""
    return training.fit(OWN, seed=1, device="cpu", train_split=data.mnist().full_train[:2048])


def row(text, beginning):
    (line,) = (line for line in str(text).splitlines() if beginning in line)
    return re.split(r"\s{2,}|\s*│\s*", line.strip("│ "))


# --- The recipe -----------------------------------------------------------------------------


def test_settings_at_their_default_leave_no_trace_in_a_recipes_description():
    """Digests of all records and runs rest on it."""
    described = stages.get(8).recipe.as_data()["optimizer"]
    assert described == {"name": "SGD", "lr": 0.01, "momentum": 0.9}
    table = str(pages.recipe(stages.get(8)))
    assert "SGD(lr=0.01, momentum=0.9)" in table


def test_settings_beside_their_default_are_described_shown_and_read_back():
    described = RECIPE.as_data()
    assert described["optimizer"] == {
        "name": "SGD", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.002
    }  # fmt: skip
    assert Recipe.from_data(json.loads(json.dumps(described))) == RECIPE
    shown = "SGD(lr=0.01, momentum=0.9, weight_decay=0.002, nesterov=True)"
    assert shown in str(pages.recipe(OWN))


@pytest.mark.parametrize("decay", [0.0, 0.002])
@pytest.mark.parametrize("nesterov, share", [(False, 1), (True, 1.9)])
def test_a_training_steps_as_the_settings_say(few_digits, nesterov, share, decay):
    """First step from rest: the gradient, with Nesterov's momentum 0.9 of it more."""
    optimizer = SGD(lr=0.01, momentum=0.9, nesterov=nesterov, weight_decay=decay)
    recipe = replace(RECIPE, optimizer=optimizer, schedule=None, augmentation=())
    split = few_digits[: recipe.batch_size]
    under_way = training.Training(replace(OWN, recipe=recipe), 0, torch.device("cpu"), split)
    weight = under_way.model[0].weight
    before = weight.detach().clone()
    images = recipe.normalize_train(split.images.float() / 255)
    loss = F.nll_loss(under_way.model(images), split.labels)
    (gradient,) = torch.autograd.grad(loss, weight)
    under_way.train_epoch()
    expected = before - 0.01 * share * (gradient + decay * before)
    assert torch.allclose(weight, expected, rtol=0, atol=1e-7)


# --- The command ----------------------------------------------------------------------------


def test_stages_lists_it_with_its_study_alone(store, mnist_steps_command):
    status, out, _ = mnist_steps_command("stages")
    assert status == 0
    cells = row(out, "90 ")
    assert cells[-5:-2] == ["–"] * 3 and cells[-2] == f"{store.summary(OWN).mean:.2f}"
    status, out, _ = mnist_steps_command("stages", "--json")
    (described,) = (one for one in json.loads(out) if one["number"] == 90)
    assert status == 0
    assert described["claim"] is None and described["record"] is None
    assert described["study"]["seeds"] == 3
    assert described["study"]["seconds"] == pytest.approx(statistics.fmean(SECONDS), abs=0.01)


def test_without_a_study_there_is_none_in_the_list(own, mnist_steps_command):
    _, out, _ = mnist_steps_command("stages", "--json")
    assert json.loads(out)[-1]["study"] is None


def test_a_study_says_how_long_a_run_takes(store, mnist_steps_command):
    arguments = ("study", "--stages", 90, "--seeds", 3, "--dry-run", "--json")
    status, out, _ = mnist_steps_command(*arguments)
    assert status == 0
    (described,) = json.loads(out)["stages"]
    assert [one["seconds"] for one in described["runs"]] == list(SECONDS)
    assert described["study"]["seconds"] == pytest.approx(statistics.fmean(SECONDS), abs=0.01)


def test_a_training_is_shown_without_a_comparison(trained, capsys):
    commands.print_run(trained, as_json=False)
    out = " ".join(capsys.readouterr().out.split())
    assert f"Final test accuracy {trained.final_test_accuracy:.2f} %" in out
    assert "original" not in out


def test_verify_passes_it_over_unless_it_is_named(own, monkeypatch):
    monkeypatch.setattr(runs, "load", lambda number, *_: number)
    monkeypatch.setattr(runs, "check", lambda run, steps: runs.Replay(steps, 0.0, None))
    assert [result.stage.number for result in runs.verify()] == list(range(1, 12))
    monkeypatch.undo()
    with pytest.raises(RecordMismatch, match="stage 90, seed 8: there is no record"):
        runs.verify([90])


def test_a_record_of_it_is_checked_once_there_is_one(
    own, trained, tmp_path, monkeypatch, few_digits
):
    monkeypatch.setattr(data, "TRAIN_SIZE", len(few_digits))
    assert runs.recorded_seeds(OWN, tmp_path) == []
    runs.save(trained, tmp_path)
    assert runs.recorded_seeds(OWN, tmp_path) == [1]
    with pytest.raises(RecordMismatch, match="stage 90, seed 1: the replayed loss at step"):
        runs.verify([90], records=tmp_path)  # a record is of all images, this run is of few


def test_all_records_are_renewed_and_none_is_added(own, monkeypatch, mnist_steps_command):
    made = []
    monkeypatch.setattr(runs, "record", lambda number, *_, **__: made.append(number))
    monkeypatch.setattr(commands, "print_run", lambda run, as_json: None)
    assert mnist_steps_command("record", "--all")[0] == 0
    assert made == list(range(1, 12))


def test_an_export_says_that_there_is_no_record(own, mnist_steps_command, tmp_path):
    status, _, err = mnist_steps_command("export", 90, "--out", tmp_path / "out")
    assert status == 2 and "there is no record" in err and err.count("\n") == 1
    status, _, err = mnist_steps_command("export", 1, "--out", tmp_path / "out")
    assert status == 2 and "90" not in err, "the stages that can be exported have a record"


# --- Pages ----------------------------------------------------------------------------------


def test_its_page_lies_beyond_those_of_the_original():
    assert OWN.page == "beyond/90_made_up.py"
    assert stages.get(8).page == "stages/08_lr_scheduler.py"


def test_its_results_stand_alone(store, trained):
    text = str(pages.results(trained))
    assert "original" not in text and "agree" not in text
    assert row(text, "test accuracy, final epoch")[1:] == [f"{trained.final_test_accuracy:.2f}"]
    assert row(text, "final epoch, mean ± sd of 3 seeds")[1:] == [store.summary(OWN).mean_and_sd]
    assert row(text, "wall time, mean of 3 seeds")[1:] == ["12 s"]


def test_what_compares_with_the_original_refuses_it(own):
    with pytest.raises(MnistStepsError, match="stage 90 is not one of the original's"):
        pages.field_claims(own)


def test_the_index_shows_its_seeds(store):
    summary = store.summary(OWN)
    assert f"Stage 90, Made up, by one view: mean {summary.mean:.3f} %" in pages.every_seed().text


def test_before_it_is_trained_it_has_no_dot_on_the_ladder(own):
    assert "Made up" not in pages.every_seed().text


def test_the_eight_stages_stay_eight(own):
    assert "Made up" not in pages.hero().markup + pages.progress().markup


# --- The comparison -------------------------------------------------------------------------


def test_before_it_has_a_record_it_is_not_compared(store):
    assert [entry.run.stage.number for entry in comparison.entries()] == list(range(1, 12))


@contextlib.contextmanager
def with_record(trained):
    """As if that training were the stage's record."""
    load = runs.load_if_any
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load_if_any", lambda one: trained if one is OWN else load(one))
        yield


def test_it_is_compared_by_its_record(store, trained):
    with with_record(trained):
        compared = comparison.entries()
    shown = comparison.overview(compared)
    columns = row(shown, "90. Made up")
    assert columns[-5:-1] == [
        f"{trained.final_test_accuracy:.2f}", f"{trained.best_test_accuracy:.2f}", "–",
        comparison.describe_study(store.outcomes(OWN)),
    ]  # fmt: skip
    assert '<a href="beyond/90_made_up.py">90. Made up</a>' in shown.markup
    assert 'href="beyond/90_made_up.py">What stage 90 changes' in (
        comparison.two_stages(compared).markup
    )
    content, _ = comparison.describe(compared)
    described = content["stages"][-1]
    assert described["facts"]["the original's best epoch"] is None
    assert described["test"] == [round(epoch.test_accuracy, 2) for epoch in trained.epochs]
    taken = {content["digits"][place][0]: digit for place, digit in described["wrong"]}
    wrong = (trained.predictions != data.mnist().test.labels).nonzero().flatten().tolist()
    assert taken == {position: int(trained.predictions[position]) for position in wrong}
    assert content["chance"]["8-90"] < 1


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory, trained):  # the browser first: without one, nothing is made
    """The comparison as a page of its own."""
    folder = tmp_path_factory.mktemp("site")
    with with_own_stage(), with_record(trained):
        shown = comparison.two_stages(comparison.entries(fill(folder / "studies")))
    script = packing.pack(ROOT / "docs/javascripts/compare/compare.js")
    (folder / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        f"{shown.markup}<script>{script}</script>",
        encoding="utf-8",
    )
    return folder


def test_two_stages_are_compared_though_only_one_has_an_original(visit):
    page = visit("?a=8&b=90", wait_for=".compare-result")
    claimed = page.locator("tr", has_text="the original's best epoch").locator("td")
    assert claimed.all_inner_texts() == ["99.44", "–", ""]
    assert "for stage 90; dashed" in page.locator("figcaption").inner_text()


def test_a_figure_that_neither_stage_has_has_no_row(visit):
    page = visit("?a=90&b=90", wait_for=".compare-result")
    assert page.locator("tr", has_text="parameters").count()
    assert page.locator("tr", has_text="the original's best epoch").count() == 0
