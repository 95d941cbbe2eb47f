"""The workflows: what they may do, and that their scripts do what they say, run here for real."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
JOBS = [
    (f"{workflow}: {name}", job)
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
]
STEPS = [(name, step) for name, job in JOBS for step in job.get("steps", [])]

posix = pytest.mark.skipif(sys.platform == "win32", reason="workflows run these on Linux")


def script(workflow, job, step):
    """What a step runs, by its name."""
    (found,) = (one for one in WORKFLOWS[workflow]["jobs"][job]["steps"] if one.get("name") == step)
    return found["run"], found.get("env", {})


def bash(code, folder, **variables):
    """As GitHub runs a step."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


# --- What they may do -----------------------------------------------------------------------------


def test_actions_of_others_are_named_by_a_commit_with_its_version_beside_it():
    lines = [
        line.split("uses:")[1].strip()
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    others = [line for line in lines if not line.startswith("./")]
    assert len(others) > 10
    for line in others:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    assert len({line.split(" ")[0] for line in others}) == len(
        {line.split("@")[0] for line in others}
    )


def test_only_these_jobs_may_write_and_each_only_what_it_writes():
    assert all(content["permissions"] == {"contents": "read"} for content in WORKFLOWS.values())
    assert {name: job["permissions"] for name, job in JOBS if "permissions" in job} == {
        "release: attach": {"contents": "write"},
        "renew: propose": {"contents": "write", "pull-requests": "write", "actions": "write"},
        "site: deploy": {"pages": "write", "id-token": "write"},
        "site: notebooks": {"contents": "write"},
    }


def test_what_may_write_installs_and_runs_nothing_of_the_project():
    for name, job in JOBS:
        if "permissions" in job:
            runs = "\n".join(step.get("run", "") for step in job["steps"])
            assert not re.search(r"\b(pip|python|make|mnist-steps)\b(?!/)", runs), name


def test_no_checkout_leaves_a_token_behind_and_every_job_has_an_end():
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout")]
    assert len(checkouts) > 4
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)
    assert all("timeout-minutes" in job or "uses" in job for _, job in JOBS)


def test_nothing_from_outside_is_pasted_into_a_script():
    assert [name for name, step in STEPS if "${{" in step.get("run", "")] == []


@posix
def test_every_script_is_one():
    for name, step in STEPS:
        if "run" in step:
            assert bash(f"set -n\n{step['run']}", ROOT) == (0, ""), name


def test_the_site_and_a_release_wait_for_all_tests():
    for workflow, last in (("site", "deploy"), ("site", "notebooks"), ("release", "attach")):
        jobs = WORKFLOWS[workflow]["jobs"]
        assert jobs["tests"]["uses"] == "./.github/workflows/test.yml"
        assert "tests" in jobs[last]["needs"]
        assert "always()" not in str(jobs[last].get("if"))
    built = [name for name, step in STEPS if re.search(r"make site|mkdocs", step.get("run", ""))]
    assert built == [], "the site online is the one that .ci/run built and looked at"
    assert "step site\nstep site-test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_what_a_release_attaches_was_tried_in_a_fresh_environment():
    tried, _ = script("release", "build", "Each in a fresh environment, from another folder")
    attach = WORKFLOWS["release"]["jobs"]["attach"]
    files = "release/mnist_steps-*"
    assert files in tried and files in attach["steps"][-1]["run"] and "build" in attach["needs"]
    assert "venv fresh" in tried and "fresh/bin/mnist-steps verify" in tried


def test_pythons_and_systems_are_all_tried_and_only_one_kind_of_job_fills_the_cache():
    matrix = WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {system.partition("-")[0] for system in matrix["system"]} == {
        "ubuntu", "macos", "windows",
    }  # fmt: skip
    caches = {
        (name, step["with"]["cache"]) for name, step in STEPS if "cache" in step.get("with", {})
    }
    only = "matrix.system == 'ubuntu-latest'"
    assert caches == {
        ("test: test", "${{ " + only + " && matrix.python == '3.12' && 'pip' || '' }}"),
        ("test: engine", "${{ " + only + " && 'pip' || '' }}"),
        ("test: lint", "pip"),
    }


# --- What their scripts do ------------------------------------------------------------------------

GH = """\
#!/bin/sh
echo "$*" >> "$GH_LOG"
case "$1 $2" in
  "pr list") cat "$GH_OPEN" ;;
  "pr create") echo 7 > "$GH_OPEN" ;;
esac
"""


