"""Nothing stops a class: damaged uploads, networks that cost too much, journals, two graders."""

import dataclasses
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from handed_in import (
    GOOD,
    QUICK,
    RULES,
    believing_in_a_jail,
    by_name,
    grade_class,
    with_few_images,
    without_a_jail,
    write_folder,
)

from mnist_steps import graph, stages
from mnist_steps.assignment import (
    checking,
    cost,
    grading,
    inner,
    outputs,
    rebuild,
    recipe_toml,
    seeds,
    submission,
    trainings,
)
from mnist_steps.assignment.findings import shown
from mnist_steps.assignment.rules import Assignment


@pytest.fixture(autouse=True)
def a_jail_that_is_not_needed(monkeypatch):
    believing_in_a_jail(monkeypatch)


# ---- Damaged uploads -----------------------------------------------------------------------------


def damaged_zip(offset_of_directory):
    """A zip whose end says that its directory begins elsewhere."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in GOOD.items():
            archive.writestr(name, text)
    content = bytearray(packed.getvalue())
    struct.pack_into("<I", content, len(content) - 6, offset_of_directory)
    return bytes(content)


NO_NAME = "Zo\U00017000"  # the last, a Tangut letter, has no name in Unicode
DEEP = "a." * 4000 + "a = 1\n"


def from_the_future(monkeypatch, place):
    """As some file systems can have it: written in the year 36812."""
    lstat = Path.lstat

    def later(self):
        found = lstat(self)
        if not self.is_relative_to(place):
            return found
        return os.stat_result((*found[:7], 1 << 40, 1 << 40, 1 << 40))

    monkeypatch.setattr(Path, "lstat", later)


def test_every_damage_is_an_outcome_of_its_own_and_the_others_are_graded(
    grade, tmp_path, monkeypatch
):
    folder = tmp_path / "class"
    write_folder(folder / "good", QUICK)
    (folder / "offset.zip").write_bytes(damaged_zip(0xFFFFFFF0))
    write_folder(folder / NO_NAME, QUICK)
    write_folder(folder / "future", QUICK)
    from_the_future(monkeypatch, folder / "future")
    deep = QUICK["recipe.toml"].replace("batch_size = 64", f"batch_size.{DEEP}")
    write_folder(folder / "deep", QUICK | {"recipe.toml": deep})
    hexadecimal = QUICK["recipe.toml"].replace("= 64", f"= 0x{'f' * 9000}")
    write_folder(folder / "digits", QUICK | {"recipe.toml": hexadecimal})
    due = dataclasses.replace(RULES, due=datetime(2030, 1, 1, tzinfo=UTC))
    graded = grade(due)
    outputs.write(graded, tmp_path / "grades")
    found = by_name(graded)
    assert {name: one.status for name, one in found.items()} == {
        "good": "pass", "future": "pass", NO_NAME: "pass",
        "offset": "ungradable", "deep": "error", "digits": "error",
    }  # fmt: skip
    assert "cannot be unpacked" in found["offset"].findings[0].what
    assert "found a table, expected a whole number" in found["deep"].findings[0].what
    assert "a whole number of 36000 bits" in found["digits"].findings[0].what
    assert found["future"].entry.handed_in is None
    assert not any("broke the grader" in str(one.findings) for one in graded.grades)


@pytest.mark.parametrize("where", ["loading", "checking"])
def test_what_nobody_thought_of_stops_only_the_one_who_did_it(grade, tmp_path, monkeypatch, where):
    write_folder(tmp_path / "class" / "good", QUICK)
    write_folder(tmp_path / "class" / "odd", QUICK | {"REPORT.md": "odd"})
    load, parse = submission.load, recipe_toml.parse

    def break_loading(place):
        return 1 // 0 if place.name == "odd" else load(place)

    def break_checking(text, assignment):
        return 1 // 0 if "odd" in text else parse(text, assignment)

    if where == "loading":
        monkeypatch.setattr(submission, "load", break_loading)
    else:
        odd = QUICK | {"recipe.toml": "# odd\n" + QUICK["recipe.toml"]}
        write_folder(tmp_path / "class" / "odd", odd)
        monkeypatch.setattr(recipe_toml, "parse", break_checking)
    found = by_name(grade())
    assert found["good"].status == "pass"
    assert found["odd"].status == ("ungradable" if where == "loading" else "error")
    assert "broke the grader (ZeroDivisionError" in found["odd"].findings[0].what


def test_foreign_values_can_always_be_shown():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a list" and shown(1 << 99_999) == "a whole number of 100000 bits"
    assert (shown("x"), shown(0.5), shown(True)) == ("'x'", "0.5", "True")


# ---- What a network costs ------------------------------------------------------------------------

POOLS = """
from torch import nn
def build_model():
    return nn.Sequential(nn.Conv2d(1, 64, 1),
                         *[nn.MaxPool2d(56, stride=1, padding=28) for _ in range(12)],
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1))
"""
PADDED = """
from torch import nn
def build_model():
    conv = nn.Conv2d(150, 150, 1, stride=64, padding=64, groups=150, padding_mode="replicate")
    return nn.Sequential(nn.Conv2d(1, 150, 1), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(150, 10), nn.LogSoftmax(1))
