"""Grading a class: the rubric's numbers, who survives whom, what reaches people and programs."""

import dataclasses
import json
import os
import re
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psutil
import pytest
from handed_in import (
    CRASHING,
    GOOD,
    QUICK,
    RULES,
    believing_in_a_jail,
    by_name,
    cells,
    write_folder,
    write_zip,
)
from processes import cluster, group_lives, wait_until

from mnist_steps import runs, stages
from mnist_steps.assignment import (
    entries,
    example,
    feedback,
    grading,
    outputs,
    rebuild,
    recipe_toml,
    rubric,
    rules,
    sandbox,
    trainings,
)
from mnist_steps.assignment.report import Facts
from mnist_steps.assignment.rules import Assignment
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import executors
from mnist_steps.experiments.tasks import ATTEMPTS


@pytest.fixture(autouse=True)
def a_jail_that_is_not_needed(monkeypatch):
    """The jail has tests of its own."""
    believing_in_a_jail(monkeypatch)


# ---- The rubric ----------------------------------------------------------------------------------

FACTS = Facts(
    sections_written=3, sections_expected=3, fields_right=8, fields_expected=8,
    claimed_parameters=7884, claimed_accuracy=99.4,
)  # fmt: skip
PERFECT = [[98.0, 99.41, 99.42, 99.4]] * 3


def points(facts=FACTS, parameters=7884, runs=PERFECT, assignment=None):
    parts = rubric.judge(parameters, facts, runs, assignment or Assignment())
    return {part.key: part.points for part in parts}


def test_all_that_a_program_can_give_is_92_of_100_points():
    assert points() == {
        "contract": 10, "parameters": 15, "accuracy": 30, "consistency": 15, "fields": 10,
        "structure": 6, "claims": 6, "prose": None,
    }  # fmt: skip
    assert Assignment().rubric.total == 100


@pytest.mark.parametrize(
    ("parameters", "given"),
    [(7999, 15), (8000, 15), (8001, 15), (12_000, 7.5), (16_000, 0), (90_000, 0)],
)  # fmt: skip
def test_parameters_lose_points_up_to_twice_the_budget(parameters, given):
    assert points(parameters=parameters)["parameters"] == given


@pytest.mark.parametrize(
    ("finals", "given"),
    [([99.5, 99.4], 30), ([99.5, 99.3], 22.5), ([99.2], 15), ([99.0], 0), ([9.8, 99.9], 0)],
)
def test_the_final_accuracy_of_the_worst_seed_counts(finals, given):
    assert points(runs=[[99.9, final] for final in finals])["accuracy"] == given


def test_consistency_is_the_share_of_last_epochs_at_the_target():
    runs = [[99.9, 99.39, 99.4, 99.41], [10, 99.4, 99.4, 99.4], [99.9, 99.0, 99.0, 99.0]]
    assert points(runs=runs)["consistency"] == round(15 * 5 / 9, 1)
    assert points(runs=[[99.9]])["consistency"] == 5, "epochs that were not trained are missed"


def test_fields_structure_and_claims_are_shares_too():
    facts = dataclasses.replace(
        FACTS, fields_right=4, sections_written=1, claimed_parameters=7000, claimed_accuracy=99.17
    )
    given = points(facts)
    assert (given["fields"], given["structure"], given["claims"]) == (5, 2, 3)
    boast = dataclasses.replace(FACTS, claimed_accuracy=99.7)
    assert points(boast)["claims"] == 3, "an accuracy that no run comes near is not believed"


def test_weights_are_the_instructors():
    weights = rules.Weights(accuracy=50, report=0)
    given = points(assignment=Assignment(rubric=weights))
    assert given["accuracy"] == 50 and given["structure"] == 0


# ---- The rules -----------------------------------------------------------------------------------


def test_rules_are_read_with_weights_and_due_date(tmp_path):
    file = tmp_path / "assignment.toml"
    file.write_text(
        "accuracy = 99.2\ndue = 2030-01-31T23:59:00+01:00\n[rubric]\naccuracy = 40\nreport = 10\n"
    )
    found = rules.load(file)
    assert found.rubric == rules.Weights(accuracy=40, report=10)
    assert found.first_accuracy == pytest.approx(98.8)
    assert json.dumps(found.as_data())


