"""The jail: what hostile code tries in it fails, and an honest network comes out all the same."""

import errno
import json
import os
import platform
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from handed_in import there_is

from mnist_steps.assignment import inner, rebuild, sandbox, syscalls
from mnist_steps.assignment.sandbox import Limits, SandboxUnavailable, TraceFailed
from mnist_steps.errors import MnistStepsError

HONEST = (
    "from torch import nn\n"
    "def build_model():\n"
    "    return nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten(), nn.LogSoftmax(1))\n"
)


@pytest.fixture
def jail():
    there_is("bubblewrap")


# Each part tries something and notes whether it succeeded; the honest network follows.
BEGIN = """
import ctypes, json, mmap, os, resource, signal, socket, sys, threading, time

tried = {}

def attempt(name):
    def now(action):
        try:
            tried[name] = action()
        except BaseException as error:
            tried[name] = type(error).__name__
    return now
"""
END = """
print(json.dumps(tried, separators=(",", ":")))
"""
ATTACKS = """
@attempt("network")
def _(): return socket.create_connection(("127.0.0.1", PORT), 2) and "got out"
@attempt("data")
def _():
    places = [PACKAGE] + [place + "/mnist_steps" for place in sys.path]
    wanted = ("mnist", "records", "assignment", "stages.py")
    return [place + "/" + one for place in places for one in wanted
            if os.path.exists(place + "/" + one)]
@attempt("secret")
def _(): return open(SECRET).read()
@attempt("home")
def _():
    return [place for place in HOMES if os.path.exists(place) and os.listdir(place)]
@attempt("environment")
def _(): return "SECRET_TOKEN" in os.environ or "SECRET_TOKEN" in open("/proc/1/environ").read()
@attempt("write")
def _():
    written = []
    system = ("/", "/usr", "/etc", "/run", "/var/tmp", "/dev", "/dev/shm", "/sys", "/proc")
    for place in (*system, "/jail", *sys.path):
        try:
            open(place + "/x", "w").close(); written.append(place)
        except OSError:
            pass
    return written
@attempt("processes")
def _(): return [int(one) for one in os.listdir("/proc") if one.isdigit() and int(one) > 99]
@attempt("kill")
def _():
    os.kill(1, signal.SIGKILL)
    return "killed"
@attempt("ptrace")
def _(): return ctypes.CDLL(None).ptrace(16, 1, 0, 0)
@attempt("rights")
def _():
    status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
    return [int(status["CapEff"], 16), int(status["CapPrm"], 16), int(status["NoNewPrivs"])]
@attempt("root")
def _(): os.setuid(0); return "root"
@attempt("limits")
def _():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"
@attempt("memory")
def _(): return len(bytearray(2 << 30))
@attempt("shared")
def _(): return len(mmap.mmap(-1, 2 << 30))
@attempt("file")
def _():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return open("/tmp/big", "wb").write(bytes(64 << 20))
@attempt("fork")
def _():
    children = []
    try:
        while len(children) < 50:
            child = os.fork()
            if child == 0:
                os.setsid()
                time.sleep(600)  # holds all pipes, and would outlive the run
            children.append(child)
    except OSError:
        pass
    return len(children) < 10
"""
# By number, as the C library may refuse them by itself.
CALLS = """
kernel = ctypes.CDLL(None, use_errno=True)
def call(*given):
    done = kernel.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in given))
    return "done" if done >= 0 else os.strerror(ctypes.get_errno())
def number(name): return CALLS_REFUSED[name][COLUMN]

for name, space in dict(user=0x10000000, mount=0x20000, ipc=0x8000000, time=0x80).items():
    tried["unshare " + name] = call(number("unshare"), space)
@attempt("clone")
def _():
    child = kernel.syscall(CALLS_CLONE[COLUMN], 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0: os._exit(0)
    return "done" if child > 0 else os.strerror(ctypes.get_errno())
tried["clone3"] = call(number("clone3"), 0, 0)
tried["setns"] = call(number("setns"), os.open("/proc/self/ns/net", os.O_RDONLY), 0)
tried["mount"] = kernel.mount(b"x", b"/tmp", b"tmpfs", 0, None)
tried["shared memory"] = call(number("shmget"), 0, 1 << 30, 0o1600)
tried["semaphores"] = call(number("semget"), 0, 32000, 0o1600)
tried["messages"] = call(number("msgget"), 0, 0o1600)
tried["memfd"] = call(number("memfd_create"), b"x", 0)
tried["io_uring"] = call(number("io_uring_setup"), 8, ctypes.create_string_buffer(120))
tried["keys"] = call(number("keyctl"), 0, -3, 0)
for family in (1, 2, 10, 16, 17, 38, 40):  # unix inet inet6 netlink packet alg vsock
    for kind in (1, 2, 3):
        tried["socket %d %d" % (family, kind)] = call(number("socket"), family, kind, 0)
# The honest twins: what a program may well do, and Python itself does.
thread = threading.Thread(target=lambda: tried.update(thread="ran"))
thread.start(); thread.join()
child = os.fork()
if child == 0: os._exit(7)
tried["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
one, other = socket.socketpair()
one.send(b"x"); tried["pair"] = other.recv(1).decode()
with open("/tmp/mine", "w") as file: file.write("x")
with open("/tmp/mine", "r+b") as file: tried["file of its own"] = len(mmap.mmap(file.fileno(), 0))
"""


