"""Ablations: every arm is one change away from the baseline, and its verdict says no more than
its runs carry. Outcomes are made up here: what is tested is what is made of them."""

import dataclasses
import functools
import json
import re
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simulated
import torch

from mnist_steps import figures, graph, models, runs, stages
from mnist_steps.experiments import ablation, evidence, executors, study
from mnist_steps.experiments.arms import network

ARMS = [arm for factor in ablation.FACTORS for arm in factor.arms]
PAGE = Path(__file__).parents[2] / "docs" / "beyond" / "ablation.py"


def arm_named(name):
    (arm,) = (arm for arm in ARMS if arm.name == f"ablation-{name}")
    return arm


@pytest.fixture
def store(tmp_path):
    return study.Store(tmp_path / "studies")


def put(store, arm, finals):
    """Runs of an arm with these final accuracies, in percent, for seeds 0, 1, ..."""
    for task, final in zip(
        study.tasks_for(arm.stage, range(len(finals)), arm=arm.name), finals, strict=True
    ):
        store.put(simulated.made_up(task, [98.0, final]))


def effect_of(store, name):
    (effect,) = (effect for effect in ablation.effects(store) if effect.arm is arm_named(name))
    return effect


# --- The networks ---------------------------------------------------------------------------


def test_the_line_of_stage_8_builds_stage_8s_network():
    ours, theirs = network(ablation.STAGE_8, named=True), models.CapacityNet()
    assert [*map(str, ours.named_children())] == [*map(str, theirs.named_children())]
    assert graph.trace(ours, (1, 28, 28)).as_data() == graph.trace(theirs, (1, 28, 28)).as_data()


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_gives_ten_log_probabilities_and_can_be_traced(arm):
    model = arm.stage.build()
    graph.trace(model, (1, 28, 28))
    probabilities = model(torch.rand(3, 1, 28, 28)).exp()
    assert probabilities.shape == (3, 10)
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_the_large_kernel_has_as_many_parameters_as_the_average():
    count = arm_named("large-kernel").stage.parameters
    assert count == pytest.approx(ablation.BASELINE.stage.parameters, rel=0.02)


@pytest.mark.parametrize(
    "name", ["batch-norm-after", "all-relus", "early-pooling"], ids=lambda name: name
)
def test_what_only_moves_or_adds_no_weights_keeps_their_number(name):
    assert arm_named(name).stage.parameters == ablation.BASELINE.stage.parameters


def kinds(model, but=()):
    """The layers in order, without those of some kinds."""
    return [str(layer) for layer in model if type(layer).__name__ not in but]


BASE = models.CapacityNet()


@pytest.mark.parametrize(
    "name, free",
    [
        ("no-batch-norm", ("BatchNorm2d",)),
        ("batch-norm-after", ("BatchNorm2d",)),
        ("all-relus", ("ReLU",)),
        ("early-pooling", ("MaxPool2d",)),
    ],
)
def test_these_networks_differ_in_one_kind_of_layer_only(name, free):
    model = arm_named(name).stage.build()
    assert kinds(model, free) == kinds(BASE, free)
    assert kinds(model) != kinds(BASE)


def test_the_networks_differ_where_their_names_say():
    def layers(name):
        return [name for name, _ in arm_named(name).stage.build().named_children()]

    base = [name for name, _ in BASE.named_children()]
    after = layers("batch-norm-after")
    assert after[:3] == ["conv1", "relu1", "batch_norm1"] and sorted(after) == sorted(base)
    assert set(layers("all-relus")) - set(base) == {"relu4", "relup1", "relu7"}
    gone = ["point1", "batch_normp1", "point2", "batch_normp2"]
    assert layers("no-pointwise") == [name for name in base if name not in gone]
    assert layers("fewer-layers") == [n for n in base if n not in ("conv7", "batch_norm7")]
    kernel = [n.replace("point2", "large") for n in base if n != "gap"]
    assert layers("large-kernel") == kernel
    early = layers("early-pooling")
    assert early.index("pool1") == early.index("conv3") - 1


# --- The recipes ----------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_an_arm_changes_the_network_or_one_part_of_the_recipe(arm):
    base = ablation.BASELINE.stage
    parts = [
        field.name
        for field in dataclasses.fields(base.recipe)
        if getattr(arm.stage.recipe, field.name) != getattr(base.recipe, field.name)
    ]
    assert len(parts) + (arm.stage.model is not base.model) == 1


def test_the_baseline_is_stage_8_with_fewer_epochs():
    base = ablation.BASELINE.stage
    recipe = dataclasses.replace(base.recipe, epochs=15)
    assert dataclasses.replace(base, recipe=recipe) == stages.get(8)
    assert base.recipe.epochs == ablation.EPOCHS


def test_only_the_arm_with_other_test_constants_trains_as_the_baseline_does():
    assert [arm.name for arm in ARMS if ablation.trains_alike(arm)] == [
        "ablation-one-normalization"
    ]


