"""The playground's files: made from the records, once, and packed for a folder on disk."""

import json
import shutil
import sys
from pathlib import Path

from mnist_steps import data, runs
from site_tools import playground_assets

ROOT = Path(__file__).parents[2]


def test_the_data_is_made_once_and_again_when_a_record_changes(tmp_path, monkeypatch):
    calls = []

    def pretend(command, **_):
        calls.append(command)
        Path(command[-1]).mkdir(parents=True)
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(playground_assets.subprocess, "run", pretend)
    digests = iter(["one", "one", "two"])
    monkeypatch.setattr(playground_assets, "_digest", lambda project: next(digests))
    folders = [playground_assets.cached_data(tmp_path) for _ in range(3)]
    assert len(calls) == 2
    assert folders[0] == folders[1] != folders[2]
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_the_data_is_stale_when_what_makes_it_changed_and_only_then(tmp_path, monkeypatch):
    package = tmp_path / "mnist_steps"
    ignored = shutil.ignore_patterns("*.gz", "studies", "__pycache__")
    shutil.copytree(ROOT / "mnist_steps", package, ignore=ignored)
    monkeypatch.delitem(sys.modules, "mnist_steps")  # the copy's is looked for
    before = playground_assets._digest(tmp_path)

    def changed(name):
        nonlocal before
        (package / name).write_bytes((package / name).read_bytes() + b"\n")
        after = playground_assets._digest(tmp_path)
        found, before = after != before, after
        return found

    assert changed("pages/export.py") and changed("engine/compiler.py")  # in folders, too
    assert changed("records/08_lr_scheduler/seed-8/run.json")
    assert not changed("assignment/grading.py") and not changed("commands/main.py")


def test_the_presets_are_test_digits(tmp_path):
    playground_assets.write_data(tmp_path)
    content = json.loads((tmp_path / "playground.json").read_text(encoding="utf-8"))
    assert [preset["label"] for preset in content["presets"][:10]] == list(range(10))
    test = data.mnist().test
    for preset in content["presets"]:
        assert preset["label"] == int(test.labels[preset["index"]])
    wrong = content["presets"][10:]
    assert len(wrong) == 4 and all("reads as" in preset["note"] for preset in wrong)
    accuracy = {stage["number"]: stage["test_accuracy"] for stage in content["stages"]}
    assert accuracy == {n: runs.load(n).final_test_accuracy for n in playground_assets.STAGES}


def test_the_page_shows_the_function_that_runs():
    source = playground_assets.function_source(
        ROOT / "docs" / playground_assets.SCRIPTS / "layers.js", "conv2d"
    )
    assert source.startswith("/**\n * Convolution:") and source.endswith("\n}")
    assert "\nfunction conv2d(" in source and source.count("function") == 1


def test_packing_keeps_every_module_and_file(tmp_path):
    scripts, exported = tmp_path / "scripts", tmp_path / "data"
    scripts.mkdir(), exported.mkdir()
    (exported / "a.bin").write_bytes(b"abc")
    (scripts / "base.js").write_text("export const one = 1;\nexport function two() {}\n")
    (scripts / "playground.js").write_text(
        'import {\n  one,\n} from "./base.js";\nimport * as base from "./base.js";\n'
        "one + base.two();\n"
    )
    packed = playground_assets.pack(scripts / "playground.js", exported)
    assert '{"a.bin": "YWJj"}' in packed
    assert packed.index('playgroundModules["base.js"] =') < packed.index("one + base.two()")
    assert "return { one, two };" in packed
    assert 'const base = playgroundModules["base.js"];' in packed
    assert "import" not in packed.split("\n", 1)[1] and "export" not in packed