def check_calls(tried):
    """Every attack of `CALLS` failed, its honest twins did not."""
    honest = {name: tried.pop(name) for name in ("thread", "child", "pair", "file of its own")}
    assert honest == {"thread": "ran", "child": 7, "pair": "x", "file of its own": 1}
    assert tried.pop("mount") == -1
    refused = {"Operation not permitted", "Function not implemented"}
    for name in [name for name in tried if name.startswith(("unshare", "socket "))]:
        assert tried.pop(name) in refused | {os.strerror(errno.EAFNOSUPPORT)}, name
    for name in (
        "clone", "clone3", "setns", "shared memory", "semaphores", "messages", "memfd",
        "io_uring", "keys",
    ):  # fmt: skip
        assert tried.pop(name) in refused, name


def constants(**values):
    column = list(syscalls.ARCHITECTURES).index(platform.machine())
    values |= {
        "CALLS_REFUSED": syscalls.REFUSED, "CALLS_CLONE": syscalls.CLONE, "COLUMN": column,
    }  # fmt: skip
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


@pytest.mark.slow
@pytest.mark.parametrize("level", ["bubblewrap", "podman"])
def test_attacks_fail_and_the_honest_network_beside_them_is_traced(level, tmp_path, monkeypatch):
    import socket

    there_is(level)
    monkeypatch.setattr(sandbox, "level", lambda: level)
    secret = tmp_path / "secret"
    secret.write_text("the grader's seeds")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setattr(sandbox, "one_line", str)  # all of what was printed
    server = socket.create_server(("127.0.0.1", 0))
    package = str(sandbox.PACKAGE)
    homes = [os.path.expanduser("~"), "/root", "/home"]
    assert os.listdir(homes[0]), "the honest twin: outside there is something to be seen"
    told = constants(PORT=server.getsockname()[1], SECRET=str(secret), PACKAGE=package, HOMES=homes)
    started = time.monotonic()
    code = told + BEGIN + CALLS + ATTACKS + END + HONEST
    traced = sandbox.trace(code, limits=Limits(seconds=400))
    server.close()
    assert traced.level == level
    assert rebuild.read(traced.graph).parameters == 7850
    tried = json.loads(traced.printed)
    check_calls(tried)
    assert tried.pop("network") in ("ConnectionRefusedError", "OSError")
    assert tried.pop("secret") == "FileNotFoundError"
    assert tried.pop("environment") in (False, "PermissionError")
    assert tried.pop("kill") in ("PermissionError", "killed")  # init ignores what it may ignore
    assert tried.pop("shared") in ("OSError", "ValueError", "MemoryError")
    # Python itself may be installed below a home folder; then the way to it is there, and no more.
    python = os.path.realpath(sys.base_prefix)
    assert [one for one in tried.pop("home") if not python.startswith(one)] == []
    assert tried == {
        "data": [],
        "write": [],
        "processes": [],
        "ptrace": -1,
        "rights": [0, 0, 1],
        "root": "PermissionError",
        "limits": "ValueError",
        "memory": "MemoryError",
        "file": "OSError",
        "fork": True,
    }
    assert time.monotonic() - started < 580, "its children were waited for"
    assert not alive("time.sleep(600)"), "a process of the jail is still there"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="is one already")
