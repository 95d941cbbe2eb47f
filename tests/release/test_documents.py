"""What somebody who wants to take part finds: templates, manners, and ties that are all listed."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")


def code(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".js", ".html", ".j2") and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_templates_ask_for_what_is_needed_and_name_no_address():
    forms = [path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 2
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert content["name"] and content["description"]
        fields = [field for field in content["body"] if field["type"] != "markdown"]
        assert all(field["attributes"]["label"] for field in fields)
        assert len({field["id"] for field in fields}) == len(fields)
        assert any(field.get("validations", {}).get("required") for field in fields)
    for path in GITHUB.rglob("*"):
        if path.is_file():
            assert not re.search(r"github\.com/\w", path.read_text(encoding="utf-8")), path


def test_the_code_of_conduct_is_one_paragraph():
    text = (ROOT / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8")
    title, paragraph = text.strip().split("\n\n")
    assert title == "# Code of conduct" and "maintainer" in paragraph


def test_every_command_that_contributing_times_is_a_target_and_every_target_for_people_is_timed():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+): \$\(INSTALLED\)", makefile, flags=re.MULTILINE))
    table = CONTRIBUTING.partition("| command |")[2].partition("\n\n")[0]
    assert set(re.findall(r"make ([a-z-]+)", table)) == targets - {"engine-wasm"}


def test_files_that_contributing_names_are_there():
    """Your first page and figure, and all others; what a path leaves open is in capitals or <…>."""
    folders = "|".join(("docs", "mnist_steps", "site_tools", "tests", r"\.ci"))
    named = set(re.findall(rf"[`\s]((?:{folders})/[\w./-]*)", CONTRIBUTING))
    assert len(named) > 25
    assert sorted(name for name in named if not (ROOT / name.rstrip(".")).exists()) == []


def test_what_mutants_are_made_of_and_judged_by_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["mutmut"]
    named = settings["only_mutate"] + settings["pytest_add_cli_args_test_selection"]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_what_a_fork_has_to_set_is_explained():
    workflows = "".join(path.read_text("utf-8") for path in (GITHUB / "workflows").glob("*.yml"))
    settings = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", workflows))
    assert settings, "the site's address"
    fork = CONTRIBUTING.partition("A fork needs")[2].partition("\n\n")[0]
    assert all(f"`{name}`" in fork for name in settings)
    assert "Pages" in fork and "pull requests" in fork


@pytest.mark.parametrize("name", ["README.md", "docs/get-started.md"])
def test_readers_learn_before_they_install_which_macs_are_too_old(name):
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert re.search(r"macOS 14 or newer and Apple silicon", text)
    assert text.index("Apple silicon") < text.index("pip install")


def test_the_ties_to_the_theme_are_those_that_contributing_lists():
    listed = CONTRIBUTING.partition("## What the site takes")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", listed, flags=re.MULTILINE)) == 10
    everywhere = {"md-button", "md-button--primary", "data-md-color-scheme"}
    for name, text in code("docs/javascripts", "mnist_steps", "site_tools"):
        if name.startswith("site_tools/overrides/"):
            continue
        words = set(re.findall(r"(?<![\w-])(?:data-|__)?md-[\w-]+", text))
        assert words <= everywhere, f"{name} is one more tie to the theme"
    overrides = ROOT / "site_tools" / "overrides"
    assert {path.name for path in overrides.rglob("*") if path.is_file()} == {
        "main.html", "source.html", "site.js",
    }  # fmt: skip
    importing = {name for name, text in code("site_tools") if "from mkdocs_jupyter" in text}
    assert importing == {"site_tools/hooks.py", "site_tools/rendering.py"}


def test_contributing_names_every_library_that_is_asked_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = set(re.findall(r'^  "([A-Za-z][\w-]*)[>=]', text, flags=re.MULTILINE))
    assert len(names) > 30
    section = CONTRIBUTING.partition("## Dependencies")[2]
    listed = {word.lower() for word in re.findall(r"[A-Za-z][\w-]*", section)}
    assert {name.lower() for name in names} - listed == set()