def test_all_runs_are_different_ones_in_files_of_their_own_the_baselines_first(store):
    tasks = ablation.ABLATION.tasks()
    assert len(tasks) == 5 * (1 + len(ARMS))
    assert {task.arm for task in tasks[:5]} == {ablation.BASELINE.name}
    assert len({task.digest for task in tasks}) == len({store.path(task) for task in tasks})
    assert len({task.digest for task in tasks}) == len(tasks)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_another_process_builds_the_same_network(arm):
    (task,) = study.tasks_for(arm.stage, [3], arm=arm.name)
    copy = study.Task(**json.loads(json.dumps(dataclasses.asdict(task))))
    assert copy == task
    assert runs.identity(copy.stage(), 3) == runs.identity(arm.stage, 3)


# --- Verdicts -------------------------------------------------------------------------------

AROUND = (-0.02, -0.01, 0.0, 0.01, 0.02)


def five(mean):
    return [round(mean + offset, 2) for offset in AROUND]


def test_an_arm_that_does_worse_as_the_original_says_supports_it(store):
    put(store, ablation.BASELINE, five(99.3))
    put(store, arm_named("less-capacity"), five(99.1))
    effect = effect_of(store, "less-capacity")
    assert effect.verdict == "supports"
    assert effect.comparison.difference == pytest.approx(-0.2)
    assert re.fullmatch(r"-0\.20 \[-0\.2\d, -0\.1\d\]", effect.size)


def test_an_arm_that_does_better_against_what_the_original_says_contradicts_it(store):
    put(store, ablation.BASELINE, five(99.1))
    put(store, arm_named("less-capacity"), five(99.3))
    assert effect_of(store, "less-capacity").verdict == "contradicts"


def test_a_difference_within_the_spread_decides_nothing(store):
    put(store, ablation.BASELINE, five(99.1))
    put(store, arm_named("less-capacity"), five(99.11))
    assert effect_of(store, "less-capacity").verdict == "undecided"


def test_where_the_original_says_nothing_only_the_direction_is_named(store):
    put(store, ablation.BASELINE, five(99.1))
    put(store, arm_named("peak-0.1"), five(99.3))
    put(store, arm_named("all-relus"), five(98.9))
    assert effect_of(store, "peak-0.1").verdict == "better, nothing claimed"
    assert effect_of(store, "all-relus").verdict == "worse, nothing claimed"


def test_fewer_seeds_are_preliminary_and_decide_nothing(store):
    put(store, ablation.BASELINE, five(99.3))
    put(store, arm_named("less-capacity"), five(97.0)[:4])
    put(store, arm_named("fewer-layers"), [97.0])
    assert effect_of(store, "less-capacity").verdict == "undecided (preliminary, 4 of 5 seeds)"
    assert effect_of(store, "fewer-layers").verdict == "undecided (preliminary, 1 of 5 seeds)"
    assert effect_of(store, "fewer-layers").size == "-2.30"


def test_what_was_not_run_is_said_so(store):
    assert {effect.verdict for effect in ablation.effects(store)} == {"not run yet"}
    put(store, arm_named("less-capacity"), five(99.1))
    assert effect_of(store, "less-capacity").verdict == "baseline not run yet"
    put(store, ablation.BASELINE, five(99.3))
    assert effect_of(store, "less-capacity").verdict == "supports"
    assert effect_of(store, "batch-512").verdict == "not run yet"


def test_runs_of_the_same_weights_are_compared_in_pairs(store):
    """A hundredth in each pair is shown by pairs, and lost among seeds a tenth apart."""
    base = [99.0, 99.1, 99.2, 99.3, 99.4]
    put(store, ablation.BASELINE, base)
    for name in ("one-normalization", "peak-0.1"):
        put(store, arm_named(name), [round(accuracy + 0.02, 2) for accuracy in base])
    assert effect_of(store, "one-normalization").verdict == "better, nothing claimed"
    assert effect_of(store, "peak-0.1").verdict == "undecided"


def test_five_seeds_without_a_difference_seldom_show_one():
    """A plain 95 % bootstrap finds something in one of seven such studies."""
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(500):
        base, other = generator.normal(99.3, 0.05, size=(2, 5)).tolist()
        found += 0 not in evidence.compare(base, other, resamples=500).interval
    assert found / 500 < 0.09


def test_a_run_of_another_schedule_does_not_count(store, monkeypatch):
    put(store, ablation.BASELINE, five(99.3))
    longer = dataclasses.replace(ablation.BASELINE.stage.recipe, epochs=6)
    stage = dataclasses.replace(ablation.BASELINE.stage, recipe=longer)
    monkeypatch.setattr(ablation, "BASELINE", dataclasses.replace(ablation.BASELINE, stage=stage))
    assert {effect.baseline_runs for effect in ablation.effects(store)} == {0}


# --- The command ----------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, mnist_steps_command, store):
    """Run `mnist-steps study` with simulated runs on the test's own store."""
    monkeypatch.setattr(executors, "Processes", ThreadPoolExecutor)
    monkeypatch.setattr(study, "train", simulated.simulate)
    return functools.partial(mnist_steps_command, "study", "--folder", store.folder)


