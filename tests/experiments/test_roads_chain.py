"""A run of a road from its beginning to its outcome; what is kept, stale, or refused."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mnist_steps import data, stages
from mnist_steps.engine import network as in_c
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence, executors
from mnist_steps.experiments.arms import network
from mnist_steps.experiments.roads import arms, chain, found, quantization, timing
from mnist_steps.experiments.roads.chain import Begin, Store, Task
from mnist_steps.experiments.roads.storage import Bytes


@pytest.fixture
def few(monkeypatch, tmp_path):
    """640 images to train on and 200 to be judged by, recipes of two epochs, a cache of its own."""
    splits = data.mnist().full_train[:640], data.mnist().test[:200]
    monkeypatch.setattr(data.Mnist, "halves", lambda mnist, judged_on: splits)
    monkeypatch.setattr(data, "TEST_SIZE", 200)
    monkeypatch.setattr(data, "root", lambda: tmp_path / "cache")
    return splits


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "outcomes")


def short(number, epochs=2):
    return dataclasses.replace(stages.get(number).recipe, epochs=epochs).as_data()


def task(change="none", **more):
    given = {"road": "pruning", "arm": "some", "seed": 1, "recipe_of": 8, "engine": "torch"}
    return Task(**given | {"change": change} | more)


# --- Runs -----------------------------------------------------------------------------------


def test_a_network_that_is_cut_trained_on_and_judged_is_within_its_budget(few):
    cut = task(
        "weights", begin=Begin(8, 1, 5), budget=4000, recipe=short(8), judged_on="test"
    )  # fmt: skip
    outcome = chain.perform(cut)
    assert outcome.parameters <= 4000 and len(outcome.losses) == 2
    assert outcome.bytes.sparse < outcome.bytes.dense
    assert outcome.images == 200 and outcome.accuracy == 100 - len(outcome.wrong) / 2
    assert outcome.digest == cut.digest and outcome.shapes["conv1"] == [10, 1, 3, 3]


def test_by_pytorch_no_compiler_is_looked_for(few, monkeypatch):
    def none():
        raise MnistStepsError("a compiler was looked for")

    monkeypatch.setattr(in_c, "library", none)
    in_c._function.cache_clear()
    assert chain.perform(task(begin=Begin(8, 1, 5))).images == 200


def test_the_same_task_gives_the_same_outcome_whether_its_beginning_was_kept_or_not(few):
    rounded = task(begin=Begin(8, 2, 5), bits=4)
    first, again = chain.perform(rounded), chain.perform(rounded)
    assert (first.wrong, first.bytes) == (again.wrong, again.bytes)


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(few, monkeypatch):
    straight, _ = chain.begun(Begin(8, 2, 5), "test", "torch")
    kept = chain._kept(Begin(8, 2, 5), "test")
    kept.unlink()
    chain.begun(Begin(8, 1, 5), "test", "torch")
    epochs = []
    run_epoch = chain.Schooling.run_epoch
    monkeypatch.setattr(
        chain.Schooling, "run_epoch", lambda one: (epochs.append(1), run_epoch(one))
    )
    model, _ = chain.begun(Begin(8, 2, 5), "test", "torch")
    assert len(epochs) == 1
    for one, other in zip(model.parameters(), straight.parameters(), strict=True):
        assert torch.equal(one, other)


def test_rounding_while_training_goes_on_where_the_training_was(few):
    during = task(
        begin=Begin(8, 1, 5), bits=4, rounded_while_training=True, recipe=short(8, epochs=3)
    )  # fmt: skip
    outcome = chain.perform(during)
    _, state = chain.begun(Begin(8, 1, 5), "test", "torch")
    assert len(outcome.losses) == 3 and outcome.losses[0] == state["losses"][0]


def test_a_student_hears_its_teacher_and_one_without_a_teacher_does_not(few, monkeypatch):
    lesson = {"recipe": short(10), "recipe_of": 10, "layers": arms.TINY, "road": "distillation"}
    asked = []
    monkeypatch.setattr(
        chain.distillation, "answers",
        lambda model, images, normalization: (
            asked.append(len(images)), torch.zeros(len(images), 10)
        )[1],
    )  # fmt: skip
    taught = task(**lesson, teacher=Begin(8, 1, 5), share=0.9, temperature=4.0)
    alone = task(**lesson)
    outcomes = [chain.perform(one) for one in (taught, alone)]
    assert asked == [60_000] and outcomes[0].losses != outcomes[1].losses
    chain.perform(taught)
    assert len(asked) == 1, "its answers are kept"


def test_what_stays_wide_of_a_large_network_trains_on_in_sixteen_bits():
    for kept, in_sixteen_bits in ((3_189_893, True), (28_000, False)):
        cut = arms.get("pruning", f"stage-1-channels-{kept}").task
        _, guest = chain._changed(stages.get(1).build(), cut)
        assert guest.bfloat16 == in_sixteen_bits


def test_a_damaged_network_in_the_cache_is_one_clear_line(few):
    path = chain._kept(Begin(8, 1, 5), "test")
    data.write_atomically(path, b"no network")
    with pytest.raises(MnistStepsError, match=f"{path.name} cannot be read .* Delete it"):
        chain.begun(Begin(8, 1, 5), "test", "torch")


# --- The store ------------------------------------------------------------------------------


def made_up(of, wrong=7, images=10_000, parameters=100):
    return chain.Outcome(
        of.road, of.arm, of.seed, of.digest,
        {key: one for key, one in dataclasses.asdict(of).items() if key not in chain.HOW},
        {"conv1": [2, 1, 3, 3]}, parameters, Bytes(400, 300, 200),
        [0.1] * (of.recipe["epochs"] if of.recipe else 0), round(100 - 100 * wrong / images, 6),
        images, dict.fromkeys(range(wrong), 3), 1.0, 2.0,
        {"date": "2026-11-30", "commit": None, "python": "3.12", "torch": "2", "device": "cpu",
         "processor": "some", "threads": 1, "engine": "torch"},
    )  # fmt: skip


def test_a_run_is_missing_then_done_and_stale_once_something_that_decides_it_changed(store):
    cut = task("weights", begin=Begin(2, 10, 0), budget=4000, recipe=short(2))
    assert store.state(cut) == "missing" and store.get(cut) is None
    store.put(made_up(cut))
    assert store.state(cut) == "done" and store.get(cut) == made_up(cut)
    assert store.state(dataclasses.replace(cut, engine="engine", threads=2)) == "done"
    for change in (
        {"budget": 3999}, {"begin": Begin(2, 9, 0)}, {"begin": Begin(2, 10, 1)}, {"bits": 8},
        {"recipe": short(2, 3)},
    ):  # fmt: skip
        assert store.state(dataclasses.replace(cut, **change)) == "stale", change


def test_an_outcome_that_contradicts_its_task_or_itself_is_refused_by_name(store):
    cut = task("weights", begin=Begin(2, 10, 0), budget=4000, recipe=short(2))
    good = made_up(cut)
    for change, said in (
        ({"accuracy": 99.0}, "the images say 99.93 %"),
        ({"parameters": 4001}, "more than 4,000"),
        ({"losses": [0.1]}, "it has 1 epochs, its recipe 2"),
        ({"images": 200}, "judged on other images"),
        ({"task": good.task | {"budget": 5000}}, "budget"),
        ({"wrong": {12: 11}}, "cannot be read as a run"),
    ):
        store.put(dataclasses.replace(good, **change))
        with pytest.raises(MnistStepsError, match=said) as refused:
            store.get(cut)
        assert "Delete it to make the run again" in str(refused.value)


# --- The command ----------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, mnist_steps_command, store):
    """Run `mnist-steps study --of roads` with made-up runs on the test's own store."""
    monkeypatch.setattr(executors, "Processes", ThreadPoolExecutor)

    def perform(of):
        images = 5000 if of.judged_on == "validation" else 10_000
        return made_up(of, wrong=60 + of.seed, images=images)

    monkeypatch.setattr(chain, "perform", perform)
    return lambda *more: mnist_steps_command(
        "study", "--of", "roads", "--folder", store.folder, *more
    )


