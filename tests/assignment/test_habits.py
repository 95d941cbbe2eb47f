"""Habits of students: how model files are written, and what becomes of each.

A file is taken as its author has it. What the graded network leaves out is told, and what is
refused is refused in one line that names the place and what to change.
"""

import pytest
from handed_in import RECIPE, there_is, write_folder

from mnist_steps.assignment import checking, sandbox
from mnist_steps.assignment.rules import Assignment

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
LAYERS = (
    "self.c = nn.Conv2d(1, 8, 3)", "self.p = nn.MaxPool2d(2)",
    "self.d = nn.Conv2d(8, 10, 3)", "self.g = nn.AdaptiveAvgPool2d(1)",
)  # fmt: skip
BODY = ("x = self.p(F.relu(self.c(x)))", "x = self.g(self.d(x))")
END = ("return F.log_softmax(x.flatten(1), dim=1)",)
NORMED = ("x = self.p(F.relu(self.n(self.c(x))))", BODY[1], *END)


def model(layers=LAYERS, forward=(*BODY, *END), head="", build="return Net()"):
    def indented(lines):
        return "\n".join(f"        {line}" for line in lines)

    return (
        f"{HEAD}{head}\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{indented(layers)}\n\n    def forward(self, x):\n"
        f"{indented(forward)}\n\n\n"
        f"def build_model():\n    {build}\n"
    )


@pytest.fixture
def check(tmp_path, trace_without_jail):
    """What the check says of a model.py; the jail has tests of its own."""

    def run(source):
        folder = tmp_path / "one"
        folder.mkdir(exist_ok=True)
        data = source if isinstance(source, bytes) else source.encode()
        (folder / "model.py").write_bytes(data)
        (folder / "recipe.toml").write_text(RECIPE)
        return checking.check(folder, Assignment())

    return run


def about_the_model(checked):
    return [one for one in checked.findings if one.where.startswith("model.py")]


def accepted(checked, parameters=810):
    assert about_the_model(checked) == [] and checked.trainable
    assert checked.network.parameters == parameters
    return " | ".join(f"{one}" for one in checked.notes)


def refused(checked):
    (finding,) = about_the_model(checked)
    assert not checked.trainable and "\n" not in str(finding)
    return str(finding)


# ---- Files as they are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "from torchsummary_of_nobody import summary",
        "import plotting_of_nobody.pyplot as plt, nothing_of_nobody",
        "from helpers_of_nobody import *",
        "from . import config\nfrom .helpers import train, test",
        "import nobodys.tools\nfrom nobodys.tools.more import one as other",
        "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "%matplotlib inline\n!pip install torchsummary\n%%time",
        "try:\n    import nobodys_colab\nexcept ImportError:\n    pass",
        "if True:\n    !nvidia-smi\n",
    ],
)
def test_what_does_not_concern_the_network_does_not_stop_its_file(check, head):
    assert accepted(check(model(head=head))) == ""


@pytest.mark.parametrize("change", [
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.replace("\n", "\r\n").encode(),
])  # fmt: skip
def test_a_byte_order_mark_and_line_ends_of_windows_are_nothing(check, change):
    assert accepted(check(change(model()))) == ""


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("summary(Net(), (1, 28, 28))", "summary of torchsummary_of_nobody is used here"),
        ("class Odd(summary.Layer): pass", "summary.Layer of torchsummary_of_nobody is used here"),
        ("for one in summary: pass", "summary of torchsummary_of_nobody is used here"),
    ],
)
def test_using_what_is_not_there_names_the_line_and_the_import_to_delete(check, use, name):
    told = refused(check(model(head="from torchsummary_of_nobody import summary") + use))
    lines = model(head="from torchsummary_of_nobody import summary").count("\n") + 1
    assert f"line {lines}: {name}" in told and "imported at line 4" in told
    assert "Hint: delete this import" in told


def test_a_module_of_ones_own_that_is_missing_is_named(check):
    told = refused(check(model(head="from helpers_of_nobody import width", build="return width()")))
    assert "width of helpers_of_nobody" in told and "of your own files model.py alone" in told
    told = refused(check(model(head="from helpers_of_nobody import *", build="return Wide()")))
    assert "name 'Wide' is not defined" in told and "from helpers_of_nobody, which is not" in told


def test_a_file_without_build_model_is_told_the_two_lines(check):
    told = refused(check(model().replace("def build_model", "def build")))
    assert "no function build_model()" in told and "`def build_model(): return Net()`" in told


def test_a_mistake_in_the_code_says_to_run_it_oneself(check):
    told = refused(check(model(build="return Net(3)")))
    assert "TypeError" in told and "run `python model.py` yourself" in told
    assert "run `python" not in refused(check(model(build="return 3")))


