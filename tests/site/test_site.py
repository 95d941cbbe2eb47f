"""The site's machinery, on a tree of three small pages with the real hooks and configuration."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from browser import served, watch
from processes import wait_until

from site_tools import checks

ROOT = Path(__file__).parents[2]

CONFIGURATION = f"""\
INHERIT: {(ROOT / "mkdocs.yml").as_posix()}
extra: {{executed_pages_use: [used], executed_pages_import: [wave]}}
nav: [index.md, glossary.md, stages/one.py, stages/two.py]
theme: {{custom_dir: "{(ROOT / "site_tools" / "overrides").as_posix()}"}}
hooks: ["{(ROOT / "site_tools/hooks.py").as_posix()}"]
watch: []
"""

ONE = """\
# %% [markdown]
# # Page one
#
# [The next](two.py#exercises) page.

# %%
from used import number

print(f"computed {number} here")

# %% [markdown]
# ## Exercises
#
# Question?

# %% tags=["solution"]
print("first half")

# %% [markdown] tags=["solution"]
# Second *half*.

# %% [markdown]
# After the solution: `mnist-steps train 8`, and `mnist-steps study --of causes --seeds 0-9`.

# %% [markdown] tags=["hint"]
# Think of $x_1 * 2$.

# %% tags=["solution"]
print("another")

# %% tags=["hide-input"]
hidden_source = print("shown output")

# %% tags=["fold"]
folded_source = 1
folded_source + 1

# %% [markdown] tags=["audit"]
# ## The audit
#
# In words.

# %% tags=["audit"]
print("in code")

# %% [markdown]
# ## Next
#
# A kernel, and
# $$y_1$$
"""

TWO = """\
# %% [markdown]
# # Page two
# ## Exercises

# %%
"<quoted> & 'so'"
"""

# What the last cell of page two shows: a figure, three questions and the list of all pages'.
SHOWN = """
class Shown:
    def _repr_html_(self):
        return (
            '<figure class="plot"><svg width="9" height="9" role="img" aria-label="A line">'
            '<path stroke="var(--figure-test, #1d5fbf)"/></svg></figure>'
            '<p data-question="aaaa" data-kind="check"></p>'
            '<p data-question="bbbb" data-kind="check"></p>'
            '<p data-question="cccc" data-kind="prediction"></p>'
            '<ul><li data-page="stages/one.py"><li data-page="stages/two.py"></ul>'
        )