def test_the_command_makes_all_runs_and_goes_on_with_what_is_missing(command, store):
    status, out, _ = command("--dry-run")
    every = arms.tasks()
    assert status == 0 and f"0 runs found, 0 made, {len(every)} left to make." in out
    assert f"  {every[0].name}: missing" in out
    status, out, _ = command("--json")
    content = json.loads(out)
    assert (status, content["made"], content["left"]) == (0, len(every), {})
    assert [row["arm"] for row in content["roads"]] == [arm.key[1] for arm in arms.ARMS]
    assert {row["runs"] for row in content["roads"]} == {arm.seeds for arm in arms.ARMS}
    store.path(every[0]).unlink()
    status, out, _ = command()
    assert f"{len(every) - 1} runs found, 1 made, 0 left to make." in out


def test_other_seeds_make_other_runs_but_never_twice_one_in_which_nothing_is_drawn(command):
    status, out, _ = command("--seeds", "3-4", "--dry-run", "--json")
    left = json.loads(out)["left"]
    assert status == 0 and "quantization, stage-8-4-bits-after, seed 4" in left
    assert "pruning, stage-2-weights-7999-untuned, seed 0" in left


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--stages", "8"], "found --of roads and --stages"),
        (["--seeds", "0"], "--seeds 0 names no seeds"),
    ],
)
def test_options_that_roads_do_not_have_are_one_clear_line(command, arguments, expected):
    status, _, err = command(*arguments)
    assert status == 2 and expected in err and len(err.splitlines()) == 1