def test_an_ordinary_users_jail_refuses_the_same_calls(jail, monkeypatch):
    """Without torch, and with the system's Python, which every user may read."""
    system = "/usr/bin/python3"
    if not os.path.exists(system):
        pytest.skip(f"there is no {system}")
    somebody = 12345
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    monkeypatch.setattr(sandbox, "_visible", lambda: [])
    walls = sandbox._walls()
    assert "--disable-userns" in walls
    code = constants() + (
        "import runpy\n"
        f"inner = runpy.run_path({str(sandbox.JAIL / 'inner.py')!r})\n"
        f"inner['refuse_calls'](bytes.fromhex({syscalls.program().hex()!r}))\n"
    )
    with_filter = subprocess.run(
        [*walls, system, "-I", "-S", "-c", code + BEGIN + CALLS + END],
        env=sandbox.ENVIRONMENT, user=somebody, group=somebody, extra_groups=[],
        capture_output=True, text=True,
    )  # fmt: skip
    if "No permissions to create a new namespace" in with_filter.stderr:
        pytest.skip("this system lets ordinary users make no jail")
    tried = json.loads(with_filter.stdout)
    check_calls(tried)
    assert tried == {}


def test_the_filter_is_whole_and_an_unknown_machine_gets_none():
    """Each refused call has its own test and answer; the last answer lets all others pass."""
    for machine in syscalls.ARCHITECTURES:
        steps = [*struct.iter_unpack("=HBBI", syscalls.program(machine))]
        asked = [k for code, _, _, k in steps if code == syscalls.IF_EQUAL]
        assert len(asked) == len(syscalls.REFUSED) + 2 and len(set(asked)) == len(asked)
        assert steps[-1] == (syscalls.ANSWER, 0, 0, syscalls.ALLOW)
        jumps = [place + max(jt, jf) for place, (_, jt, jf, _) in enumerate(steps)]
        assert max(jumps) < len(steps)
    assert syscalls.program("pdp11") == b""