@pytest.mark.parametrize(
    "text",
    [
        "due = 2030-01-31", "due = 'soon'", "rubric = 3", "[rubric]\nbeauty = 1",
        "[rubric]\nreport = -1", "accuracy_from = 99.4", "[due]", "[rubric]\ncontract = nan",
        "[rubric]\ncontract=0\nparameters=0\naccuracy=0\nconsistency=0\nfields=0\nreport=0",
    ],
)  # fmt: skip
def test_mistakes_in_rules_are_one_line(tmp_path, text):
    (tmp_path / "assignment.toml").write_text(text)
    with pytest.raises(MnistStepsError, match="assignment.toml") as refusal:
        rules.load(tmp_path / "assignment.toml")
    assert len(str(refusal.value).splitlines()) == 1


# ---- A class -------------------------------------------------------------------------------------


def test_each_submission_gets_what_it_deserves_and_none_stops_another(grade, tmp_path):
    folder = tmp_path / "class"
    write_folder(folder / "good", QUICK)
    write_zip(folder / "zipped.zip", [(f"in/{name}", text) for name, text in QUICK.items()])
    write_folder(folder / "crashing", CRASHING)
    write_folder(folder / "huge", QUICK | {"model.py": HUGE})
    write_folder(folder / "incomplete", {"model.py": GOOD["model.py"]})
    (folder / "essay.pdf").write_text("hello")
    (folder / "link").symlink_to(folder / "good")
    (folder / ".DS_Store").write_text("x")
    found = by_name(grade())
    assert {name: one.status for name, one in found.items()} == {
        "good": "pass", "zipped": "pass", "crashing": "error", "huge": "error",
        "incomplete": "ungradable", "essay.pdf": "ungradable", "link": "ungradable",
    }  # fmt: skip
    good = found["good"]
    assert {part.key: part.points for part in good.parts}["fields"] == 10
    assert good.same_files == ("zipped",)
    assert found["crashing"].points == 0
    assert found["incomplete"].points is None, "who could not be read gets no zero"
    assert "model.py, line 1: ValueError" in str(found["crashing"].findings[0])
    assert "multiply-accumulate" in str(found["huge"].findings)


HUGE = """
from torch import nn
def build_model():
    return nn.Sequential(nn.Conv2d(1, 9, 5), nn.Conv2d(9, 10, 24), nn.Flatten(), nn.LogSoftmax(1))
"""


def test_what_is_done_is_not_done_again(grade, tmp_path, monkeypatch):
    write_folder(tmp_path / "class" / "good", QUICK)
    first = grade()
    kept = (tmp_path / "grades" / "seeds.json").read_text()
    write_folder(tmp_path / "class" / "later", QUICK | {"model.py": "# mine\n" + QUICK["model.py"]})
    trained = []
    original = trainings.perform
    monkeypatch.setattr(trainings, "perform", lambda task: trained.append(task) or original(task))
    second = grade()
    assert not trained, "the later one has the same network: its runs are known"
    assert by_name(second)["later"].same_network == ("good",)
    assert by_name(second)["good"].parts == by_name(first)["good"].parts
    assert (tmp_path / "grades" / "seeds.json").read_text() == kept
    write_folder(tmp_path / "class" / "good", GOOD | {"recipe.toml": QUICK["recipe.toml"] + "\n"})
    changed = QUICK["recipe.toml"].replace("lr = 0.01", "lr = 0.02")
    write_folder(tmp_path / "class" / "good", QUICK | {"recipe.toml": changed})
    grade()
    assert len(trained) == RULES.seeds, "a changed recipe is trained anew, once for each seed"


def test_fewer_seeds_than_a_grading_takes_are_refused(tmp_path):
    """Others would have been drawn in secret, and nothing repeated."""
    with pytest.raises(MnistStepsError, match=r"found 1 seed\(s\) for a grading with 3"):
        grading.seeds_of(tmp_path, 3, chosen=(8,))
    assert not list(tmp_path.iterdir())


def test_a_grading_can_be_repeated_with_its_seeds(grade, tmp_path):
    write_folder(tmp_path / "class" / "good", QUICK)
    (first,) = grade().grades
    drawn = grading.seeds_of(tmp_path / "grades", 2)
    assert len(set(drawn)) == 2
    (tmp_path / "grades").rename(tmp_path / "before")
    (again,) = grade(seeds=tuple(drawn)).grades
    assert [run.losses for run in again.runs] == [run.losses for run in first.runs]
    (other,) = grade(seeds=(1, 2)).grades
    assert [run.losses for run in other.runs] != [run.losses for run in first.runs]