"""
NO_WEIGHTS = """
from torch import nn
def build_model():
    return nn.Sequential(nn.AdaptiveAvgPool2d((2, 5)), nn.Flatten(), nn.LogSoftmax(1))
"""
UNREACHED = """
import torch.nn.functional as F
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.pool = nn.AdaptiveAvgPool2d((2, 5))
    def forward(self, x):
        self.conv(x)
        return F.log_softmax(self.pool(x).flatten(1), dim=1)
def build_model():
    return Net()
"""


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (POOLS, "2,896,589,112 multiply-accumulate operations, or as much work as that"),
        (PADDED, "3,769,670 values in all layers' outputs and padded inputs"),
        (NO_WEIGHTS, "cannot learn: it has no weights"),
        (UNREACHED, "cannot learn: no weight reaches its output"),
    ],
)
def test_what_cannot_be_trained_is_told_before_it_is_tried(
    tmp_path, trace_without_jail, model, complaint
):
    folder = write_folder(tmp_path / "one", GOOD | {"model.py": model})
    checked = checking.check(folder, Assignment())
    assert not checked.trainable
    assert any(complaint in finding.what for finding in checked.findings)


def test_an_honest_network_costs_about_what_it_multiplies(tmp_path):
    for number in range(3, 9):
        found = graph.trace(stages.get(number).build(), (1, 28, 28))
        assert found.total_macs < sum(cost.work(found).values()) < 1.15 * found.total_macs
        assert cost.learns(found)


def test_padding_counts_where_it_makes_a_copy():
    from torch import nn

    def kept(**settings):
        model = nn.Sequential(nn.Conv2d(1, 2, 3, **settings))
        return cost.values(graph.trace(model, (1, 28, 28))) - 2 * 28 * 28

    assert kept(padding=1) == kept(padding="same") == 0
    assert kept(padding=1, padding_mode="circular") == 30 * 30
    assert kept(padding="same", padding_mode="reflect") == 30 * 30
    assert kept(padding="valid", padding_mode="reflect") == 2 * (26 * 26 - 28 * 28)


# ---- Limits of a training ------------------------------------------------------------------------


def task_of(files, tmp_path, **changes):
    recipe = recipe_toml.parse(files["recipe.toml"], Assignment())
    found = graph.trace(inner.make_model(files["model.py"]), (1, 28, 28)).as_data()
    task = trainings.task_for("a task", rebuild.read(json.dumps(found)), recipe, 1, 256)
    return dataclasses.replace(task, **changes)


@pytest.mark.slow
def test_a_training_has_a_process_of_its_own_and_gives_what_it_gives_here(tmp_path):
    task = task_of(QUICK, tmp_path)
    apart, here = trainings.perform(task), trainings.make(task)
    assert (apart.losses, apart.test_accuracies) == (here.losses, here.test_accuracies)


@pytest.mark.slow
def test_a_training_that_takes_too_long_is_stopped(tmp_path):
    outcome = trainings.perform(task_of(GOOD, tmp_path, seconds=0.5, train_images=None))
    assert outcome.stopped == "it took longer than 0.00833333 minutes"
    outcome.proven()


@pytest.mark.slow
def test_a_training_that_takes_too_much_memory_is_stopped(tmp_path, monkeypatch):
    code = (
        "from mnist_steps.assignment import trainer, trainings\n"
        "trainings.MOST_BYTES = 512 << 20\ntrainer.main()"
    )
    run = subprocess.run

    def with_little_memory(command, **options):
        return run([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", with_little_memory)
    wide = """