def alive(text):
    """Whether there is a process with this in its command line."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            found.append(open(f"/proc/{entry}/cmdline").read()) if entry.isdigit() else None
        except OSError:
            pass
    return any(text in one for one in found)


@pytest.mark.slow
def test_a_loop_that_burns_the_processor_is_ended(jail):
    with pytest.raises(TraceFailed, match="1 s of processor time"):
        sandbox.trace(HONEST + "while True: pass", limits=Limits(cpu_seconds=1, seconds=300))


# ---- The same walls and pipes around a program without torch, which takes no seconds to start ----


def run(code, level="bubblewrap", **limits):
    """Run Python code in the jail; it answers on file descriptor ANSWER."""
    code = f"import os, time\nANSWER = os.dup(1); os.dup2(2, 1)\nos.write(ANSWER, b'S')\n{code}"
    with sandbox._walls_of(level, Limits()) as walls:
        command = [*walls, *sandbox._python_alone(), "-c", code]
        received = sandbox._run(command, "", Limits(**limits), level)
    return sandbox._graph(received, Limits(**limits))


def test_files_without_end_are_ended_before_they_fill_the_memory(jail):
    code = "n = 0\nwhile True: open(f'/tmp/{n}', 'w').close(); n += 1"
    with pytest.raises(TraceFailed, match="more than 1,000 files"):
        run(code, seconds=100)
    few = "for n in range(100): open(f'/tmp/{n}', 'w').close()\nos.write(ANSWER, b'G1')"
    assert run(few) == b"1"


def test_an_answer_comes_back_and_what_is_printed_is_not_the_answer(jail):
    assert run("print('SG{}', flush=True); os.write(ANSWER, b'G[1]')") == b"[1]"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("time.sleep(900)", "longer than 2 s"),
        ("while True: print('x' * 999)", "printed more than"),
        ("while True: os.write(ANSWER, b'G' * 999)", "more than 64 KB"),
        ("os._exit(0)", "ended the program .status 0."),
        ("os.abort()", "ended the program"),
        ("os.write(ANSWER, b'Pmodel.py, line 3: \\x1b[2Jbad\\nluck')", "line 3: .2Jbad luck$"),
    ],
)  # fmt: skip
def test_what_does_not_end_or_answer_well_fails_in_one_line(jail, code, complaint):
    with pytest.raises(TraceFailed, match=complaint) as failure:
        run(code, seconds=2)
    assert len(str(failure.value).splitlines()) == 1


def test_a_process_left_behind_is_gone_and_not_waited_for(jail):
    started = time.monotonic()
    code = "print(end='', flush=True)\nif os.fork() == 0: os.setsid(); time.sleep(905)\n"
    assert run(code + "else: os.write(ANSWER, b'G1')", seconds=120) == b"1"
    assert time.monotonic() - started < 100
    time.sleep(0.5)
    assert not alive("time.sleep(905)")


def test_nothing_that_is_installed_has_a_say_when_python_starts(jail):
    assert run("import sys; os.write(ANSWER, b'G%d' % ('site' in sys.modules))") == b"0"


@pytest.mark.parametrize("level", ["bubblewrap", "podman"])
def test_an_installed_package_shows_neither_data_nor_records(level, tmp_path, monkeypatch):
    there_is(level)
    tmp_path.chmod(0o755)
    package = tmp_path / "libraries" / "mnist_steps"
    package.mkdir(parents=True)
    for name in (*sandbox.NEEDED, "data.idx"):
        (package / name).write_text("x")
    (package.parent / "torch.py").write_text("x")
    monkeypatch.setattr(sandbox, "PACKAGE", package)
    monkeypatch.setattr(sandbox, "_libraries", lambda: (package.parent,))
    places = [str(package.parent), str(package), "/jail/mnist_steps"]
    seen = run(f"os.write(ANSWER, b'G' + str([*map(os.listdir, {places})]).encode())", level)
    assert b"torch.py" in seen and b"graph" in seen, "the honest twin: libraries are there"
    assert b"data.idx" not in seen


@pytest.mark.slow
def test_of_a_container_that_is_ended_from_outside_nothing_is_left(monkeypatch):
    there_is("podman")
    code = "import os, time\nos.write(1, b'S')\nif os.fork() == 0: os.setsid()\ntime.sleep(907)"
    with sandbox._walls_of("podman", Limits()) as walls:
        name, root = walls[walls.index("--name") + 1], Path(walls[-1])
        assert root.is_dir() and os.listdir(root) == []
        with pytest.raises(TraceFailed, match="longer than 2 s"):
            command = [*walls, *sandbox._python_alone(), "-c", code]
            sandbox._run(command, "", Limits(seconds=2), "podman")
        assert alive("time.sleep(907)"), "ending podman does not end its container"
    assert not alive("time.sleep(907)") and not root.exists()
    listed = subprocess.run(["podman", "ps", "--all", "--noheading"], capture_output=True)
    assert name not in listed.stdout.decode()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A PATH with only what the test puts there: name to what a shell does."""

    def install(**scripts):
        for name, script in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    monkeypatch.setattr(sandbox, "problem_with", sandbox.problem_with.__wrapped__)
    return install


