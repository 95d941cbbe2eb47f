"""Cheating by the network itself: weights brought along, forgeries, code that changes its mind.

Each attack scores nothing that it should not, and its honest twin is graded. What attacks try
against the machine is in test_assignment_sandbox.py, forged descriptions in
test_assignment_schema.py, hostile archives in test_assignment_check.py, and names, reports and
rosters in test_assignment_grade.py.
"""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import torch
from handed_in import GOOD, write_folder

from mnist_steps.assignment import checking, grading, rebuild, sandbox, submission
from mnist_steps.assignment.rules import Assignment

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
NETWORK = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        {init}
    def forward(self, x):
        {before}
        return F.log_softmax(self.fc(x.flatten(1)){after}, dim=1)
{outside}
def build_model():
    return Net()
"""


def source(init="pass", before="pass", after="", outside=""):
    network = NETWORK.format(init=init, before=before, after=after, outside=outside)
    return HEAD + network


def checked(model, tmp_path):
    folder = write_folder(tmp_path / "one", GOOD | {"model.py": model})
    return checking.check(folder, Assignment(parameters=10_000))


@pytest.fixture(autouse=True)
def no_jail_needed(monkeypatch, trace_without_jail):
    monkeypatch.setattr(sandbox, "level", lambda: "bubblewrap")


def test_the_honest_twin_of_all_of_these_is_accepted(tmp_path):
    found = checked(source(), tmp_path)
    assert found.trainable and found.network.parameters == 7850


@pytest.mark.parametrize(
    "hiding",
    [
        dict(init="self.register_buffer('b', torch.ones(10))", after=" + self.b"),
        dict(init="self.p = nn.Parameter(torch.ones(10))", after=" + self.p"),
        dict(init="self.constant = torch.ones(10)", after=" + self.constant"),
        dict(outside="SECRET = torch.ones(10)", after=" + SECRET"),
        dict(
            init="self.get = (lambda hidden: lambda: hidden)(torch.ones(10))",
            after=" + self.get()",
        ),
        dict(
            init="self.table = nn.Embedding(100_000, 10)",
            after=" + self.table(torch.zeros(1, dtype=torch.long))",
        ),
        dict(after=" @ torch.eye(10)"),
        dict(after=" * 0 + torch.tensor([0.0] * 9 + [9.0])"),
    ],
    ids="buffer parameter attribute global closure embedding matrix answer".split(),
)
def test_numbers_hidden_outside_of_layers_are_refused(tmp_path, hiding):
    found = checked(source(**hiding), tmp_path)
    assert not found.trainable
    assert len(found.findings) == 1, "one clear finding, and the report is not blamed"


@pytest.mark.parametrize(
    "before",
    [
        "x = x if x.sum() > 0 else -x",
        "x = x if x[0, 0, 14, 14] > 0.5 else x.flip(3)",
        "x = x if float(x.mean()) else x",
        "[None for _ in x]",
    ],
)
def test_forward_cannot_decide_by_pixels(tmp_path, before):
    found = checked(source(before=before), tmp_path)
    assert not found.trainable and found.findings[0].where == "model.py"


def test_weights_that_are_brought_along_are_lost(tmp_path):
    trained = "self.fc.weight.data.fill_(7.0); self.fc.bias.data = torch.tensor([9.0] * 10)"
    networks = [checked(source(init=init), tmp_path).network for init in ("pass", trained)]
    states = []
    for network in networks:
        torch.manual_seed(3)
        states.append(network.build().state_dict())
    assert networks[0].graph == networks[1].graph
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
        assert not (value == 7).any() and not (value == 9).any()


def test_state_that_forward_writes_is_not_kept(tmp_path):
    """A network that would learn the test images while it is tested has no place for them."""
    memory = source(init="self.seen = []", before="self.seen.append(x)")
    network = checked(memory, tmp_path).network
    rebuilt = network.build()
    assert not hasattr(rebuilt, "seen")
    assert {name for name, _ in rebuilt.named_buffers()} == set()


def test_what_leaves_the_check_is_plain_data_and_no_object_of_the_submission(tmp_path):
    reduce = "def __reduce__(self): return (print, ('unpickled',))"
    for model in (
        source(outside=f"class Bomb(Net):\n    {reduce}\nNet = Bomb"),
        HEAD + f"class X:\n    {reduce}\ndef build_model(): return X()",
    ):
        files = submission.load(write_folder(tmp_path / "b", GOOD | {"model.py": model}))
        outcome = checking.perform(checking.task_for("x", files, Assignment(), False))
        assert outcome.graph is None and outcome.findings, "neither is a network that can be copied"
        described = json.loads(json.dumps(dataclasses.asdict(outcome)))
        assert msgspec.convert(described, checking.CheckOutcome) == outcome
        words = [word for one in outcome.findings for word in dataclasses.astuple(one)]
        assert {type(word) for word in words} == {str}
    assert "returned a X, expected an nn.Module" in outcome.findings[0].what


def test_files_beside_the_three_are_not_read(tmp_path):
    folder = write_folder(tmp_path / "one", GOOD)
    before = checking.check(folder, Assignment())
    for name in ("conftest.py", "sitecustomize.py", "torch.py", "mnist_steps.py", "pytest.ini"):
        (folder / name).write_text("raise SystemExit('taken over')")
    (folder / "assignment.toml").write_text("parameters = 10_000_000")
    after = checking.check(folder, Assignment())
    assert (before.digest, before.network, before.findings) == (
        after.digest, after.network, after.findings,
    )  # fmt: skip


def test_a_program_that_changes_its_mind_has_no_second_time(tmp_path, monkeypatch, few_images):
    """Traced once: grading again, with other seeds too, goes by the first description."""
    counter = tmp_path / "counter"
    bomb = (
        f"import os\nagain = os.path.exists({str(counter)!r}); open({str(counter)!r}, 'w')\n"
        + HEAD
        + "def build_model():\n    if again: raise ValueError('boom')\n    return nn.Sequential("
        "nn.Conv2d(1, 4, 5, stride=4), nn.Flatten(), nn.Linear(144, 10), nn.LogSoftmax(1))\n"
    )
    monkeypatch.setattr(sandbox, "describe", lambda: {"level": "bubblewrap"})
    quick = GOOD["recipe.toml"].replace("epochs = 15", "epochs = 1")
    files = GOOD | {"model.py": bomb, "recipe.toml": quick}
    write_folder(tmp_path / "class" / "bomb", files)
    statuses = []
    for seeds in ((1, 2, 3), (4, 5, 6)):
        with ThreadPoolExecutor(1) as executor:
            graded = grading.grade(
                tmp_path / "class", tmp_path / "grades", Assignment(), executor, executor,
                grading.Settings(seeds=seeds, progress=False),
            )  # fmt: skip
        statuses.append([one.status for one in graded.grades])
    assert counter.exists()
    assert statuses in ([["pass"]] * 2, [["fail"]] * 2), "graded both times by what it first built"


# ---- Taking over the program that traces ---------------------------------------------------------

TAKEOVER = """
import json, sys
import torch
from torch import nn
import mnist_steps.graph
large = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))
stated = mnist_steps.graph.trace(large, (1, 28, 28)).as_data()
for node in stated["nodes"]:
    node.update(params=0, macs=0, parameters={})
stated["total_params"] = 0
text = json.dumps(stated)
json.dumps = lambda *a, **k: text  # what the tracer then sends
torch.Tensor.numel = lambda self: 1
torch.manual_seed = lambda seed: None
nn.Module.parameters = lambda self, recurse=True: iter(())
sys.modules["pytest"] = None
def build_model():
    return nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.LogSoftmax(1))
"""


@pytest.mark.slow
def test_who_takes_over_the_tracer_has_handed_in_what_it_then_says(tmp_path, monkeypatch):
    problem = sandbox.problem()
    if problem is not None and os.environ.get("CI") != "true":
        pytest.skip(f"no jail here: {problem}")
    monkeypatch.undo()
    before = torch.Tensor.numel
    traced = sandbox.trace(TAKEOVER)
    network = rebuild.read(traced.graph)
    assert network.parameters == 7850, "counted again outside, whatever the forger states"
    assert torch.Tensor.numel is before, "nothing of it reaches the grader's own torch"
