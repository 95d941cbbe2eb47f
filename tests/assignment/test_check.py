"""Submissions: read without trust, compared with the assignment, told in a learner's words."""

import io
import json
import os
import stat
import subprocess
import zipfile

import pytest
from handed_in import FILES, GOOD, RECIPE, SECTIONS, write_folder, write_zip

from mnist_steps import graph, recipes, stages
from mnist_steps.assignment import (
    checking,
    rebuild,
    recipe_toml,
    report,
    rules,
    sandbox,
    starter,
    submission,
    trainings,
)
from mnist_steps.assignment.findings import SubmissionError, one_line
from mnist_steps.assignment.rules import Assignment
from mnist_steps.augment import RandomRotation
from mnist_steps.errors import MnistStepsError


def findings_of(place):
    with pytest.raises(SubmissionError) as refusal:
        submission.load(place)
    return " | ".join(map(str, refusal.value.findings))


# ---- Files and archives --------------------------------------------------------------------------


def test_a_folder_and_its_zip_are_the_same_submission(tmp_path):
    folder = submission.load(write_folder(tmp_path / "one"))
    flat = submission.load(write_zip(tmp_path / "flat.zip", FILES.items()))
    nested = [(f"one/{name}", text) for name, text in FILES.items()]
    mac = [(f"__MACOSX/{name}", "x") for name in FILES]
    assert folder == flat == submission.load(write_zip(tmp_path / "in.zip", [*nested, *mac]))
    assert folder.model == FILES["model.py"]


def test_every_missing_file_is_told_at_once(tmp_path):
    told = findings_of(write_folder(tmp_path / "one", {"model.py": ""}))
    assert "recipe.toml: the file is missing" in told and "REPORT.md: the file is missing" in told
    with pytest.raises(MnistStepsError, match="neither a folder nor a .zip file"):
        submission.load(tmp_path / "nowhere")


def test_links_pipes_folders_and_large_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the grader's seeds")
    folder = write_folder(tmp_path / "one")
    for name in FILES:
        (folder / name).unlink()
    (folder / "model.py").symlink_to(secret)
    os.mkfifo(folder / "recipe.toml")
    (folder / "REPORT.md").mkdir()
    told = findings_of(folder)
    assert "model.py: it is a link" in told
    assert "recipe.toml: it is no ordinary file" in told
    assert "REPORT.md: it is no ordinary file" in told
    (folder / "model.py").unlink()
    (folder / "model.py").write_bytes(b"#" * (64 * 1024 + 1))
    assert "model.py: it is larger than 64 KB" in findings_of(folder)
    (folder / "model.py").write_bytes(b"\xff")
    assert "model.py: it is not UTF-8" in findings_of(folder)


@pytest.mark.parametrize("name", ["/model.py", "../model.py", "a/../../model.py", "..\\model.py"])
def test_an_archive_that_points_outside_is_refused(tmp_path, name):
    place = write_zip(tmp_path / "x.zip", [*FILES.items(), (name, "x")])
    assert "leads out of the archive" in findings_of(place)


