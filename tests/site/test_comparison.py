"""What the comparison page is made of: the same figures as elsewhere, with and without a study."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from simulated import simulate

from mnist_steps import data, runs, stages
from mnist_steps.experiments import study
from mnist_steps.pages import comparison


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Without a study; pages have one."""
    return comparison.entries(study.Store(tmp_path_factory.mktemp("empty")))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """With four runs of stage 8, simulated."""
    store = study.Store(tmp_path_factory.mktemp("studies"))
    for task in study.tasks_for(stages.get(8), range(4)):
        store.put(simulate(task))
    return comparison.entries(store)


def test_the_table_of_stages_has_a_row_for_each_and_links_to_its_page(compared):
    shown = comparison.overview(compared)
    assert [entry.run.stage for entry in compared] == list(stages.STAGES)
    for stage in stages.STAGES:
        assert f'<a href="{stage.page}">{stage.number}. ' in shown.markup


def test_the_table_says_which_stages_are_judged_by_nine_views(compared):
    shown = comparison.overview(compared).text
    assert "The mean of nine shifted views judges stages 9, 10, 11, one view" in shown
    assert "nine" not in comparison.overview(compared[:8]).text


def test_with_a_study_the_table_gives_mean_and_spread(studied):
    text = comparison.overview(studied).text
    expected = [outcome.test_accuracies[-1] for outcome in studied[7].outcomes]
    row = next(line for line in text.splitlines() if line.startswith("8. "))
    found = re.search(r"([\d.]+) ± ([\d.]+) \(4\)", row)
    assert float(found[1]) == pytest.approx(np.mean(expected), abs=0.0051)
    assert float(found[2]) == pytest.approx(np.std(expected, ddof=1), abs=0.0051)
    assert "–" in next(line for line in text.splitlines() if line.startswith("7. "))


def test_with_a_study_curves_have_a_band_from_the_least_to_the_most(studied, compared):
    content, _ = comparison.describe(studied)
    spread = content["stages"][7]["study"]
    finals = [outcome.test_accuracies[-1] for outcome in studied[7].outcomes]
    assert (spread["low"][-1], spread["high"][-1]) == (min(finals), max(finals))
    assert content["stages"][6]["study"] is None
    assert all(stage["study"] is None for stage in comparison.describe(compared)[0]["stages"])


def test_the_sheet_holds_the_digits_that_each_stage_got_wrong(compared):
    content, sheet = comparison.describe(compared)
    image = Image.open(io.BytesIO(base64.b64decode(sheet))).convert("RGBA")
    ink = np.array(image)[..., 3]
    test = data.mnist().test
    columns, side = content["sheet"]["columns"], content["sheet"]["side"]
    for stage in content["stages"]:
        run = runs.load(stage["number"])
        wrong = {content["digits"][index][0]: taken for index, taken in stage["wrong"]}
        assert len(wrong) == int((run.predictions.long() != test.labels).sum())
        assert all(int(run.predictions[position]) == taken for position, taken in wrong.items())
    for index, (position, label) in enumerate(content["digits"]):
        assert label == int(test.labels[position])
        top, left = side * (index // columns), side * (index % columns)
        shown = ink[top : top + side, left : left + side].astype(int)
        assert abs(shown - test.images[position, 0].numpy().astype(int)).max() <= 16


def test_source_in_the_data_cannot_end_the_script_that_holds_it(compared, monkeypatch):
    monkeypatch.setattr(comparison.inspect, "getsource", lambda _: "</script><b>")
    markup = comparison.two_stages(compared).markup
    held = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', markup, re.DOTALL)[1]
    assert json.loads(held)["stages"][0]["source"] == "</script><b>"