def test_seeds_are_secret_drawn_once_and_more_of_them_keep_the_first(tmp_path):
    first = grading.seeds_of(tmp_path, 2)
    assert grading.seeds_of(tmp_path, 3)[:2] == first
    assert stat.S_IMODE((tmp_path / "seeds.json").stat().st_mode) == 0o600
    assert grading.seeds_of(tmp_path / "other", 2) != first
    (tmp_path / "seeds.json").write_text("{")
    with pytest.raises(MnistStepsError, match="delete it to draw new seeds"):
        grading.seeds_of(tmp_path, 2)


def test_our_failures_are_tried_again_and_never_a_zero(grade, tmp_path, monkeypatch):
    write_folder(tmp_path / "class" / "good", QUICK)
    write_folder(tmp_path / "class" / "other", QUICK | {"model.py": GOOD["model.py"] + "# x\n"})
    calls = []

    def broken(source, unsafe=False):
        calls.append(source)
        raise sandbox.SandboxUnavailable("the jail did not start")

    whole = sandbox.trace
    monkeypatch.setattr(
        sandbox, "trace", lambda source, **more: (broken if "# x" in source else whole)(source)
    )
    found = by_name(grade())
    assert len(calls) == ATTEMPTS
    assert found["other"].status == "infrastructure error" and found["other"].points is None
    assert "the jail did not start" in found["other"].problem
    assert found["good"].status == "pass"
    monkeypatch.setattr(sandbox, "trace", whole)
    monkeypatch.setattr(trainings, "start", lambda *given: 1 / 0)
    (tmp_path / "grades" / "journal" / "trainings").rename(tmp_path / "lost")
    found = by_name(grade())
    assert {one.status for one in found.values()} == {"infrastructure error"}
    assert all(one.points is None for one in found.values())
    monkeypatch.undo()


def test_without_a_jail_nothing_is_graded_unless_somebody_insists(grade, tmp_path, monkeypatch):
    write_folder(tmp_path / "class" / "good", QUICK)
    monkeypatch.setattr(sandbox, "describe", lambda: {"level": "none", "problem": "no bwrap"})
    with pytest.raises(sandbox.SandboxUnavailable, match="--unsafe"):
        grade()
    assert not (tmp_path / "grades").exists()
    graded = grade(unsafe=True)
    assert "without a sandbox" in feedback.student_page(graded, graded.grades[0])


def test_a_folder_that_cannot_be_graded_is_one_line(grade, tmp_path):
    with pytest.raises(MnistStepsError, match="is empty"):
        grade()
    with pytest.raises(MnistStepsError, match="is no folder"):
        grading.find(tmp_path / "nowhere")
    write_folder(tmp_path / "class" / "good", QUICK)
    with ThreadPoolExecutor(1) as executor, pytest.raises(MnistStepsError, match="lies inside"):
        grading.grade(tmp_path, tmp_path / "grades", RULES, executor, executor)


def test_screening_ranks_with_one_short_run_each(grade, tmp_path):
    write_folder(tmp_path / "class" / "good", GOOD)
    write_folder(tmp_path / "class" / "crashing", CRASHING)
    graded = grade(screen=True)
    (run,) = by_name(graded)["good"].runs
    assert len(run.test_accuracies) == 3, "a tenth of 2 seeds × 15 epochs"
    table = outputs.write_screening(graded, tmp_path / "grades")
    assert [row[:2] for row in table.rows] == [["1", "good"], ["", "crashing"]]
    for name in ("screening.csv", "screening.html"):
        assert "passed" not in (tmp_path / "grades" / name).read_text()
    page = cells((tmp_path / "grades" / "screening.html").read_text())
    assert ["trained", "1"] in page and ["returned for repair: could not be trained", "1"] in page
    (crashed,) = [row for row in page if row[0] == "crashing"]
    assert "model.py, line 1: ValueError" in crashed[2]


def test_a_stage_graded_as_a_submission_starts_like_its_own_training(tmp_path):
    """The network that comes out of the description has the very weights of the original."""
    stage = stages.get(8)
    recipe = recipe_toml.parse(example.recipe_file(stage.recipe), Assignment())
    changed = dataclasses.replace(stage.recipe, normalize_test=recipe.normalize_test)
    assert runs.digest(recipe.as_data()) == runs.digest(json.loads(json.dumps(changed.as_data())))
    from mnist_steps import graph

    network = rebuild.read(json.dumps(graph.trace(stage.build(), (1, 28, 28)).as_data()))
    record = runs.load(8)
    under_way = trainings.start(network, recipe, record.seed, engine="torch")
    losses = under_way.train_epoch(max_steps=3).losses.tolist()
    assert losses == pytest.approx([step.loss for step in record.steps[:3]], rel=1e-3)


# ---- Who handed in -------------------------------------------------------------------------------