def test_links_bombs_crowds_and_twins_in_an_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("model.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "is a link" in findings_of(write_zip(tmp_path / "link.zip", [(link, "/etc/passwd")]))
    bomb = write_zip(tmp_path / "bomb.zip", [("model.py", b"#" * (64 << 20))])
    assert bomb.stat().st_size < 100_000
    assert "model.py: it is larger than 64 KB" in findings_of(bomb)
    crowd = [(f"file{number}", "") for number in range(65)]
    assert "65 entries" in findings_of(write_zip(tmp_path / "crowd.zip", crowd))
    twins = [*FILES.items(), ("other/model.py", "x")]
    assert "there 2 times" in findings_of(write_zip(tmp_path / "twins.zip", twins))
    (tmp_path / "not.zip").write_text("hello")
    assert "no zip file" in findings_of(tmp_path / "not.zip")
    (tmp_path / "large.zip").write_bytes(bytes(submission.LARGEST_ZIP + 1))
    assert "larger than" in findings_of(tmp_path / "large.zip")
    unusual = io.BytesIO()
    with zipfile.ZipFile(unusual, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model.py", "x")
    (tmp_path / "lzma.zip").write_bytes(unusual.getvalue())
    assert "unusual method" in findings_of(tmp_path / "lzma.zip")


def test_foreign_text_cannot_steer_the_terminal():
    assert one_line("a\x1b[2J\nb\u202ec\x00") == "a [2J b c"
    assert len(one_line("x" * 10_000)) == 400


# ---- The recipe and the assignment ---------------------------------------------------------------


def test_a_recipe_becomes_the_stages_own_kind_of_recipe():
    recipe = recipe_toml.parse(RECIPE, Assignment())
    assert recipe.augmentation == (RandomRotation(7.0),)
    assert recipe.schedule == recipes.OneCycle(max_lr=0.1)
    assert recipe.optimizer == recipes.SGD(lr=0.01, momentum=0.9)
    assert recipes.Recipe.from_data(json.loads(json.dumps(recipe.as_data()))) == recipe


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("epochs = 15", "epochs = 16", "recipe.toml, epochs: found 16, expected a whole number "),
        ("epochs = 15", "epochs = 14.5", "epochs: found 14.5"),
        ("epochs = 15", "epochs = true", "epochs: found True"),
        ("epochs = 15", "", "epochs: it is missing"),
        ("batch_size = 64", "batch_size = 0", "batch_size: found 0"),
        ("batch_size = 64", "batchsize = 64", "batchsize: there is no such setting"),
        ('"SGD"', '"Lion"', "optimizer: found 'Lion' as its name, expected one of SGD"),
        ('"SGD"', '"Adam"', "optimizer, momentum: Adam has no such setting here; it has lr, betas"),
        ("lr = 0.01", "lr = nan", "optimizer, lr: found nan"),
        ("lr = 0.01", "lr = inf", "optimizer, lr: found inf"),
        ("lr = 0.01", 'lr = "0.01"', "optimizer, lr: found '0.01'"),
        ("momentum", "decay = 0.1\nmomentum", "optimizer, decay: SGD has no such setting here"),
        ("momentum = 0.9", "nesterov = true", "torch refuses it: Nesterov momentum requires"),
        ("momentum = 0.9", "momentum = 0.9\nnesterov = 1", "nesterov: found 1, expected true"),
        ("max_lr = 0.1", "max_lr = 0.1\nepochs = 15", "epochs: OneCycle does not take it"),
        ("max_lr = 0.1", "", "schedule, max_lr: it is missing"),
        ("degrees = 7.0", "degrees = [7, -7]", "list of 2, each a number from -180"),
        ("degrees = 7.0", "degrees = 7\nfill = 256", "fill: found 256, expected a number"),
        ("epochs = 15", 'epochs = 15\ninitialization = "zeros"', "initialization: found 'zeros'"),
        ("degrees = 7.0", "degrees = 1000", "augmentation 1, degrees: found 1000"),
        ('"RandomRotation"', '"Pickle"', "augmentation 1: found 'Pickle'"),
        ("[[augmentation]]", "[augmentation]", "augmentation: expected at most 8 tables"),
        ("[schedule]", "[schedule", "this is not TOML"),
        ("epochs = 15", "epochs = 15\nepochs = 15", "this is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_recipe_is_told_with_place_reason_and_hint(old, new, complaint):
    with pytest.raises(SubmissionError) as refusal:
        recipe_toml.parse(RECIPE.replace(old, new), Assignment())
    told = str(refusal.value)
    assert complaint in told and "Why it matters" in told and "Hint" in told


def test_an_assignment_may_be_varied_and_its_mistakes_are_one_line(tmp_path):
    file = tmp_path / "assignment.toml"
    assert rules.load(file) == Assignment()
    file.write_text("parameters = 5000\naccuracy = 99.0\n")
    assert rules.load(file) == Assignment(parameters=5000, accuracy=99.0)
    for text in ("parameters = -1", "budget = 1", "accuracy = 101", "= 1", "last_epochs = 16"):
        file.write_text(text)
        with pytest.raises(MnistStepsError, match="assignment.toml") as refusal:
            rules.load(file)
        assert len(str(refusal.value).splitlines()) == 1


# ---- The report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    traced = graph.trace(stages.get(8).build(), (1, 28, 28)).as_data()
    return rebuild.read(json.dumps(traced))


def table_of(network):
    """A right table of all convolutions and pools, written in two ways."""
    rows = [
        f"| `{name}` | {layer.size[0]}{'×' + str(layer.size[1]) if name == 'conv2' else ''} |"
        for name, layer in network.layers.items()
        if layer.kind.startswith(report.WINDOWS)
    ]
    return "## Receptive field\n| layer | field |\n|---|:-:|\n" + "\n".join(rows) + "\n"


def test_a_complete_report_with_a_right_table_has_no_findings(network):
    assert report.check(SECTIONS + table_of(network), network.layers, 7884) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("## Step 1: smaller", "## First", "found no step"),
        ("### Target\na\n", "", "'### Target' is missing"),
        ("### Analysis\nb\n", "### Analysis\n\n", "'### Analysis' is not written yet"),
        ("### Analysis\nb\n", "```\n### Analysis\nb\n```\n", "'### Analysis' is missing"),
        ("### Target\na", "### Target\nTODO: a", "'### Target' is not written yet"),
        ("7,884", "7,885", "found 7,885 parameters, counted 7,884"),
        ("Parameters: 7,884", "It was good.", "found no parameter count, counted 7,884"),
        ("Accuracy: 99.35 %", "Good.", "Results of the last step: found no accuracy"),
        ("| `conv3` | 7 |\n", "", "the layer conv3 is missing"),
        ("| `conv3` | 7 |", "| `conv3` | 8 |", "conv3: found '8', another size"),
        ("| `conv3` | 7 |", "| `conv3` | 7×8 |", "conv3: found '7×8', another size"),
        ("| `conv3` | 7 |", "| `conv3` | <script> |", "conv3: found '<script>', another size"),
        ("| `conv3` |", "| `convolution3` |", "the network has no layer 'convolution3'"),
        ("## Receptive field", "## Fields", "found no table"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_in_a_report_is_told(network, old, new, complaint):
    text = SECTIONS + table_of(network)
    assert old in text
    findings = report.check(text.replace(old, new), network.layers, 7884)
    assert any(complaint in str(finding) for finding in findings), list(map(str, findings))
    assert all(len(str(finding).splitlines()) == 1 for finding in findings)


# ---- The commands --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_starter_goes_through_the_jail_and_fails_honestly(assignment_command, tmp_path):
    problem = sandbox.problem()
    if problem is not None and os.environ.get("CI") != "true":
        pytest.skip(f"no jail here: {problem}")
    status, out, _ = assignment_command("start", tmp_path / "mine")
    assert status == 0 and "assignment check" in out
    status, out, err = assignment_command("check", tmp_path / "mine")
    assert (status, err) == (1, "")
    for expected in (
        "46,058 parameters of fewer than 8,000",
        "look at conv4 first",
        "'### Target' is not written yet",
        "pool1: found '10', another size than computed",
        "the layer conv3 is missing",
    ):
        assert expected in out
    status, _, err = assignment_command("start", tmp_path / "mine")
    assert status == 2 and "nothing is overwritten" in err


def test_a_good_submission_passes_with_status_0(assignment_command, tmp_path, trace_without_jail):
    folder = write_folder(tmp_path / "good", GOOD)
    status, out, _ = assignment_command("check", folder)
    assert status == 0 and "1,554 parameters" in out and "hand it in" in out
    zipped = write_zip(tmp_path / "good.zip", GOOD.items())
    status, out, _ = assignment_command("check", zipped, "--json")
    described = json.loads(out)
    assert status == 0 and described["ok"] and described["sandbox"] == "bubblewrap"
    assert described["parameters"] == 1554 and described["recipe"]["batch_size"] == 64


def test_a_budget_is_the_assignments_to_set(assignment_command, tmp_path, trace_without_jail):
    folder = write_folder(tmp_path / "good", GOOD)
    (folder / "assignment.toml").write_text("parameters = 1554\n")
    status, out, _ = assignment_command("check", folder)
    assert status == 1 and "expected fewer than 1,554" in out
    (tmp_path / "larger.toml").write_text("parameters = 1555\n")
    assert assignment_command("check", folder, "--assignment", tmp_path / "larger.toml")[0] == 0


def test_all_mistakes_are_told_at_once(assignment_command, tmp_path, trace_without_jail):
    files = GOOD | {"recipe.toml": "epochs = 99", "REPORT.md": ""}
    status, out, _ = assignment_command("check", write_folder(tmp_path / "bad", files), "--json")
    assert status == 1
    places = {finding["where"] for finding in json.loads(out)["findings"]}
    assert {"recipe.toml, epochs", "recipe.toml, optimizer", "REPORT.md"} <= places


def test_nothing_to_check_is_one_line_and_status_2(assignment_command, tmp_path):
    for arguments in (
        [tmp_path / "nowhere"],
        [tmp_path, "--assignment", tmp_path / "nowhere.toml"],
    ):
        status, out, err = assignment_command("check", *arguments)
        assert status == 2 and out == "" and len(err.splitlines()) == 1


def test_without_a_jail_a_check_says_how_to_get_one(assignment_command, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "problem", lambda: "the program bwrap was not found")
    status, _, err = assignment_command("check", write_folder(tmp_path / "good", GOOD))
    assert status == 2 and "apt install bubblewrap" in err and len(err.splitlines()) == 1


def test_one_epoch_of_smoke_trains_the_rebuilt_network(network, few_images):
    recipe = recipe_toml.parse(RECIPE, Assignment())
    epoch = checking.smoke(checking.Checked((), network, recipe, True), Assignment())
    assert epoch.losses[0] < 2.6 and len(epoch.test_accuracies) == 1


@pytest.mark.parametrize("option", ["--smoke", "--full"])
def test_trainings_of_a_check_have_the_limits_of_grading(
    option, assignment_command, tmp_path, trace_without_jail, monkeypatch
):
    folder = write_folder(tmp_path / "slow", GOOD)
    (folder / "assignment.toml").write_text("minutes = 2\n")

    def too_slow(task):
        raise subprocess.TimeoutExpired("it", task.seconds)

    monkeypatch.setattr(trainings, "apart", too_slow)
    status, out, err = assignment_command("check", folder, option)
    assert status == 0 and "it was stopped: it took longer than 2 minutes." in out
    assert "trainings are computed by " in err


def test_the_starters_files_are_all_there():
    assert {file.name for file in starter.STARTER.iterdir() if file.is_file()} == {*starter.FILES}