def test_bubblewrap_is_tried_first_then_podman_then_docker(programs, tmp_path):
    programs()
    assert sandbox.level() == "none" and "docker was not found" in sandbox.problem()
    programs(docker="case $1 in run) echo inside;; esac")
    assert sandbox.level() == "docker"
    programs(podman="echo inside")
    assert sandbox.level() == "podman" and sandbox.describe()["version"] == "inside"
    programs(podman="echo no cgroups here >&2; exit 126")
    assert sandbox.level() == "docker", "what is installed and fails is no jail"
    assert "podman fails here (no cgroups here)" in sandbox.problem_with("podman")
    programs(bwrap="echo inside")
    assert sandbox.level() == "bubblewrap"


@pytest.mark.parametrize("level", ["podman", "docker"])
def test_a_container_gets_no_more_than_the_jail(programs, tmp_path, level):
    """As far as the command says it; podman is also attacked, above."""
    programs(docker='echo "$@" >> ' + str(tmp_path / "asked"), podman="true")
    with sandbox._walls_of(level, Limits()) as walls:
        words = " ".join(walls)
    for wanted in (
        "--network none", "--ipc none", "--read-only ", "--cap-drop ALL", "--pids-limit 16",
        "--security-opt no-new-privileges", "--memory 2147483648 --memory-swap 2147483648",
        "--cpus 1", "/tmp:rw,nosuid,nodev,mode=1777,size=16777216",
    ):  # fmt: skip
        assert wanted in words
    assert int(walls[walls.index("--user") + 1].split(":")[0]) >= 1_000_000
    volumes = [walls[place + 1] for place, word in enumerate(walls) if word == "--volume"]
    assert volumes and all(volume.endswith(":ro") for volume in volumes)
    if level == "docker":
        assert walls[-3:] == ["--pull", "never", sandbox.EMPTY]
        assert "import - mnist-steps-empty" not in words
        assert (tmp_path / "asked").read_text().splitlines()[0] == "image inspect mnist-steps-empty"


def test_without_a_jail_nothing_runs_unless_somebody_insists(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "problem", lambda: "the program bwrap was not found")
    monkeypatch.setattr(sandbox, "_run", lambda *given: pytest.fail("it ran"))
    with pytest.raises(SandboxUnavailable, match="--unsafe"):
        sandbox.trace(HONEST)
    ran = sandbox._Received(b"SG{}", b"", 0)
    monkeypatch.setattr(sandbox, "_run", lambda *given: ran)
    assert sandbox.trace(HONEST, unsafe=True).level == "none"


def test_a_jail_that_fails_to_start_is_not_blamed_on_the_submission(jail, monkeypatch):
    monkeypatch.setattr(sandbox, "_python", lambda: "/no/python/here")
    with pytest.raises(SandboxUnavailable, match="before it came to the submission"):
        sandbox.trace(HONEST)


# ---- What the program inside says about honest mistakes ------------------------------------------


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def build_model():\n    return unknown", "model.py, line 2: NameError"),
        ("def build_model(:\n    pass", "model.py, line 1: SyntaxError"),
        ("import nothing_like_this\nnothing_like_this.run()", "model.py, line 2: NotHere"),
        ("raise SystemExit", "model.py, line 1: SystemExit"),
        ("x = 1", "no function build_model"),
        ("def build_model(): return 3", "returned a int"),
    ],
)  # fmt: skip
def test_mistakes_in_model_py_are_told_with_their_line(source, complaint):
    with pytest.raises(BaseException) as failure:  # noqa: B017
        inner.make_model(source)
    error = failure.value
    told = str(error) if isinstance(error, MnistStepsError) else (
        f"{inner.where(error)}: {type(error).__name__}"
    )  # fmt: skip
    assert complaint in told