Shown()
"""


class Project:
    """A folder with a configuration, three pages and a package that they use."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def build(self, repository=""):
        """Build the site; return the exit status, all output, and which pages were executed."""
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build"],
            cwd=self.folder,
            env=os.environ | {"MNIST_STEPS_REPOSITORY": repository, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
        )
        output = done.stdout + done.stderr
        return done.returncode, output, set(re.findall(r"executed (\S+)", output))

    def page(self, name):
        return (self.folder / "site" / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("für alle"))  # a space and an umlaut, as people have
    shutil.copytree(ROOT / "docs" / "assets", project.folder / "docs" / "assets")
    shutil.copytree(ROOT / "docs" / "stylesheets", project.folder / "docs" / "stylesheets")
    for name in ("glossary.js", "questions.js"):
        script = (ROOT / "docs" / "javascripts" / name).read_text(encoding="utf-8")
        project.write(f"docs/javascripts/{name}", script)
    project.write("mkdocs.yml", CONFIGURATION)
    project.write("docs/index.md", "# Home\n\n[Page one](stages/one.py): a kernel.\n\n$$y_1$$\n")
    project.write("docs/glossary.md", "# Glossary\n\n## Kernel\n\nA small grid.\n")
    project.write("docs/stages/one.py", ONE)
    project.write("docs/stages/two.py", f"{TWO}\n# %%{SHOWN}")
    project.write("used/__init__.py", "from used.inner.number import number\n")
    project.write("used/inner/__init__.py", "")
    project.write("used/inner/number.py", "number = 41\n")
    status, output, executed = project.build()
    assert status == 0, output
    assert executed == {"stages/one.py", "stages/two.py"}
    return project


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project, with its cache, to change."""
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


@pytest.fixture(scope="module")
def page(built):
    return built.page("stages/one/index.html")


def test_a_page_shows_its_text_and_what_its_code_printed(page):
    assert "<title>Page one" in page
    assert "computed 41 here" in page
    assert 'href="../two/#exercises"' in page


def test_outputs_are_escaped_once(built):
    assert "&lt;quoted&gt; &amp; 'so'" in built.page("stages/two/index.html")


def test_a_short_command_is_not_broken_at_its_hyphens_and_a_long_one_is(page):
    assert '<code class="whole">mnist-steps train 8</code>' in page
    assert "<code>mnist-steps study --of causes --seeds 0-9</code>" in page


def test_neighbouring_solution_cells_share_one_closed_fold(page):
    folds = re.findall(r'<details class="solution">(.*?)</details>', page, re.DOTALL)
    assert len(folds) == 2
    assert "first half" in folds[0] and "Second <em>half</em>" in folds[0]
    assert "After the solution" not in folds[0] and "another" in folds[1]
    assert "<details open" not in page


def test_a_hint_is_a_fold_of_its_own_before_the_solution(page):
    (hint,) = re.findall(r'<details class="hint">(.*?)</details>', page, re.DOTALL)
    assert "<summary>Hint</summary>" in hint and "Think of <math" in hint and "another" not in hint
    assert page.index("Think of") < page.index("another")


def test_the_audit_is_one_fold_below_its_heading(page):
    (audit,) = re.findall(r'<details class="audit">(.*?)</details>', page, re.DOTALL)
    assert "everything in full, and where it comes from</summary>" in audit
    assert "In words." in audit and "in code" in audit and "<h2" not in audit
    assert page.index('<h2 id="the-audit">') < page.index('<details class="audit">')
    assert page.index("in code") < page.index('<h2 id="next">')


def test_formulas_and_words_are_explained_on_executed_pages_and_on_others(built):
    for name in ("stages/one/index.html", "index.html"):
        page = built.page(name)
        assert '<a class="term" href="' in page and 'data-meaning="A small grid."' in page
        assert '<div class="formula"' in page and "$" not in page[page.index("<article") :]
    assert 'href="../../glossary/#kernel"' in built.page("stages/one/index.html")


@pytest.mark.parametrize("name", ["docs/stages/two.py", "docs/index.md"])
def test_a_formula_that_cannot_be_converted_fails_the_build_by_name(project, name):
    text = (project.folder / name).read_text(encoding="utf-8")
    more = "\n# %% [markdown]\n# $\\nonsense$\n" if name.endswith(".py") else "\n$\\nonsense$\n"
    project.write(name, text + more)
    status, output, _ = project.build()
    assert status != 0 and "Traceback" not in output
    page = name.removeprefix("docs/")
    assert re.search(rf"{page}: the formula \$\\nonsense\$ cannot be converted", output), output


def test_a_figure_can_be_taken_away_as_a_file_with_a_line_of_credit(built):
    page = built.page("stages/two/index.html")
    assert '<a href="figures/1.svg" download="two-1.svg" aria-label="Figure 1 as an SVG' in page
    figure = built.page("stages/two/figures/1.svg")
    assert "Page two</text></svg>" in figure and "#1d5fbf" in figure and "var(" not in figure
    worker = (built.folder / "site" / "offline.js").read_text(encoding="utf-8")
    assert "figures/1.svg" not in worker and "stages/two/" in worker


def test_the_list_of_what_was_answered_knows_each_page_s_questions(built):
    page = built.page("stages/two/index.html")
    listed = '<li data-page="stages/one.py" data-checks="" data-predictions="">'
    assert listed in page
    assert 'data-page="stages/two.py" data-checks="aaaa bbbb" data-predictions="cccc"' in page


def test_a_notebook_folds_what_its_page_folds(built):
    notebook = nbformat.read(built.folder / "site/stages/one/one.ipynb", as_version=4)
    sources = {cell.source: cell for cell in notebook.cells}
    (hint,) = (source for source in sources if "Think of" in source)
    assert hint.startswith("<details><summary>Hint</summary>\n\n") and hint.endswith("</details>")
    assert "$x_1 * 2$" in hint, "Jupyter shows formulas by itself"
    for source, cell in sources.items():
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert hidden == bool({"hide-input", "fold", "solution", "audit"} & set(
            cell.metadata.get("tags", [])
        ) and cell.cell_type == "code"), source  # fmt: skip


def test_tags_hide_or_fold_a_cells_input_and_keep_its_output(page):
    assert "shown output" in page and "hidden_source" not in page
    (fold,) = re.findall(r'<details class="fold">(.*?)</details>', page, re.DOTALL)
    assert "folded_source" in fold and "Show the code" in fold


def test_a_page_brings_no_style_or_script_of_its_own_and_no_prompt(page):
    article = page[page.index('<div class="notebook">') : page.index("</article>")]
    assert "<style" not in article and "<script" not in article
    assert "In [" not in article and "In&nbsp;[" not in article
    assert len(page) < 40_000


def test_every_page_downloads_as_a_valid_notebook(built):
    for name in ("one", "two"):
        assert f'href="{name}.ipynb"' in built.page(f"stages/{name}/index.html")
        notebook = nbformat.read(built.folder / f"site/stages/{name}/{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        assert not any("pip install" in cell.source for cell in notebook.cells)


def test_without_an_address_nothing_links_to_a_repository(built):
    for file in (built.folder / "site").rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "colab" not in text.lower() and "md-source" not in text and "/edit/" not in text


def test_with_an_address_pages_open_in_colab_and_notebooks_install_the_package(project):
    status, output, executed = project.build("https://github.com/owner/steps")
    assert status == 0, output
    assert executed == set(), "no page was edited"
    page = project.page("stages/one/index.html")
    assert (
        "https://colab.research.google.com/github/owner/steps/blob/notebooks/stages/one.ipynb"
        in page
    )
    assert 'data-md-component="source"' not in page  # the theme's own would ask GitHub for stars
    notebook = nbformat.read(project.folder / "site/stages/one/one.ipynb", as_version=4)
    assert "git+https://github.com/owner/steps" in notebook.cells[0].source


def test_editing_what_a_page_uses_executes_that_page_alone(project):
    project.write("used/inner/number.py", "number = 42\n")
    status, output, executed = project.build()
    assert status == 0, output
    assert executed == {"stages/one.py"}
    assert "computed 42 here" in project.page("stages/one/index.html")


def test_a_module_that_cannot_be_read_is_named(project):
    project.write("used/inner/number.py", "number = \n")
    status, output, executed = project.build()
    assert status == 1 and not executed
    assert "number.py" in output and "Traceback" not in output


def test_an_edited_page_alone_is_executed_with_the_libraries_imported_and_its_process_ends(project):
    look = "import os, sys\n\nprint('wave' in sys.modules, 'used' in sys.modules, os.getpid())"
    project.write("docs/stages/two.py", f"{TWO}\n# %%\n{look}\n")
    project.write("mkdocs.yml", f"{CONFIGURATION}exclude_docs: stages/three.py\n")
    project.write("docs/stages/three.py", f"{TWO}\n# %%\n1 / 0\n")
    status, output, executed = project.build()
    assert status == 0, output
    assert executed == {"stages/two.py"}, "neither the other page nor one that is left out"
    assert not (project.folder / "site/stages/three").exists()
    assert len(list((project.folder / ".cache/pages").iterdir())) == 2  # the old page is gone
    page = project.page("stages/two/index.html")
    imported, used, process = re.search(r"(True|False) (True|False) (\d+)", page).groups()
    assert imported == str(sys.platform == "linux")
    assert used == "False", "an edit of the pages' own package would not count"
    assert not psutil.pid_exists(int(process))


def test_failing_cells_fail_the_build_and_are_all_named(project):
    picture = "from IPython.display import HTML\nHTML('<img src=\"data:,\">')"
    project.write("docs/stages/two.py", f"{TWO}\n# %%\n1 / 0\n")
    project.write("docs/stages/three.py", f"{TWO}\n# %%\n{picture}\n")
    project.write("docs/stages/four.py", f"{TWO}\n# %%\nimport os\n\nos._exit(1)\n")
    unshowable = "class Odd:\n    def _repr_html_(self):\n        raise ValueError('odd')\n\nOdd()"
    project.write("docs/stages/five.py", f"{TWO}\n# %%\n{unshowable}\n")
    status, output, executed = project.build()
    assert status != 0
    assert executed == set()
    place = "cell 3 of 3 (line 9)"
    assert f"stages/two.py, {place} raised ZeroDivisionError: division by zero" in output
    assert f"stages/three.py, {place} shows an image without alt text" in output
    assert f"stages/four.py, {place} ended its process" in output
    assert f"stages/five.py, {place} raised ValueError: odd" in output


BUSY = """\
# %% [markdown]
# # Busy

