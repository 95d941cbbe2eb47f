"""The package as strangers get it: built, put into an empty environment, run as somebody else."""

import ast
import email
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import mnist_steps

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("tests", "docs", "site", "site_tools", ".git", ".cache", ".venv", "build")
NOBODY = 65534


def source(folder):
    """A copy of what git has of the project, and of what it will have."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def metadata(folder, **addresses):
    """What the package says of itself when it is built with these variables."""
    code = "import sys; from setuptools import build_meta as build;"
    code += "print('>>>' + build.prepare_metadata_for_build_wheel(sys.argv[1]))"
    nothing = {"MNIST_STEPS_REPOSITORY": "", "MNIST_STEPS_SITE_URL": ""}
    out = tempfile.mkdtemp(dir=folder)
    done = subprocess.run(
        [sys.executable, "-c", code, out], cwd=folder, capture_output=True, text=True, check=True,
        env=os.environ | nothing | addresses,
    )  # fmt: skip
    written = Path(out, done.stdout.rpartition(">>>")[2].strip(), "METADATA")
    return email.message_from_string(written.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """In a place as people have them: with a space and an umlaut."""
    return source(tmp_path_factory.mktemp("für mich"))


@pytest.fixture(scope="module")
def said(checkout):
    return metadata(checkout)


@pytest.fixture(scope="module")
def built(checkout):
    """A folder with the source distribution, and the wheel made of it."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."]
    subprocess.run(command, cwd=checkout, capture_output=True, check=True)
    return checkout / "dist"


def test_the_version_is_one_and_the_same_everywhere(said):
    assert said["Version"] == mnist_steps.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mnist_steps.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {mnist_steps.__version__}" in changes


def test_the_package_states_the_licences_of_its_code_and_of_its_data(said):
    assert said["License-Expression"] == "MIT AND CC-BY-SA-3.0"
    assert said.get_all("License-File") == ["LICENSE", "mnist_steps/mnist/LICENSE"]
    assert "LeCun" in (ROOT / "mnist_steps/mnist/LICENSE").read_text(encoding="utf-8")


def test_the_package_says_for_which_pythons_it_is_those_that_the_workflow_tests(said):
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    stated = [line for line in said.get_all("Classifier") if line.startswith(prefix)]
    assert [line.rpartition(" ")[2] for line in stated] == tested
    assert said["Requires-Python"] == f">={tested[0]}"
    assert "MNIST" in said["Keywords"]


def test_no_address_appears_while_none_is_given(said):
    assert said.get_all("Project-URL") is None


def test_all_addresses_follow_from_the_two_settings(checkout):
    said = metadata(
        checkout,
        MNIST_STEPS_REPOSITORY="https://github.com/owner/mnist-steps.git",
        MNIST_STEPS_SITE_URL="https://owner.github.io/mnist-steps/",
    )
    assert said.get_all("Project-URL") == [
        "Source, https://github.com/owner/mnist-steps",
        "Issues, https://github.com/owner/mnist-steps/issues",
        "Documentation, https://owner.github.io/mnist-steps/",
    ]


def test_the_readme_needs_no_file_beside_it(said):
    text = said.get_payload()
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert text.startswith("# ") and "mnist-steps" in text
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built, checkout):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {
        path.relative_to(checkout).as_posix()
        for path in (checkout / "mnist_steps").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == here
    assert "mnist_steps/py.typed" in names


@pytest.mark.slow
def test_the_source_distribution_builds_the_package_and_leaves_the_rest_out(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = [Path(name).parts[1:] for name in archive.getnames()]
    tops = {parts[0] for parts in names if parts}
    assert tops.isdisjoint(LEFT_OUT)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "setup.py"} <= tops


# --- Installed ------------------------------------------------------------------------------------


# Where tests run as root, whom no permission stops, strangers are played by another user.
STRANGER = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
AS_STRANGER = STRANGER if hasattr(os, "getuid") and os.getuid() == 0 else {}


def a_python_for_strangers():
    """This Python, or the system's of the same version where this one is in somebody's home."""
    version = "{}.{}".format(*sys.version_info)
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        try:
            done = subprocess.run(
                [python, "-c", code], capture_output=True, text=True, **AS_STRANGER
            )
        except OSError:
            continue
        if done.stdout.strip() == version:
            return python
    pytest.skip(f"no Python {version} here that another user may run")


class Installed:
    """An environment with the wheel alone; all that it needs lies where it lies for the tests."""

    def __init__(self, folder, wheel):
        self.home = folder / "somewhere"
        self.home.mkdir()
        folder.chmod(0o755)  # temporary folders are for one user only
        python = a_python_for_strangers()
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        self.python = folder / "venv" / scripts / python.name
        asked = [self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        with zipfile.ZipFile(wheel) as content:  # as pip unpacks it, when a wheel is pure Python
            content.extractall(packages)
        libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        Path(packages, "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
        self.package = Path(packages, "mnist_steps")
        for path in [folder, *folder.rglob("*")]:  # to be read by anybody, written by nobody
            if not path.is_symlink():
                path.chmod((stat.S_IMODE(path.stat().st_mode) | 0o555) & ~0o222)

    def run(self, *arguments):
        """`python -m mnist_steps` as a user without a home, in a folder that cannot be written."""
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        return subprocess.run(
            [self.python, "-m", "mnist_steps", *map(str, arguments)],
            cwd=self.home, env=kept, capture_output=True, text=True, **AS_STRANGER,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(built):
    folder = Path(tempfile.mkdtemp(prefix="für jemand anderes-"))
    try:
        environment = Installed(folder, next(built.glob("*.whl")))
        trial = environment.run("--version")
        if "No module named" in trial.stderr:
            pytest.skip(f"another user cannot read the libraries: {trial.stderr}")
        assert trial.stdout == f"mnist-steps {mnist_steps.__version__}\n", trial.stderr
        yield environment
    finally:
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o700)
        shutil.rmtree(folder)


def test_every_library_that_the_package_imports_is_among_those_that_it_asks_for():
    """The installed package below finds all libraries of the tests: what is missing shows here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["bench"], *extras["dask"], *extras["engine"]]
    named = {re.match(r"[\w-]+", line)[0].lower() for line in asked}
    imported = set()
    for file in (ROOT / "mnist_steps").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "mnist_steps"}
    providers = importlib.metadata.packages_distributions()
    assert "torch" in imported
    assert {providers.get(name, [name])[0].lower() for name in imported} - named == set()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="permissions there are not of this kind")
@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["summary", "8"], "7,884"),
        (["stages", "--json"], '"slug": "08_lr_scheduler"'),
        (["verify", "8", "--steps", "2"], "stage 8, seed 8: holds"),
    ],
)
def test_it_works_as_another_user_without_home_where_nothing_can_be_written(
    installed, arguments, expected
):
    done = installed.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="permissions there are not of this kind")
def test_there_a_record_is_refused_at_once_and_in_one_line(installed):
    done = installed.run("record", "8")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"cannot write {installed.package / 'records'}" in done.stderr