def test_the_command_makes_all_arms_and_goes_on_with_what_is_missing(command, store):
    status, out, _ = command("--of", "ablation", "--seeds", "2", "--json")
    content = json.loads(out)
    assert (status, content["made"], content["left"]) == (0, 2 * (1 + len(ARMS)), {})
    assert [row["arm"] for row in content["stages"]] == [
        ablation.BASELINE.name, *(arm.name for arm in ARMS)
    ]  # fmt: skip
    assert [effect["arm"] for effect in content["effects"]] == [arm.name for arm in ARMS]
    assert all("preliminary, 2 of 5" in effect["verdict"] for effect in content["effects"])
    put(store, ablation.BASELINE, five(99.3))
    put(store, arm_named("batch-512"), five(98.8))
    status, out, _ = command("--of", "ablation", "--dry-run")
    assert status == 0
    found, left = 2 * (1 + len(ARMS)) + 6, 3 * (1 + len(ARMS)) - 6
    assert f"{found} runs found, 0 made, {left} left to make." in out
    assert "stage 8, ablation-peak-0.1, seed 4: missing" in out
    assert "[" in out, "the intervals' brackets are printed, not taken for markup"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--of", "ablation", "--stages", "8"], "found --of ablation and --stages"),
        (["--of", "ablation", "--seeds", "0"], "--seeds 0 names no seeds"),
        (["--of", "ablation", "--seeds", "x"], "--seeds 'x' names no numbers"),
    ],
)
def test_options_that_name_nothing_are_one_clear_line(command, arguments, expected):
    status, _, err = command(*arguments)
    assert status == 2
    assert expected in err and len(err.splitlines()) == 1


def test_the_guide_counts_the_runs_right():
    guide = (PAGE.parents[1] / "guides" / "study.md").read_text(encoding="utf-8")
    assert (len(ARMS), ablation.SEEDS, ablation.EPOCHS) == (17, 5, 5)
    assert 5 * (1 + len(ARMS)) == 90 and 90 * 5 // stages.get(8).recipe.epochs == 30
    assert "seventeen arms" in guide and "ninety runs of five epochs" in guide
    assert "thirty full trainings" in guide.replace("\n", " ")


# --- The page -------------------------------------------------------------------------------


def test_the_chart_ranks_effects_and_names_each_in_its_text():
    figure = figures.effects(
        [("small", -0.05, (-0.1, 0.01), False), ("great", 0.4, (0.3, 0.5), True),
         ("broken", -40.0, None, True)],
        "the baseline",
    )  # fmt: skip
    assert figure.alt.endswith(
        "larger than chance, 2 of 3: great +0.40 from +0.30 to +0.50; broken -40.00. "
        "not larger than chance, 1 of 3: small -0.05 from -0.10 to +0.01."
    )
    for colour in figures.PALETTE.values():
        assert colour not in re.sub(r"var\([^)]*\)", "", figure.svg)


@pytest.fixture
def page(store, monkeypatch, capsys):
    """Execute the page with the store in place of the package's; returns all texts it shows."""
    monkeypatch.setattr(study, "STUDIES", store.folder)
    monkeypatch.setattr(study.Store.__init__, "__defaults__", (store.folder,))

    def execute():
        names = runpy.run_path(str(PAGE), run_name="__main__")
        shown = [names[name] for name in ("state", "arms", "effects_table", "chart", "analysis")]
        return "\n".join(str(getattr(each, "alt", each)) for each in shown)

    return execute


@pytest.mark.slow
def test_without_runs_the_page_says_so(page):
    text = page()
    assert "No run has been made yet" in text
    assert text.count("not run yet") >= len(ARMS)
    assert "supports" not in text and "contradicts" not in text


@pytest.mark.slow
def test_the_page_says_what_the_runs_say_and_lists_what_is_missing(page, store):
    put(store, ablation.BASELINE, five(99.1))
    put(store, arm_named("batch-512"), five(98.8))
    put(store, arm_named("constant-rate"), five(99.3))
    put(store, arm_named("fewer-layers"), five(99.1))
    put(store, arm_named("early-pooling"), [98.8, 98.81])
    text = page()
    assert re.search(r"batches of 512 +5 +-0\.30 \[.*\] +supports\n", text)
    assert re.search(r"constant learning rate +5 +\+0\.20 \[.*\] +contradicts\n", text)
    assert re.search(r"without conv7 +5 +\+0\.00 \[.*\] +undecided\n", text)
    assert "undecided (preliminary, 2 of 5 seeds)" in text
    assert "not run yet" in text and "No run has been made yet" not in text
    assert text.index("constant learning rate +0.20 from") < text.index("batches of 512 -0.30 from")


def test_the_page_shows_the_builder_that_makes_the_networks():
    text = PAGE.read_text(encoding="utf-8")
    assert "from mnist_steps.experiments.arms import network" in text
    assert "pages.source(network)" in text and "print(ablation.STAGE_8)" in text