# %%
import os, subprocess, sys, time

other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("started.part", "w") as file:
    print(os.getpid(), other.pid, file=file)
os.rename("started.part", "started")
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("copied", [True, False], ids=["copied", "started"])
def test_ctrl_c_ends_a_build_with_one_line_and_every_process_that_it_started(project, copied):
    project.write("docs/stages/two.py", BUSY)
    if not copied:  # as on systems where kernels are no copies of a process
        settings = CONFIGURATION.replace(
            "executed_pages_import: [wave]", "executed_pages_import: []"
        )
        project.write("mkdocs.yml", settings)
    build = subprocess.Popen(
        [sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=project.folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},  # as in the Makefile
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until((project.folder / "started").is_file, seconds=120)
    of_page = [int(number) for number in (project.folder / "started").read_text().split()]
    started = [psutil.Process(pid) for pid in of_page]
    started += psutil.Process(build.pid).children(recursive=True)
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does
    _, said = build.communicate(timeout=60)
    assert build.returncode == 130
    assert said.strip() == "mkdocs: stopped."
    _, alive = psutil.wait_procs(started, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("links", [["missing.py"], ["one.py#missing", "../../missing/"]])
def test_a_broken_link_on_an_executed_page_fails_the_build(project, links):
    written = "".join(f"# [A link]({link})\n" for link in links)
    project.write("docs/stages/two.py", f"{TWO}\n# %% [markdown]\n{written}")
    status, output, _ = project.build()
    assert status != 0
    assert len(re.findall(r"leads nowhere: \S*missing", output)) == len(links), output


def test_a_built_site_fetches_nothing_from_outside(built):
    assert list(checks.problems(built.folder / "site")) == []


# --- What is missing or damaged, in a browser -----------------------------------------------------


@pytest.fixture
def shown(browser):
    """Open a page of a folder in a fresh browser; gives the page, which notes its complaints."""
    with contextlib.ExitStack() as stack:

        def open_page(site, name="", before=None):
            address = stack.enter_context(served(site))
            context = browser.new_context(service_workers="block")
            stack.callback(context.close)
            page = watch(context.new_page())
            if before:
                page.add_init_script(before)
            page.goto(address + name)
            return page

        yield open_page


def test_a_page_says_which_of_its_scripts_is_missing(project, shown):
    (script,) = (project.folder / "site/assets/javascripts").glob("bundle.*.min.js")
    script.unlink()
    page = shown(project.folder / "site", "stages/one/")
    told = page.get_by_role("alert").inner_text()
    assert script.name in told and "Load the page again" in told


def test_a_whole_page_says_nothing(built, shown):
    page = shown(built.folder / "site", "stages/one/")
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("alert").all() == []
    assert page.complaints == []


@pytest.mark.parametrize("missing", [True, False])
def test_the_search_says_so_when_its_index_is_missing_and_only_then(project, shown, missing):
    if missing:
        (project.folder / "site/search/search_index.json").unlink()
    page = shown(project.folder / "site")
    page.locator(".md-search__input").focus()
    page.wait_for_load_state("networkidle")
    told = page.locator(".md-search-result__meta").inner_text()
    assert ("its index cannot be loaded" in told) == missing


WHOLE = '{"index": 2, "color": {"scheme": "slate"}}'


@pytest.mark.parametrize("kept", ["{", "3", '{"index": 1, "color": "x"}', "null", WHOLE])
def test_damaged_settings_of_the_theme_are_put_aside_and_the_page_works(built, shown, kept):
    key = "location.pathname + '.__palette'"
    page = shown(
        built.folder / "site",
        before=f"localStorage.getItem('seen') ?? localStorage.setItem({key}, {kept!r});"
        "localStorage.setItem('seen', 'yes')",
    )
    page.wait_for_load_state("networkidle")
    assert page.complaints == []
    aside = page.evaluate(
        "Object.entries(localStorage).filter(([key]) => key.endsWith('.damaged'))"
    )
    assert [value for _, value in aside] == ([] if kept in ("null", WHOLE) else [kept])


@pytest.mark.parametrize(
    "markup",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img src="https://example.org/a.png" alt="a">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">a</p>',
        '<svg><image xlink:href="https://example.org/a.png"/></svg>',
        '<img src="a.png">',
        '<a href="missing/">a</a>',
        '<a href="#missing">a</a>',
    ],
)
def test_a_check_refuses(tmp_path, markup):
    (tmp_path / "a.png").touch()
    (tmp_path / "index.html").write_text(f"<html><body>{markup}</body></html>", encoding="utf-8")
    assert len(list(checks.problems(tmp_path))) == 1


def test_a_check_allows_links_to_elsewhere_and_code_about_them(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="https://example.org">a</a> <a href="#b">b</a> <b id="b">b</b>'
        '<script>const s = "<img src=https://example.org/a.png>"</script>'
        "<code>&lt;img src=&quot;https://example.org/a.png&quot;&gt;</code>",
        encoding="utf-8",
    )
    assert list(checks.problems(tmp_path)) == []
