"""The command: what it prints, and that bad input is one clear line and exit status 2."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from mnist_steps import engine, runs, stages, training
from mnist_steps.commands import options


@pytest.fixture
def command(mnist_steps_command):
    return mnist_steps_command


def test_help_lists_every_command(command):
    status, out, _ = command("--help")
    assert status == 0
    for name in ("stages", "summary", "rf", "train", "record", "verify"):
        assert name in out


def test_help_does_not_wait_for_torch():
    code = "import sys, mnist_steps.commands.main; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_stages_as_json_carries_claims_and_records(command):
    status, out, _ = command("stages", "--json")
    assert status == 0
    rows = json.loads(out)
    assert [row["number"] for row in rows] == [stage.number for stage in stages.STAGES]
    last = rows[7]
    assert last["slug"] == "08_lr_scheduler"
    assert last["parameters"] == 7884
    assert last["claim"]["best_test_accuracy"] == 99.44
    recorded = runs.load(8)
    assert last["record"]["final"] == recorded.final_test_accuracy
    assert last["record"]["best"] == recorded.best_test_accuracy
    assert last["record"]["last_three"] == list(recorded.last_three_test_accuracies)
    assert last["record"]["seconds"] > 0


def test_stages_prints_a_table(command):
    status, out, _ = command("stages")
    assert status == 0
    assert "7,884" in out and "99.44" in out


def test_a_tables_cells_are_printed_as_they_are_and_in_full(capsys):
    name = "[bold]" + "a-name-that-is-wider-than-a-terminal-" * 3 + "[/oops]"
    options.print_table(("name", ">interval"), [(name, "[-0.1, 0.2]")])
    out = capsys.readouterr().out
    cells = [line.split("│")[1:3] for line in out.splitlines() if line.startswith("│")]
    assert "".join(left.strip() for left, _ in cells) == name
    assert cells[0][1].strip() == "[-0.1, 0.2]"


def test_summary_of_a_stage(command):
    status, out, _ = command("summary", "8")
    assert status == 0
    assert "7,884" in out and "conv5" in out


def test_summary_as_json_of_a_readers_own_network(command, tmp_path, monkeypatch):
    (tmp_path / "readers_net.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("summary", "readers_net:build", "--input", "3,8,8", "--json")
    assert status == 0
    assert json.loads(out)["total_params"] == 3 * 4 * 9 + 4


def test_receptive_fields_of_a_stage_as_json(command):
    status, out, _ = command("rf", "8", "--json")
    assert status == 0
    fields = {layer["name"]: layer["size"] for layer in json.loads(out)}
    assert fields["conv5"] == [14, 14]


def test_receptive_fields_as_a_picture(command, tmp_path):
    status, _, _ = command("rf", "8", "--plot", str(tmp_path / "growth.svg"))
    assert status == 0
    assert (tmp_path / "growth.svg").read_text().startswith("<svg")


def test_train_prints_every_epoch_and_the_comparison(command, monkeypatch):
    recorded = runs.load(8)
    monkeypatch.setattr(training, "fit", lambda stage, seed, device, engine: recorded)
    status, out, _ = command("train", "8")
    assert status == 0
    assert f"{recorded.final_test_accuracy:.2f}" in out
    assert "the original's best was 99.44" in " ".join(out.split())


def test_train_as_json_gives_what_a_record_keeps(command, monkeypatch):
    recorded = runs.load(8)
    monkeypatch.setattr(training, "fit", lambda stage, seed, device, engine: recorded)
    status, out, _ = command("train", "8", "--json")
    printed = json.loads(out)
    kept = json.loads((runs.folder_of(recorded.stage, 8) / "run.json").read_text())
    assert status == 0 and (printed["stage"], printed["seed"]) == (8, 8)
    assert printed["epochs"] == kept["epochs"]
    assert printed["environment"]["threads"] == recorded.environment.threads


def test_verify_reports_what_holds(command):
    status, out, _ = command("verify", "8", "--steps", "2")
    assert status == 0
    assert "stage 8, seed 8: holds (2 steps replayed" in out


def test_verify_ends_with_status_2_when_a_record_does_not_hold(command, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.verify, "__defaults__", (None, 10, tmp_path, lambda result: None))
    status, out, err = command("verify", "8", "--json")
    assert status == 2
    assert "RecordMismatch: stage 8, seed 8: there is no record" in err
    assert json.loads(out)[0]["ok"] is False


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["train", "99"], "there is no stage 99: the stages are 1, 2, 3"),
        (["train", "eight"], "valid integer"),
        (["trian"], "No such command"),
        (["train", "8", "--device", "tpu"], "device 'tpu' is not available here"),
        (["summary", "nowhere:Net"], "'nowhere:Net' cannot be imported"),
        (["summary", "torch.nn:NoSuch"], "cannot be found: module 'torch.nn' has no attribute"),
        (["summary", "torch.nn:Conv2d.Inner"], "type object 'Conv2d' has no attribute 'Inner'"),
        (["rf", "./nowhere.py:Net"], "there is no Python file ./nowhere.py"),
        (["rf", ".nowhere:Net"], "there is no Python file .nowhere"),
        (["summary", "justaname"], "names no model: give a stage's number or package.module:Name"),
        (["summary", "json:dumps"], "'json:dumps' could not be called without arguments"),
        (["summary", "builtins:dict"], "gave a dict, expected a torch.nn.Module"),
        (["summary", "8", "--input", "1x28x28"], "--input '1x28x28' is no shape"),
        (["summary", "8", "--input", "1,0,28"], "--input '1,0,28' is no shape"),
        (["record"], "give one stage's number, or --all"),
        (["verify", "77"], "there is no stage 77"),
        (["verify", "--steps", "0"], "greater than or equal to 1"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(command, arguments, expected):
    status, out, err = command(*arguments)
    assert status == 2
    assert expected in err
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


@pytest.fixture
def no_training(monkeypatch):
    """Whoever comes as far as training is too late."""

    def refuse(*_, **__):
        raise AssertionError("it trained")

    monkeypatch.setattr(runs, "Training", refuse)


def test_recording_into_a_folder_that_cannot_be_written_is_refused_before_it_trains(
    command, tmp_path, no_training
):
    (tmp_path / "file").write_text("in the way")
    status, _, err = command("record", "8", "--folder", tmp_path / "file")
    assert status == 2
    assert "cannot write" in err and err.count("\n") == 1
    assert "MNIST_STEPS_DATA" not in err, "which does not move the folder of records"


def test_recording_without_a_place_for_checkpoints_is_refused_before_it_trains(
    command, tmp_path, monkeypatch, no_training
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MNIST_STEPS_DATA", str(tmp_path / "file"))
    status, _, err = command("record", "8", "--folder", tmp_path / "records")
    assert status == 2
    assert "cannot write" in err and "MNIST_STEPS_DATA" in err and err.count("\n") == 1
    assert not (tmp_path / "records").exists()


def test_ctrl_c_ends_without_a_traceback(command, monkeypatch):
    def stop(*_, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", stop)
    status, _, err = command("train", "8")
    assert status == 130
    assert "stopped" in err and "Traceback" not in err


def test_ctrl_c_while_recording_says_how_to_go_on(command, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "record", stop)
    status, _, err = command("record", "8")
    assert status == 130
    assert "the same command goes on from there" in err


def test_a_training_says_in_one_line_what_computes_it(command, monkeypatch, capsys, few_images):
    stage = stages.get(8)
    short = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, epochs=1))
    monkeypatch.setattr(stages, "STAGES", (short,))
    line = engine.choose(stage.build(), stage.recipe).line
    assert f"stage 8 is {line}\n" in command("train", "8", "--device", "cpu")[2]
    monkeypatch.delenv("CI", raising=False)
    training.fit(short, device="cpu")
    assert capsys.readouterr().err.startswith(f"stage 8: {line}\n")


@pytest.mark.parametrize("columns", [40, 80])
def test_no_figure_is_broken_however_narrow_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setattr(options, "output", Console(width=columns))
    options.print_table(
        ("stage", ">parameters", ">accuracy"), [("The setup", "6,379,786", "99.28")]
    )
    printed = capsys.readouterr().out
    assert "6,379,786" in printed and "99.28" in printed


def test_a_terminal_without_unicode_gets_plain_signs_and_aligned_tables():
    arguments = [sys.executable, "-m", "mnist_steps", "stages"]
    plain = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "100", "PYTHONUTF8": "0"}
    done = subprocess.run(arguments, capture_output=True, env=plain)
    assert done.returncode == 0 and done.stderr == b""
    lines = done.stdout.decode("ascii").splitlines()
    assert "?" not in done.stdout.decode("ascii"), "a sign has no replacement in options.PLAIN"
    rows = [line for line in lines if line.startswith(("|", "+"))]
    assert len(rows) > 11 and len(set(map(len, rows))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="completion there is PowerShell's")
def test_a_shell_completes_commands_without_waiting_for_torch():
    code = "import sys; sys.argv = ['mnist-steps']; from mnist_steps.commands.main import main\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules, 'slow'"
    asked = {
        "_MNIST_STEPS_COMPLETE": "complete_bash",
        "COMP_WORDS": "mnist-steps st",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | asked
    )
    assert (done.stdout.split(), done.stderr) == (["stages", "study"], "")


@pytest.mark.parametrize("argument, said", [("--version", "mnist-steps 0."), ("--help", "study")])
def test_the_package_runs_as_a_command(argument, said):
    command = [sys.executable, "-m", "mnist_steps", argument]
    assert said in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_a_command_the_help_is_shown_and_nothing_failed(mnist_steps_command):
    status, out, err = mnist_steps_command()
    assert status == 0 and "Usage" in out + err
