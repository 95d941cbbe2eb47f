"""What an executed page depends on: pages are executed again when that changed, and only then."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from site_tools.dependencies import Imports, code_of, digests_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    page.relative_to(DOCS).as_posix()
    for page in [*DOCS.glob("*/*.py"), DOCS / "index.md", DOCS / "compare.md"]
]


def digests(folder):
    return digests_of(folder / "docs", PAGES, Imports(folder, ["mnist_steps"]))


@pytest.fixture(scope="module")
def before():
    return digests(ROOT)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Of the package and the pages."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("mnist_steps", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "assets")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture
def pages_after(copy, monkeypatch, before):
    """A function: which pages another digest belongs to after an edit of a file of the package."""
    monkeypatch.delitem(sys.modules, "mnist_steps", raising=False)  # the copy's is looked for

    def changed(name):
        file = copy / "mnist_steps" / name
        whole = file.read_bytes()
        file.write_bytes(whole + b"\n")
        after = digests(copy)
        file.write_bytes(whole)
        return {page for page in before if before[page] != after[page]}

    return changed


class Small:
    """A package `used` in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def files(self, code):
        imports = Imports(self.folder, ["used"])
        files = (file for module in imports.modules(code) for file in imports.files(module))
        return {file.relative_to(self.folder / "used").as_posix() for file in files}


@pytest.fixture
def small(tmp_path):
    small = Small(tmp_path)
    small.write("used/__init__.py", "")
    small.write("used/inner/__init__.py", "from used.inner.shown import *\n")
    small.write("used/inner/shown.py", "def late():\n    from used import deep\n")
    small.write("used/inner/other.py", "")
    small.write("used/deep.py", "")
    small.write("used/apart/__init__.py", "import used.inner.other\n")
    return small


def test_an_edit_of_the_grader_executes_only_the_pages_that_show_grades(pages_after):
    assert pages_after("assignment/grading.py") == {"assignment/example.py", "reference/files.py"}


def test_an_edit_of_the_networks_executes_every_page_because_all_use_them(pages_after):
    assert pages_after("models.py") == set(PAGES)


def test_an_edit_of_a_command_executes_no_page(pages_after):
    assert pages_after("commands/main.py") == set()


def test_an_edit_of_a_record_executes_all_pages_because_any_may_read_it(pages_after):
    assert pages_after("records/04_batch_norm/seed-8/run.json") == set(PAGES)


def test_an_edit_of_the_benchmark_executes_the_pages_that_import_it(pages_after):
    changed = pages_after("experiments/bench.py")
    assert "guides/speed.py" in changed
    assert not any(page.startswith("stages/") for page in changed)


def test_a_face_a_late_import_and_the_packages_around_a_module_count(small):
    face = {"__init__.py", "inner/__init__.py", "inner/shown.py", "deep.py"}
    assert small.files("from used import inner") == face
    assert small.files("import used.inner.other") == face | {"inner/other.py"}
    assert small.files("from used.apart import x") == face | {"inner/other.py", "apart/__init__.py"}


def test_data_belongs_to_the_package_in_whose_folder_it_lies(small):
    small.write("used/apart/table.json", "")
    small.write("used/apart/given/model.py", "")  # in a folder that is no package: no module
    small.write("used/numbers/a.json", "")
    assert small.files("import used") == {"__init__.py", "numbers/a.json"}
    assert {"apart/table.json", "apart/given/model.py"} <= small.files("import used.apart")


def test_code_that_is_not_python_depends_on_everything(small):
    assert {"inner/other.py", "apart/__init__.py"} <= small.files("%matplotlib inline")


@pytest.mark.slow
def test_what_a_page_imports_when_it_runs_is_among_what_it_depends_on():
    """Each page's own import statements, carried out: Python says what they bring."""
    imports = Imports(ROOT, ["mnist_steps"])
    statements = {}
    for name in PAGES:
        found = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(code_of(DOCS / name)))
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        statements[name] = "\n".join(found)
    look = """if True:
        import json, sys
        brought = {}
        for page, code in json.load(sys.stdin).items():
            for name in [name for name in sys.modules if name.startswith("mnist_steps")]:
                del sys.modules[name]
            exec(code, {})
            brought[page] = [name for name in sys.modules if name.startswith("mnist_steps")]
        print(json.dumps(brought))
        """
    done = subprocess.run(
        [sys.executable, "-c", look],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for page, brought in json.loads(done.stdout).items():
        assert set(brought) <= imports.modules(code_of(DOCS / page)), page