# --- The arms -------------------------------------------------------------------------------


def test_no_two_runs_share_a_file_and_each_is_another_run():
    every = arms.tasks()
    assert len({Store().path(one) for one in every}) == len(every)
    assert len({one.digest for one in every}) == len(every)


def test_all_roads_have_fifteen_epochs_in_all_those_before_the_change_included():
    for arm in arms.ARMS:
        of = arm.task
        begun = of.begin.epochs if of.begin else 0
        after = of.recipe["epochs"] if of.recipe else 0
        spent = max(begun, after) if of.rounded_while_training else begun + after
        assert spent <= 15, arm.key


def test_a_tiny_student_has_as_many_parameters_as_its_title_says():
    count = sum(one.numel() for one in network(arms.TINY).parameters())
    assert f"{count:,} parameters" in arms.get("distillation", "tiny-alone").title


# --- What was found -------------------------------------------------------------------------


def test_every_committed_run_belongs_to_todays_code():
    store = Store()
    files = {path for path in store.folder.rglob("*.json")}
    done = {store.path(one) for one in arms.tasks() if store.state(one) == "done"}
    assert files == done and files


def test_a_rounded_network_differs_from_the_same_training_without_rounding(store):
    arm = arms.get("quantization", "stage-8-4-bits-after")
    whole = arms.get("begin", "stage-8")
    for seed in range(5):
        store.put(made_up(whole.tasks()[seed], wrong=10 + seed))
        store.put(made_up(arm.tasks()[seed], wrong=20 + seed))
    (row,) = [one for one in found.others(timing.load().networks, store) if one.key == arm.key]
    labels = data.mnist().test.labels
    # The outcomes call every image among the wrong ones a 3, whether it is one or not.
    expected = [int((labels[10 + seed : 20 + seed] != 3).sum()) for seed in range(5)]
    assert row.changed == sum(expected) / 5
    assert row.point.runs == 5 and row.point.interval is not None
    assert row.point.mean == pytest.approx(100 - 0.22)
    assert row.before == pytest.approx([100 - 0.1 - 0.01 * seed for seed in range(5)])


def test_what_was_cut_with_several_seeds_is_held_against_the_one_training_it_began_with(store):
    arm = arms.get("pruning", "stage-2-channels-7999")
    (begun,) = arms.get("begin", "stage-2").tasks()
    store.put(made_up(begun, wrong=70))
    for one in arm.tasks()[:3]:
        store.put(made_up(one, wrong=100 + one.seed))
    (row,) = found.others(timing.load().networks, store)
    assert row.before == pytest.approx([99.3] * 3)
    assert row.finals == pytest.approx([99.0, 98.99, 98.98])


def test_few_runs_have_no_interval():
    assert arms.point_of([99.0]).interval is None
    assert arms.point_of([99.0] * evidence.FEWEST_RUNS).interval is not None


# --- Times ----------------------------------------------------------------------------------


def test_every_network_on_the_page_was_measured_in_the_one_run_there_is():
    times = timing.load()
    assert times.threads == 1
    for row in found.rows():
        assert row.microseconds > 0 and row.alone > 0, row.key


def test_a_sparse_convolution_computes_what_a_dense_one_does():
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight) > 0.8)
    images = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(timing.SparseConv2d(layer)(images), layer(images))


def test_a_network_is_shaped_again_as_its_outcome_notes_it():
    thin = timing.shaped(
        stages.get(1).build(),
        {"conv1": [2, 1, 3, 3], "conv2_down": [3, 2, 3, 1], "conv2_across": [4, 3, 1, 3]},
    )
    assert thin[:5](torch.zeros(1, 1, 28, 28)).shape == (1, 4, 28, 28)
    assert [quantization.convolutions(thin)[place].bias is None for place in range(3)] == [
        False, True, False
    ]  # fmt: skip


def test_times_that_cannot_be_read_are_one_clear_line(tmp_path):
    with pytest.raises(MnistStepsError, match="bench_roads.py"):
        timing.load(tmp_path / "none.json")