class Project:
    """A project on a server with two records, as far as a renewal is concerned, and `gh`."""

    def __init__(self, folder):
        self.folder, self.server, tools = folder / "clone", folder / "server", folder / "tools"
        self.log, open_ones = folder / "gh.log", folder / "open"
        tools.mkdir()
        for name, text in (
            ("gh", GH),
            ("mnist-steps", "#!/bin/sh\ncat mnist_steps/records/*/*/run.json\n"),
        ):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        open_ones.touch()
        self.log.touch()
        self.variables = {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(folder / "temporary"),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_SHA": "0123abc",
            "GITHUB_REF_NAME": "main",
            "GH_LOG": str(self.log),
            "GH_OPEN": str(open_ones),
        }
        self.git(
            "init", "--quiet", "--bare", "--initial-branch", "main", str(self.server), at=folder
        )
        self.git("clone", "--quiet", str(self.server), str(self.folder), at=folder)
        for stage in ("01_a", "02_b"):
            self.write(stage, run="old run", tensors="\0old\xff", environment="old date")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Records")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def git(self, *arguments, at=None):
        me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        done = subprocess.run(
            ["git", *me, *arguments],
            cwd=at or self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def write(self, stage, **files):
        names = {
            "run": "run.json",
            "tensors": "tensors.safetensors",
            "environment": "environment.json",
        }
        folder = self.folder / "mnist_steps" / "records" / stage / "seed-8"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / names[name]).write_bytes(text.encode("latin-1") + b"\n")

    def renew(self):
        """Both scripts, each in a fresh clone as on GitHub's machines; what `gh` was asked."""
        self.log.write_text("")
        output = Path(self.variables["GITHUB_OUTPUT"])
        output.write_text("")
        (self.folder / "before.txt").write_text("old run\n")
        code, _ = script("renew", "train", "Compare runs and tensors")
        status, said = bash(code, self.folder, **self.variables)
        assert status == 0, said
        if output.read_text() == "changed=false\n":
            return None
        assert output.read_text() == "changed=true\n"
        second = self.folder.with_name("second")
        shutil.rmtree(second, ignore_errors=True)
        self.git("clone", "--quiet", str(self.server), str(second), at=self.folder.parent)
        code, variables = script("renew", "propose", "Propose and test")
        told = {name: text for name, text in variables.items() if "${{" not in text}
        status, said = bash(code, second, **self.variables, **told)
        assert status == 0, said
        return self.log.read_text()


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@posix
def test_a_renewal_that_differs_in_dates_alone_proposes_nothing(project):
    project.write("01_a", environment="new date")
    project.write("02_b", environment="new date")
    assert project.renew() is None
    assert project.git("status", "--porcelain") == "?? before.txt"


@posix
@pytest.mark.parametrize("changed", ["run", "tensors"])
def test_a_renewal_proposes_the_records_that_changed_and_only_these(project, changed):
    project.write("01_a", environment="new date")
    project.write("02_b", environment="new date", **{changed: "new"})
    asked = project.renew()
    assert "pr create --base main --head renewed-records" in asked
    files = project.git("diff", "--name-only", "main", "renewed-records", at=project.server)
    assert {Path(name).parts[2] for name in files.splitlines()} == {"02_b"}
    assert "environment.json" in files
    body = Path(project.variables["RUNNER_TEMP"], "proposal", "body.md").read_text()
    assert body.startswith("Every stage trained again from scratch, with the code of 0123abc")
    if changed == "run":
        assert "+new" in body


@posix
def test_a_second_renewal_takes_the_same_branch_and_the_open_pull_request_and_both_are_tested(
    project,
):
    project.write("01_a", run="new run")
    assert "workflow run test.yml --ref renewed-records" in project.renew()
    first = project.git("rev-parse", "renewed-records", at=project.server)
    project.git("reset", "--quiet", "--hard")
    project.write("02_b", run="newer run")
    asked = project.renew()
    assert "pr edit 7 --body-file" in asked and "pr create" not in asked
    assert "workflow run test.yml --ref renewed-records" in asked
    branches = project.git("branch", "--format", "%(refname:short)", at=project.server).split()
    assert branches == ["main", "renewed-records"]
    assert project.git("rev-parse", "renewed-records", at=project.server) != first
    parent = project.git("rev-parse", "renewed-records^", at=project.server)
    assert parent == project.git("rev-parse", "main", at=project.server), (
        "one commit on top of main"
    )


def test_the_tests_can_be_dispatched_which_is_how_a_renewal_is_tested():
    assert "workflow_dispatch" in WORKFLOWS["test"][True]  # YAML 1.1 reads `on` as a truth value


@posix
def test_a_release_takes_its_notes_from_the_changelog_and_wants_tag_and_version_to_agree(tmp_path):
    (tmp_path / "mnist_steps").mkdir()
    (tmp_path / "mnist_steps" / "__init__.py").write_text('"""Doc."""\n\n__version__ = "1.2.3"\n')
    changes = "# Changelog\n\n## 1.2.3\n\n- A new thing.\n\n## 1.2.2\n\n- An old thing.\n"
    (tmp_path / "CHANGELOG.md").write_text(changes)
    code, _ = script("release", "build", "The tag is the version, and the changelog knows it")
    assert bash(code, tmp_path, GITHUB_REF_NAME="v1.2.3") == (0, "")
    assert (tmp_path / "release" / "notes.md").read_text().strip() == "- A new thing."
    status, said = bash(code, tmp_path, GITHUB_REF_NAME="v1.2.4")
    assert status == 1 and "the tag is v1.2.4, mnist_steps/__init__.py says 1.2.3" in said
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.2.3\n\n## 1.2.2\n\n- An old thing.\n"
    )
    status, said = bash(code, tmp_path, GITHUB_REF_NAME="v1.2.3")
    assert status == 1 and "nothing under '## 1.2.3'" in said


@posix
def test_the_branch_of_notebooks_has_them_where_the_colab_buttons_look(tmp_path):
    page = tmp_path / "site" / "stages" / "03_lighter"
    page.mkdir(parents=True)
    (page / "03_lighter.ipynb").write_text("{}")
    code, _ = script("site", "notebooks", "Collect the notebooks")
    assert bash(code, tmp_path) == (0, "")
    found = [path for path in (tmp_path / "notebooks").rglob("*") if path.is_file()]
    assert found == [tmp_path / "notebooks" / "stages" / "03_lighter.ipynb"]