@pytest.mark.parametrize("build", ["return Net().cuda()", "return Net().to('cuda')"])
def test_a_network_on_a_gpu_is_asked_back_to_the_cpu(check, build):
    told = refused(check(model(build=build)))
    assert "line 21: there is no GPU in the jail" in told and "leave the network on the CPU" in told


# ---- Ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "return F.log_softmax(x.view(-1, 10))",
        "return nn.LogSoftmax()(x.view(-1, 10))",
        "return F.log_softmax(x.squeeze(), dim=1)",
        "return F.log_softmax(x, dim=1).view(-1, 10)",
        "return F.log_softmax(x).squeeze()",
        "return F.log_softmax(x.to('cpu').view(-1, 10, 1, 1).flatten(1), dim=-1)",
    ],
)
def test_log_softmax_may_be_reached_in_many_ways(check, end):
    assert accepted(check(model(forward=(*BODY, end)))) == ""


def test_raw_scores_get_their_log_softmax_and_their_author_a_note(check):
    note = accepted(check(model(forward=(*BODY, "return x.view(-1, 10)"))))
    assert "raw scores: log-softmax is appended" in note


def test_log_softmax_over_the_batch_is_refused(check):
    told = refused(check(model(forward=(*BODY, "return F.log_softmax(x.squeeze(3)).squeeze(2)"))))
    assert "over the batch" in told and "write dim=1" in told


def test_probabilities_are_refused_with_the_reason(check):
    told = refused(check(model(forward=(*BODY, "return F.softmax(x.flatten(1), dim=1)"))))
    assert "logarithms of probabilities" in told and "return raw scores" in told


# ---- Layers --------------------------------------------------------------------------------------


def test_weights_that_convolutions_share_count_once_and_learn_as_one(check):
    layers = (
        "self.a = nn.Conv2d(1, 18, 3)", "self.b = nn.Conv2d(18, 18, 3, bias=False)",
        "self.c = nn.Conv2d(18, 18, 3, bias=False)", "self.c.weight = self.b.weight",
        "self.d = nn.Conv2d(18, 10, 1)", "self.g = nn.AdaptiveAvgPool2d(1)",
    )  # fmt: skip
    forward = ("x = F.relu(self.c(F.relu(self.b(F.relu(self.a(x))))))", "x = self.g(self.d(x))")
    checked = check(model(layers, (*forward, *END)))
    assert accepted(checked, 3286) == ""
    built = checked.network.build()
    assert built.get_parameter("b.weight") is built.get_parameter("c.weight")


@pytest.mark.parametrize(
    ("layer", "more"),
    [("nn.GroupNorm(2, 8)", 16), ("nn.LayerNorm([8, 26, 26])", 10816), ("nn.InstanceNorm2d(8)", 0)],
)
def test_normalizations_of_all_kinds_are_known(check, layer, more):
    checked = check(model([*LAYERS, f"self.n = {layer}"], NORMED))
    assert checked.trainable and checked.network.parameters == 810 + more


def test_a_layer_without_weights_may_be_made_in_forward(check):
    forward = (BODY[0], "x = nn.AvgPool2d(2)(x)", BODY[1], *END)
    assert accepted(check(model(forward=forward))) == ""
    forward = (BODY[0], "x = nn.Conv2d(8, 8, 1)(x)", BODY[1], *END)
    told = refused(check(model(forward=forward)))
    assert "no optimizer finds its weights: make it in __init__" in told


# ---- What the graded network leaves out ----------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("self.c.register_forward_hook(lambda m, i, o: o * 2)", "a hook at c"),
        ("self.d.register_forward_pre_hook(lambda m, i: None)", "a hook at d"),
        ("self.c = torch.nn.utils.parametrizations.weight_norm(self.c)",
         "a parametrization such as weight_norm or spectral_norm: c.weight"),
        ("self.c = torch.nn.utils.spectral_norm(self.c)",
         "a parametrization such as weight_norm or spectral_norm: c"),
    ],
)  # fmt: skip
def test_what_would_make_it_another_function_is_refused(check, line, said):
    told = refused(check(model([*LAYERS, line])))
    assert said in told and "Hint: " in told


@pytest.mark.parametrize(
    "lines",
    [
        ("if self.training:", "    x = x + torch.randn_like(x)"),
        ("if self.training:", "    x = x * 0.5"),
        ("x = self.c2(x) if self.training else x",),
    ],
)
def test_a_forward_that_differs_in_training_is_refused(check, lines):
    layers = [*LAYERS, "self.c2 = nn.Identity()"]
    told = refused(check(model(layers, (BODY[0], *lines, BODY[1], *END))))
    assert "something else while training than in evaluation" in told