def test_the_engine_trains_the_same_network_and_is_written_down(grade, tmp_path):
    files = example.files_of(stages.get(8))
    recipe = re.sub("epochs = 15", "epochs = 1", files["recipe.toml"])
    write_folder(tmp_path / "class" / "eight", files | {"recipe.toml": recipe})
    rules = dataclasses.replace(RULES, seeds=1, macs=20_000_000)
    plain, quick = (grade(rules, seeds=(1,), engine=engine) for engine in ("torch", "auto"))
    losses = [one.grades[0].runs[0].losses[0] for one in (plain, quick)]
    assert losses[0] != losses[1], "neither was taken for the other's"
    assert losses[0] == pytest.approx(losses[1], rel=0.01), "they differ by rounding"
    written = [one.grades[0].runs[0].environment["engine"] for one in (plain, quick)]
    assert written == ["torch", "engine"]
    assert "by the engine" in feedback.student_page(quick, quick.grades[0])


def test_names_that_look_alike_stay_apart_and_are_pointed_out(tmp_path):
    folder = tmp_path / "class"
    for name in ("Anna", "Аnna", "Anna\u202e", "ａnna", "..", "日本", "<b>", "a b"):
        if name != "..":
            write_folder(folder / name, QUICK)
    found = grading.find(folder)
    assert len({entry.folder for entry in found}) == len(found) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", entry.folder) for entry in found)
    odd = {entry.name for entry in found if entries.odd_name(entry.name)}
    assert odd == {"Аnna", "ａnna"}
    assert not any("\u202e" in entry.name for entry in found)


def test_a_platforms_folders_around_a_submission_are_stepped_into(tmp_path):
    write_zip(tmp_path / "Zoe_12_assignsubmission_file" / "my work.zip", QUICK.items())
    write_folder(tmp_path / "extracted" / "my work", QUICK)
    write_folder(tmp_path / "plain", QUICK)
    found = grading.find(tmp_path)
    assert len({grading.load(entry).digest for entry in found}) == 1


def test_lateness_is_stated_and_changes_no_points(grade, tmp_path):
    folder = write_folder(tmp_path / "class" / "good", QUICK)
    due = datetime(2030, 1, 1, tzinfo=UTC)
    for name in QUICK:
        os.utime(folder / name, (due.timestamp() + 90_000,) * 2)
    (in_time,) = grade().grades
    graded = grade(dataclasses.replace(RULES, due=due))
    (late,) = graded.grades
    assert late.points == in_time.points
    assert "1 days, 1 h after it was due" in feedback.student_page(graded, late)
    assert graded.as_data(late)["late"] == "1 days, 1 h"


# ---- Elsewhere, and stopped ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_dask_cluster_trains_what_this_machine_would(tmp_path, trace_without_jail):
    for name in ("ada", "bob"):
        write_folder(tmp_path / "class" / name, QUICK)
    settings = grading.Settings(seeds=(3, 14), progress=False, train_images=256)
    graded = {}
    with cluster(tmp_path, workers=2) as address, executors.dask_cluster(address) as dask:
        with ThreadPoolExecutor(1) as here:
            for where, executor in (("here", here), ("dask", dask)):
                made = grading.grade(
                    tmp_path / "class", tmp_path / where, RULES, here, executor, settings
                )
                graded[where] = [
                    [(run.seed, run.test_accuracies, run.losses) for run in grade.runs]
                    for grade in made.grades
                ]
    assert graded["dask"] == graded["here"]
    assert [len(runs) for runs in graded["dask"]] == [2, 2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a process group")
def test_ctrl_c_keeps_what_is_finished_and_leaves_neither_worker_nor_jail(tmp_path):
    """With real workers; where there is no jail, the code, which is ours, runs without one."""
    long = "import time\ntime.sleep(600)\n"
    for name, model in (("ada", GOOD["model.py"]), ("bob", long)):
        write_folder(tmp_path / "class" / name, GOOD | {"model.py": model})
    checks = tmp_path / "grades" / "journal" / "checks"
    command = [
        sys.executable,
        "-c",
        "from mnist_steps.commands import main; main.main()",
        "assignment",
    ]
    command += ["grade", str(tmp_path / "class"), "--out", str(tmp_path / "grades")]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--unsafe"],
        start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: len(list(checks.glob("*.json"))) == 1)
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process at once
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "Traceback" not in errors and "stopped" in errors
        wait_until(lambda: not group_lives(process.pid), seconds=10)
        wait_until(lambda: not any(map(lives, started)), seconds=10)
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(checks.glob("*.json"))) == 1, "the next start goes on from there"


def lives(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