from torch import nn
def build_model():
    return nn.Sequential(nn.Conv2d(1, 500, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(500, 10), nn.LogSoftmax(1))
"""
    small = trainings.perform(task_of(QUICK, tmp_path))
    assert small.stopped is None, "the honest twin"
    at_once = QUICK["recipe.toml"].replace("= 64", "= 256")
    large = trainings.perform(task_of({"model.py": wide, "recipe.toml": at_once}, tmp_path))
    assert "memory" in large.stopped


def test_a_failure_is_the_networks_when_its_twin_succeeds(tmp_path, monkeypatch):
    task = task_of(QUICK, tmp_path)
    made = []

    def apart(one):
        made.append(one.name)
        if one is task or len(failing) > 1:
            raise trainings.TrainingFailed("it failed with RuntimeError: no gradient")
        return None

    monkeypatch.setattr(trainings, "apart", apart)
    failing = ["task"]
    assert "no gradient" in trainings.perform(task).stopped
    assert made == ["a task", "a task, its twin"]
    failing = ["task", "twin"]
    with pytest.raises(trainings.TrainingFailed):
        trainings.perform(task)


def test_the_twin_is_computed_as_the_task_is(tmp_path):
    task = task_of(QUICK, tmp_path)
    for engine in ("torch", "engine"):
        assert trainings.twin(dataclasses.replace(task, engine=engine)).engine == engine


@pytest.mark.slow
def test_the_twin_trains(tmp_path):
    assert trainings.apart(trainings.twin(task_of(QUICK, tmp_path))).stopped is None


def test_a_stopped_training_is_no_points_and_tried_again_with_more_time(
    grade, tmp_path, monkeypatch
):
    write_folder(tmp_path / "class" / "slow", QUICK)
    make = trainings.make

    def too_slow(task):
        raise subprocess.TimeoutExpired("it", task.seconds)

    monkeypatch.setattr(trainings, "apart", too_slow)
    (stopped,) = grade().grades
    assert (stopped.status, stopped.points) == ("error", 0)
    assert "longer than 240 minutes" in stopped.findings[0].what
    monkeypatch.setattr(trainings, "apart", make)
    (again,) = grade().grades
    assert again.status == "error", "known by now"
    (finished,) = grade(dataclasses.replace(RULES, minutes=241)).grades
    assert finished.status == "pass"


# ---- Seeds ---------------------------------------------------------------------------------------


def test_seeds_have_63_bits_and_are_drawn_once_by_graders_that_start_together(tmp_path):
    together = threading.Barrier(8)

    def drawn(_):
        together.wait()
        return tuple(grading.seeds_of(tmp_path / "out", 3))

    with ThreadPoolExecutor(8) as graders:
        assert len(set(graders.map(drawn, range(8)))) == 1
    kept = grading.seeds_of(tmp_path / "out", 20)
    assert 1 << 55 < max(kept) < 1 << 63 and len(set(kept)) == 20
    assert os.listdir(tmp_path / "out") == ["seeds.json"]


def test_what_a_run_starts_from_says_nothing_about_other_runs(tmp_path):
    def start_of(secret, model=QUICK["model.py"], recipe=QUICK["recipe.toml"]):
        found = graph.trace(inner.make_model(model), (1, 28, 28)).as_data()
        network = rebuild.read(json.dumps(found))
        parsed = recipe_toml.parse(recipe, Assignment())
        return seeds.seed_of_run(secret, network, parsed)

    wider = QUICK["model.py"].replace("144", "225").replace("4, 5,", "9, 5,").replace("=4", "=5")
    slower = QUICK["recipe.toml"].replace("0.01", "0.02")
    starts = [
        start_of(7), start_of(7 + (1 << 32)), start_of(7 + (1 << 62)),
        start_of(7, model=wider), start_of(7, recipe=slower),
    ]  # fmt: skip
    assert len(set(starts)) == 5, "every bit counts, and so does what is trained"
    assert all(0 <= one < 1 << 32 for one in starts), "torch would ignore more"
    renamed = "from torch import nn\ndef build_model():\n" + (
        "    from collections import OrderedDict\n"
        "    return nn.Sequential(OrderedDict(a=nn.Conv2d(1, 4, 5, stride=4), b=nn.ReLU(),\n"
        "        c=nn.Flatten(), d=nn.Linear(144, 10), e=nn.LogSoftmax(dim=1)))\n"
    )
    assert start_of(7, model=renamed) == start_of(7), "other names are no second try"


# ---- Journals ------------------------------------------------------------------------------------

DAMAGES = {
    "nothing": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "bytes": lambda text: "\x00\x01\udcff",
    "list": lambda text: "[]",
    "number": lambda text: "7",
    "null": lambda text: "null",
    "deep": lambda text: "[" * 100_000,
    "later": lambda text: text.replace('"format": 1', '"format": 9'),
    "format": lambda text: text.replace('"format": 1', '"format": []'),
    "key": lambda text: text.replace('"key": "', '"key": "f'),
    "field": lambda text: text.replace('"key"', '"kay"'),
}
OF_CHECKS = DAMAGES | {
    "graph": lambda text: text.replace("Conv2d", "Conv9d"),
    "findings": lambda text: text.replace('"findings": []', '"findings": [7]'),
    "facts": lambda text: text.replace('"fields_right": 2', '"fields_right": "2"'),
    "no facts": lambda text: text.replace('"facts": {', '"facts": null, "x": {'),
    "recipe": lambda text: text.replace('"SGD"', '"Adagrad"'),
    "batch": lambda text: text.replace('"batch_size": 64', '"batch_size": "64"'),
}
OF_TRAININGS = DAMAGES | {
    "text": lambda text: text.replace('"losses": [', '"losses": ["x", '),
    "more": lambda text: text.replace('"test_accuracies": [', '"test_accuracies": [1, '),
    "none": lambda text: json.dumps(json.loads(text) | {
        "losses": [], "test_accuracies": [], "train_accuracies": []}),
    "accuracy": lambda text: text.replace('"test_accuracies": [', '"test_accuracies": [1e999, '),
    "percent": lambda text: json.dumps(json.loads(text) | {"test_accuracies": [101.0]}),
}  # fmt: skip


ONE_SEED = dataclasses.replace(RULES, seeds=1)


@pytest.fixture(scope="module")
def a_graded_class(tmp_path_factory):
    """A folder with a class of one and its grades, to be copied; and these grades."""
    folder = tmp_path_factory.mktemp("graded")
    write_folder(folder / "class" / "good", QUICK)
    with pytest.MonkeyPatch.context() as patch:
        for prepare in (with_few_images, without_a_jail, believing_in_a_jail):
            prepare(patch)
        return folder, grade_class(folder, ONE_SEED)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [("checks", one) for one in OF_CHECKS] + [("trainings", one) for one in OF_TRAININGS],
)
def test_a_damaged_outcome_is_made_again_with_one_line(
    a_graded_class, grade, tmp_path, capsys, kind, damage
):
    folder, before = a_graded_class
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (file,) = (tmp_path / "grades" / "journal" / kind).glob("*.json")
    whole = file.read_text()
    damaged = (OF_CHECKS if kind == "checks" else OF_TRAININGS)[damage](whole)
    assert damaged != whole
    file.write_text(damaged, errors="surrogateescape")
    after = grade(ONE_SEED)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "is made again" in told[0]
    assert after.grades[0].parts == before.grades[0].parts
    assert file.is_file() and file.with_suffix(".damaged").is_file()
    grade(ONE_SEED)
    assert capsys.readouterr().err == "", "once"


def test_a_folder_in_an_outcomes_place_is_put_aside_too(grade, tmp_path, capsys):
    write_folder(tmp_path / "class" / "good", QUICK)
    grade()
    (file,) = (tmp_path / "grades" / "journal" / "checks").glob("*.json")
    file.unlink()
    write_folder(file, {"x": "y"})
    assert by_name(grade())["good"].status == "pass"
    assert file.is_file() and "is made again" in capsys.readouterr().err


def test_a_network_whose_fields_nobody_can_tell_is_refused(
    tmp_path, trace_without_jail, monkeypatch
):
    def unknown(model, shape):
        raise graph.UnknownOperation("log_softmax: over the images of a batch\n  and where")

    monkeypatch.setattr(rebuild.receptive_field, "analyze", unknown)
    checked = checking.check(write_folder(tmp_path / "one", GOOD), Assignment())
    assert not checked.trainable
    assert "no receptive fields: log_softmax" in checked.findings[0].what
