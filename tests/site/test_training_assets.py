"""What the Lab's training brings into the site: digits and their digests, curves, the frontier."""

import gzip
import hashlib
from pathlib import Path

import pytest
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

from mnist_steps import data, runs, stages
from mnist_steps.experiments import frontier, study
from site_tools import made, training_assets


def test_each_digits_file_is_what_the_list_says_once_unpacked():
    listed = training_assets.digits()
    assert {file["name"]: file["sha256"] for file in listed} == data.CHECKSUMS
    for file in listed:
        packed = (made.ROOT / "mnist_steps" / "mnist" / f"{file['name']}.gz").read_bytes()
        content = gzip.decompress(packed)
        assert (len(packed), len(content)) == (file["packed"], file["unpacked"])
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_the_site_gets_the_packages_files_the_list_and_the_records(tmp_path, monkeypatch):
    (tmp_path / "made").mkdir()
    for name in ("files.json", "records.json"):
        (tmp_path / "made" / name).write_text("[]")
    monkeypatch.setattr(made, "kept", lambda *_: tmp_path / "made")
    config = MkDocsConfig(config_file_path=str(made.ROOT / "mkdocs.yml"))
    (tmp_path / "docs").mkdir()
    folders = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site")}
    config.load_dict({"site_name": "any", **folders})
    assert config.validate() == ([], [])
    config.plugins._current_plugin = None  # MkDocs sets it before it calls a hook
    found = training_assets.on_files(Files([]), config)
    assert {file.src_uri: Path(file.abs_src_path).name for file in found} == {
        "assets/lab/records.json": "records.json",
        "assets/mnist/files.json": "files.json",
        **{f"assets/mnist/{name}.gz": f"{name}.gz" for name in data.CHECKSUMS},
    }


@pytest.fixture(scope="module")
def recorded():
    return training_assets.recorded()


def test_a_curve_is_the_records_by_one_view(recorded):
    assert [stage["number"] for stage in recorded["stages"]] == list(range(3, 12))
    for curve in recorded["stages"]:
        run = runs.load(curve["number"])
        assert (curve["parameters"], curve["seed"]) == (run.stage.parameters, run.seed)
        assert len(curve["test"]) == len(curve["train"]) == len(run.epochs)
        for found, epoch in zip(curve["test"], run.epochs, strict=True):
            one = epoch.one_view_accuracy
            assert found == round(epoch.test_accuracy if one is None else one, 2)
        places = [place for place, _ in curve["loss"]]
        assert places == sorted(places) and 0 < places[0] and places[-1] < len(run.epochs)
        assert len(places) <= training_assets.POINTS
        mean = sum(step.loss for step in run.steps) / len(run.steps)
        shown = sum(loss for _, loss in curve["loss"]) / len(places)
        assert shown == pytest.approx(mean, rel=0.02)


def test_the_frontier_has_the_stages_and_the_family_with_how_they_were_judged(recorded):
    points = {point["label"]: point for point in recorded["frontier"] if point["label"]}
    assert list(points) == [f"stage {number}" for number in training_assets.STAGES]
    store = study.Store()
    for number in (8, 11):
        stage = stages.get(number)
        mean = store.summary(stage).mean
        way = "nineViews" if stage.recipe.test_shifts else "oneView"
        assert points[f"stage {number}"][way] == pytest.approx(mean, abs=1e-3)
    assert points["stage 8"]["nineViews"] is None
    family = [arm.stage.parameters for arm in frontier.FAMILY if arm.name]
    assert [one["parameters"] for one in recorded["frontier"] if not one["label"]] == family
