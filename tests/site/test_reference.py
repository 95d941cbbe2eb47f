"""The reference: it knows all there is, refuses what it does not know, and its samples run."""

import datetime
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from handed_in import with_few_images

from mnist_steps.commands.main import app
from mnist_steps.errors import MnistStepsError
from mnist_steps.pages import formats
from site_tools import docstrings, reference

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PACKAGE = (REFERENCE / "package.md").read_text(encoding="utf-8")
# Each module that the page lists, with the names of it that are public.
PUBLIC = {
    module: [name.strip() for name in members.split(",")]
    for module, members in re.findall(
        r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", PACKAGE, flags=re.MULTILINE
    )
}


# --- The package ----------------------------------------------------------------------------------


def test_every_public_name_is_there_and_says_what_it_is_without_torch_being_imported():
    code = f"""
import sys
from collections import Counter
import griffe
package = griffe.load("mnist_steps", search_paths=[{str(ROOT)!r}], allow_inspection=False)
missing = Counter()
for module, names in {PUBLIC!r}.items():
    for name in names:
        one = package[module.removeprefix("mnist_steps.")][name]
        if not one.has_docstring:
            missing[f"{{module}}.{{name}}"] += 1
assert "torch" not in sys.modules
print(*missing)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain = {"STAGES", "ORIGINAL", "SGD", "OneCycle"}  # data: the comment beside it says it
    assert {name.rpartition(".")[2] for name in done.stdout.split()} <= plain


def test_what_other_pages_link_to_is_on_the_page():
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py")]
    texts = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    linked = set(re.findall(r"\]\[(mnist_steps\.[\w.]+)\]", texts))
    linked |= set(re.findall(r"package\.md#(mnist_steps\.[\w.]+)", texts))
    assert len(linked) > 8
    assert linked <= {f"{module}.{name}" for module, names in PUBLIC.items() for name in names}


def test_a_docstring_becomes_a_text_with_a_list_of_its_fields():
    found = docstrings.as_markdown(
        "Resample each image.\n\nimages: float tensor (N, 1, H, W)\nmean, sd: of pixels;\n"
        "    both\nReturns a tensor. See https://example.org: it is there.\nRaises ValueError."
    )
    assert found == (
        "Resample each image.\n\n\n- `images`: float tensor (N, 1, H, W)\n"
        "- `mean`, `sd`: of pixels;\n    both\n\n"
        "Returns a tensor. See https://example.org: it is there.\n\nRaises ValueError."
    )


# --- The command line -----------------------------------------------------------------------------


def commands(command, name="mnist-steps"):
    yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from commands(inner, f"{name} {inner.name}")


def test_every_command_argument_and_option_is_described():
    text = reference.commands_as_markdown()
    sections = dict(re.findall(r"^##+ `([^`]*)`\n(.*?)(?=^##|\Z)", text, flags=re.M | re.S))
    (_, _), *every = commands(typer.main.get_command(app))
    assert len(every) > 12
    assert [name for name, _ in every] == list(sections)
    for name, command in every:
        for parameter in command.params:
            asked = parameter.opts[-1] if parameter.opts[-1].startswith("-") else parameter.name
            assert asked == "--help" or f"`{asked}" in sections[name], (name, asked)


# --- The files ------------------------------------------------------------------------------------


def test_a_format_lists_keys_with_what_they_hold_and_mean():
    sample = {"a": 1, "b": [{"c": None, "d": {"e": 1.5}}], "f": {"g": "x"}}
    meanings = {"a": "first", "b": "more", "b[].c": "c's", "b[].d": "closed", "f": "closed too"}
    told = str(formats.describe(sample, meanings, "A file")).splitlines()
    assert [line.split()[0] for line in told[2:]] == ["a", "b", "b[].c", "b[].d", "f"]
    assert "whole number" in told[2] and "list of objects" in told[3] and "nothing" in told[4]


@pytest.mark.parametrize(
    "meanings, said",
    [({}, "no meaning is given for a;"), ({"a": "", "b": ""}, "no key is there for b.")],
)
def test_a_format_that_says_too_little_or_too_much_is_refused(meanings, said):
    with pytest.raises(MnistStepsError, match=said):
        formats.describe({"a": 1}, meanings, "A file")


# --- I want to… -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_sample_runs_one_after_another(monkeypatch, capsys):
    text = (REFERENCE / "index.md").read_text(encoding="utf-8")
    samples = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(samples) == 6
    here = {"__name__": "samples"}
    with monkeypatch.context() as patch:
        with_few_images(patch)
        for sample in samples[:-1]:
            exec(sample, here)
    exec(samples[-1], here)  # reads a record, which is of all images
    assert here["run"].stage.number == 8 and len(here["run"].epochs) == 15
    printed = capsys.readouterr().out
    assert "Conv2d" in printed and "Proof(" in printed
    assert f"{here['run'].final_test_accuracy} {here['run'].environment.date}" in printed


# --- The citation ---------------------------------------------------------------------------------


def test_the_citation_has_the_files_version_and_an_address_only_where_there_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert isinstance(citation["date-released"], datetime.date)
    without = reference.citation_as_markdown(citation, "")
    assert f"Version {citation['version']}" in without and "@software{mnist_steps" in without
    assert "url" not in without and "http" not in without
    there = reference.citation_as_markdown(citation, "https://example.org/x")
    assert "url     = {https://example.org/x}" in there and "<https://example.org/x>" in there


def test_modules_that_the_page_lists_can_be_imported_under_these_names():
    for module, names in PUBLIC.items():
        found = importlib.import_module(module)
        assert all(hasattr(found, name) for name in names), module


def test_every_variable_that_the_package_reads_is_explained_beside_the_commands():
    read = set()
    for file in (ROOT / "mnist_steps").rglob("*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', file.read_text(encoding="utf-8")))
    text = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", text, flags=re.MULTILINE)) == read
