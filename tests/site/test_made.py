"""What a process of its own makes from the package: made once, and again when it would differ."""

import shutil
import sys
from pathlib import Path

import pytest

from site_tools import made

ROOT = Path(__file__).parents[2]
MODULE = "site_tools.playground_assets"


def pretending(monkeypatch, returncode=0):
    calls = []

    def pretend(command, **_):
        calls.append(command)
        Path(command[-1]).mkdir(parents=True)
        return type("Done", (), {"returncode": returncode, "stderr": "MnistStepsError: no record"})

    monkeypatch.setattr(made.subprocess, "run", pretend)
    return calls


def test_the_files_are_made_once_and_again_when_a_record_changes(tmp_path, monkeypatch):
    calls = pretending(monkeypatch)
    digests = iter(["one", "one", "two"])
    monkeypatch.setattr(made, "digest", lambda project, module: next(digests))
    folders = [made.kept(tmp_path, MODULE, "the files") for _ in range(3)]
    assert len(calls) == 2
    assert folders[0] == folders[1] != folders[2]
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_what_cannot_be_made_stops_the_build_and_leaves_nothing_to_take_for_it(
    tmp_path, monkeypatch
):
    pretending(monkeypatch, returncode=1)
    for _ in range(2):
        with pytest.raises(made.PluginError, match="the files could not be made:\n.*no record"):
            made.kept(tmp_path, MODULE, "the files")


def test_the_files_are_stale_when_what_makes_them_changed_and_only_then(tmp_path, monkeypatch):
    package = tmp_path / "mnist_steps"
    ignored = shutil.ignore_patterns("*.gz", "studies", "__pycache__")
    shutil.copytree(ROOT / "mnist_steps", package, ignore=ignored)
    monkeypatch.delitem(sys.modules, "mnist_steps")  # the copy's is looked for
    before = made.digest(tmp_path, MODULE)

    def changed(name):
        nonlocal before
        (package / name).write_bytes((package / name).read_bytes() + b"\n")
        after = made.digest(tmp_path, MODULE)
        found, before = after != before, after
        return found

    assert changed("pages/export.py") and changed("engine/compiler.py")  # in folders, too
    assert changed("records/08_lr_scheduler/seed-8/run.json")
    assert not changed("assignment/grading.py") and not changed("commands/main.py")