def test_dropout_and_batch_statistics_are_no_difference(check):
    layers = [*LAYERS, "self.n = nn.BatchNorm2d(8)", "self.q = nn.Dropout(0.1)"]
    forward = (NORMED[0], "x = F.dropout(self.q(x), 0.1, self.training)", BODY[1], *END)
    assert accepted(check(model(layers, forward)), 826) == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("self.c.weight.requires_grad = False",), "all weights learn: c.weight."),
        (("nn.init.zeros_(self.d.weight)",), "weights of your own"),
        (("nn.init.kaiming_normal_(self.d.weight)",), 'initialization = "kaiming" into'),
        (("self.apply(lambda m: isinstance(m, nn.Conv2d) and nn.init.normal_(m.weight, 0, 1e-3))",),
         "c.weight; d.weight"),
        (("nn.init.constant_(self.d.bias, 0.1)",), "afresh: d.bias."),
        (("self.unused = nn.Linear(100, 10)",), "unused, so neither graded nor counted: unused "
         "(Linear, 1,010)"),
        (("self.scale = nn.Parameter(torch.ones(3))",), "scale (parameter, 3)"),
    ],
)  # fmt: skip
def test_what_changes_only_the_start_is_noted(check, lines, said):
    assert said in accepted(check(model([*LAYERS, *lines])))


@pytest.mark.parametrize("seed", range(20))
def test_a_fresh_network_is_never_taken_for_one_with_weights_of_its_own(check, seed):
    layers = [f"torch.manual_seed({seed})", *LAYERS, "self.n = nn.BatchNorm2d(8)",
              "self.r = nn.PReLU(8)"]  # fmt: skip
    forward = ("x = self.p(self.r(self.n(self.c(x))))", BODY[1], *END)
    assert accepted(check(model(layers, forward)), 834) == ""


GHOST = """
class Ghost(nn.BatchNorm2d):
    def __init__(self, channels, splits):
        super().__init__(channels)
        self.splits = splits
        self.register_buffer("running_mean", torch.zeros(channels * splits))
        self.register_buffer("running_var", torch.ones(channels * splits))

    def forward(self, x):
        if self.training:
            n, c, h, w = x.shape
            return F.batch_norm(
                x.view(-1, c * self.splits, h, w), self.running_mean, self.running_var,
                self.weight.repeat(self.splits), self.bias.repeat(self.splits), True,
            ).view(n, c, h, w)
        c = self.num_features
        return F.batch_norm(x, self.running_mean[:c], self.running_var[:c], self.weight, self.bias)
"""


def test_ghost_batch_normalization_is_refused_in_one_line(check):
    told = refused(check(model([*LAYERS, "self.n = Ghost(8, 2)"], NORMED, head=GHOST)))
    assert "n.getitem: its input" in told and "its layers only" in told


# ---- Incomplete submissions, and the jail itself -------------------------------------------------


def test_what_is_missing_is_named_and_the_rest_is_checked(tmp_path, trace_without_jail):
    files = {"model.py": model(build="return Net(3)"), "recipe.toml": "epochs = 99"}
    folder = write_folder(tmp_path / "one", files)
    for place in (folder, folder / "model.py"):
        checked = checking.check(place, Assignment())
        told = " | ".join(map(str, checked.findings))
        for expected in ("REPORT.md: the file is missing", "recipe.toml, epochs", "TypeError"):
            assert expected in told
    (folder / "recipe.toml").unlink()
    (folder / "model.py").write_text(model())
    checked = checking.check(folder / "model.py", Assignment())
    assert checked.network is not None and not checked.trainable and checked.digest is None
    assert [one.where for one in checked.findings] == ["recipe.toml", "REPORT.md"]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["bubblewrap", "podman"])
def test_the_jail_takes_a_file_as_its_author_has_it_and_tells_what_is_different(
    level, tmp_path, monkeypatch
):
    there_is(level)
    monkeypatch.setattr(sandbox, "level", lambda: level)
    head = "%matplotlib inline\nfrom torchsummary_of_nobody import summary"
    source = "\ufeff" + model([*LAYERS, "nn.init.zeros_(self.d.weight)"], head=head)
    folder = write_folder(tmp_path / "one", {"model.py": source, "recipe.toml": RECIPE})
    checked = checking.check(folder, Assignment())
    assert "weights of your own" in accepted(checked)
    (folder / "model.py").write_text(source + "summary(Net())")
    assert "Hint: delete this import" in refused(checking.check(folder, Assignment()))
