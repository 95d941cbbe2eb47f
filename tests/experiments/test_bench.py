"""The benchmark: fair turns, rows as promised, and loops that are the ones they stand for."""

import dataclasses
import functools
import json
import multiprocessing
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from browser import missing
from PIL import Image

from mnist_steps import data, recipes, runs, stages, summary, training
from mnist_steps.augment import RandomTranslation, augment
from mnist_steps.engine import compiler
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import bench, pipelines
from mnist_steps.training import loop

CPU = torch.device("cpu")
PROMISED = {"stage", "pipeline", "seconds_per_epoch", "ratio_to_original"}


@pytest.fixture
def command(mnist_steps_command):
    return functools.partial(mnist_steps_command, "bench")


@pytest.fixture(scope="module")
def measured():
    """Every pipeline that can run here, for real: one round of two small steps of stage 8."""
    stage = stages.get(8)
    small = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, batch_size=16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "EVALUATED", 32)
        return bench.run([small], rounds=1, steps=2, threads=1)


class Fake:
    """A pipeline whose clock ticks by hand: so many seconds an image, more at the start."""

    now = 0.0
    turns: list[str] = []

    def __init__(self, name, seconds):
        self.name, self.seconds, self.started = name, seconds, False
        Fake.turns.append(name)

    def train(self, steps):
        Fake.now += steps * 64 * self.seconds + (0 if self.started else 1000)
        self.started = True
        return steps * 64

    def evaluate(self, images):
        Fake.now += images * self.seconds / 2
        return images


@pytest.fixture
def fakes(monkeypatch):
    """Two pipelines, of which ours takes a quarter of the original's time."""
    Fake.turns, Fake.now = [], 0.0
    made = {
        name: bench.Kind(lambda stage, given=(name, seconds): Fake(*given), "made up")
        for name, seconds in (("original", 0.004), ("mnist_steps", 0.001))
    }
    monkeypatch.setattr(bench, "kinds", lambda: made)
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: Fake.now))
    monkeypatch.setattr(bench, "breakdown", lambda stage, steps, engine: None)


# --- The rows -------------------------------------------------------------------------------


def test_every_pipeline_has_a_row_that_names_its_machine(measured):
    assert [row.pipeline for row in measured] == list(bench.kinds())
    for row in measured:
        described = row.as_data()
        assert set(described) >= PROMISED | {"processor", "threads", "torch", "date"}
        assert described["stage"] == 8 and described["threads"] == 1
        assert 0 < row.seconds_per_epoch_least <= row.seconds_per_epoch
        assert row.seconds_per_epoch <= row.seconds_per_epoch_most
        json.dumps(described)


def test_ratios_follow_from_the_seconds(measured):
    seconds = {row.pipeline: row.seconds_per_epoch for row in measured}
    better = min(seconds["original"], seconds["original-2-workers"])
    for row in measured:
        assert row.ratio_to_original == pytest.approx(seconds["original"] / row.seconds_per_epoch)
        assert row.ratio_to_better_original == pytest.approx(better / row.seconds_per_epoch)
    assert measured[0].ratio_to_original == 1


def test_only_our_rows_have_a_breakdown(measured):
    for row in measured:
        assert (row.breakdown is not None) == row.pipeline.startswith("mnist_steps")
    assert set(measured[5].as_data()["breakdown"]["seconds"]) == set(bench.PARTS)


def test_json_is_one_object_a_row_and_the_table_shows_the_same(command, fakes):
    arguments = ("--stages", "7-8", "--rounds", "1", "--steps", "2")
    status, out, err = command(*arguments, "--json")
    assert status == 0 and err == ""
    rows = json.loads(out)
    assert [(row["stage"], row["pipeline"]) for row in rows] == [
        (7, "original"), (7, "mnist_steps"), (8, "original"), (8, "mnist_steps"),
    ]  # fmt: skip
    # 60,000 training images, and 10,000 test images at half the time each
    assert rows[1]["seconds_per_epoch"] == pytest.approx(60 + 5, rel=1e-3)
    assert rows[1]["ratio_to_original"] == pytest.approx(4, rel=1e-3)
    status, out, _ = command(*arguments)
    assert status == 0
    assert "65.0 (65.0–65.0)" in out and "4.00" in out


def test_without_the_original_there_is_no_ratio(command, fakes):
    status, out, _ = command("--stages", "8", "--pipelines", "mnist_steps", "--json")
    (row,) = json.loads(out)
    assert status == 0 and row["ratio_to_original"] is None


def test_the_time_to_the_target_is_that_of_the_records_epochs(monkeypatch, fakes):
    recorded = runs.load(8)
    accuracies = [99.0, 99.39, 99.4, 99.3]
    made_up = dataclasses.replace(
        recorded,
        epochs=tuple(
            dataclasses.replace(recorded.epochs[0], test_accuracy=accuracy)
            for accuracy in accuracies
        ),
    )
    monkeypatch.setattr(runs, "load", lambda number: made_up)
    rows = bench.run([stages.get(8)], rounds=1, steps=2)
    assert rows[1].seconds_to_target == pytest.approx(3 * rows[1].seconds_per_epoch)
    other = dataclasses.replace(bench.kinds()["original"], same_recipe=False)
    monkeypatch.setitem(bench.kinds(), "original", other)
    assert bench.run([stages.get(8)], rounds=1, steps=2)[0].seconds_to_target is None
    made_up = dataclasses.replace(made_up, epochs=made_up.epochs[:2])
    assert bench.run([stages.get(8)], rounds=1, steps=2)[1].seconds_to_target is None


# --- Turns ----------------------------------------------------------------------------------


def test_pipelines_take_turns_round_after_round(fakes):
    bench.run([stages.get(8)], rounds=3, steps=2)
    assert Fake.turns == ["original", "mnist_steps"] * 3


def test_a_turn_does_not_count_what_starting_takes(fakes):
    rows = bench.run([stages.get(8)], rounds=1, steps=2)
    assert rows[0].seconds_per_epoch == pytest.approx(4 * 65), "the first step took 1000 s more"


def test_the_median_is_over_rounds_and_the_spread_from_least_to_most(monkeypatch, fakes):
    took = iter([4.0, 1.0, 9.0])
    monkeypatch.setattr(bench, "seconds_per_epoch", lambda *_: next(took))
    (row,) = bench.run([stages.get(8)], ["mnist_steps"], rounds=3)
    assert (row.seconds_per_epoch_least, row.seconds_per_epoch, row.seconds_per_epoch_most) == (
        1, 4, 9,
    )  # fmt: skip


def test_no_worker_process_outlives_its_turn(monkeypatch):
    monkeypatch.setattr(bench, "EVALUATED", 32)
    bench.seconds_per_epoch(bench.kinds()["original-2-workers"], stages.get(8), 1)
    assert multiprocessing.active_children() == []


# --- What is there, and what is not ---------------------------------------------------------


@pytest.fixture
def no_kornia(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)


def test_without_kornia_its_row_is_left_out_with_one_line(monkeypatch, no_kornia, capsys):
    monkeypatch.setattr(bench, "_rows", lambda stage, chosen, *_: list(chosen))
    said = []
    rows = bench.run([stages.get(7), stages.get(8)], on_missing=said.append)
    assert "kornia" not in rows and "mnist_steps" in rows
    (line,) = (line for line in said if line.startswith("kornia"))  # said once, for two stages
    assert line.startswith("kornia is left out: kornia is not installed: pip install")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--stages", "99"], "there is no stage 99: the stages are 1, 2, 3"),
        (["--stages", "eight"], "--stages 'eight' names no numbers"),
        (["--pipelines", "keras"], "there is no pipeline 'keras': the pipelines are original, "),
        (["--pipelines", "kornia"], "kornia is not installed: pip install 'mnist-steps[bench]'"),
        (["--rounds", "0"], "greater than or equal to 1"),
        (["--steps", "0"], "greater than or equal to 1"),
        (["--threads", "0"], "greater than or equal to 1"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(command, no_kornia, arguments, expected):
    status, out, err = command(*arguments)
    assert status == 2
    assert expected in err and err.count("\n") == 1 and out == ""


def test_ctrl_c_ends_without_a_traceback(command, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", stop)
    status, out, err = command("--stages", "8")
    assert status == 130
    assert "stopped" in err and "Traceback" not in err + out


# --- The pipelines are what they say --------------------------------------------------------


def averages(number):
    """One digit, augmented many times and averaged, by torchvision, by Kornia and by us."""
    recipe = stages.get(number).recipe
    digit = data.mnist().full_train.images[0]
    torch.manual_seed(0)
    one = pipelines.per_image(recipe.augmentation, recipe.normalize_train)
    image = Image.fromarray(digit[0].numpy())
    by_torchvision = torch.stack([one(image) for _ in range(1000)]).mean(dim=0)
    many = (digit.float() / 255).expand(1000, 1, 28, 28)
    moved = {
        "kornia": pipelines.Kornia(stages.get(number)).augmentation(many),
        "ours": augment(many, recipe.augmentation, torch.Generator().manual_seed(0)),
    }
    rest = {name: recipe.normalize_train(images).mean(dim=0) for name, images in moved.items()}
    return {"torchvision": by_torchvision} | rest, recipe.normalize_train(digit.float() / 255)


@pytest.mark.parametrize("number", [1, 8])
def test_all_libraries_augment_alike(number):
    """They round differently, so no image is the same, but what they do on average is."""
    averaged, still = averages(number)
    for name in ("torchvision", "kornia"):
        apart = (averaged[name] - averaged["ours"]).abs().mean().item()
        moved = (averaged["ours"] - still).abs().mean().item()
        assert apart < 0.25 * moved, f"{name}: {apart:.4f} apart, augmentation moves {moved:.4f}"


def test_the_original_trains_with_the_recipes_optimizer_and_schedule():
    recipe = stages.get(8).recipe
    original, ours = (
        pipelines.Original(stages.get(8)),
        pipelines.Ours(stages.get(8), engine="torch"),
    )
    for pipeline in (original, ours):
        pipeline.train(2)
    ours = ours.training
    assert original.optimizer.param_groups[0]["lr"] == ours.optimizer.param_groups[0]["lr"]
    assert original.optimizer.param_groups[0]["momentum"] != recipe.optimizer.momentum
    assert original.schedule.total_steps == ours.schedule.total_steps


def test_the_example_trains_without_augmentation():
    first = data.mnist().full_train.images[0]
    plain = pipelines.per_image((), recipes.TRAIN_PIXELS)(Image.fromarray(first[0].numpy()))
    expected = recipes.TRAIN_PIXELS(first.float() / 255)
    assert torch.allclose(plain, expected, atol=1e-6)
    assert isinstance(pipelines.Examples(stages.get(8)).optimizer, torch.optim.Adadelta)


def test_a_shift_is_known_to_both_libraries_and_anything_else_is_refused():
    assert "RandomAffine" in str(
        pipelines.per_image((RandomTranslation(0.1),), recipes.TRAIN_PIXELS)
    )
    with pytest.raises(MnistStepsError, match="does not know what other libraries call it"):
        pipelines.per_image(("a mirror",), recipes.TRAIN_PIXELS)


# --- Where a step's time goes ---------------------------------------------------------------


@pytest.mark.parametrize("engine", ["torch", "engine"])
@pytest.mark.parametrize("number", [5, 8])
def test_the_loop_with_a_clock_is_the_training_loop(number, engine, few_digits):
    """The same losses to the last bit, so nothing was left out and nothing put in."""
    if engine == "engine" and not list(compiler.compilers()):
        missing("no C compiler to test with")
    stage = stages.get(number)
    plain, timed = (training.Training(stage, 3, CPU, few_digits, engine=engine) for _ in range(2))
    expected = plain.train_epoch(max_steps=4).losses
    losses, _ = bench.timed_steps(timed, 4)
    assert torch.equal(losses, expected)


def test_the_parts_make_up_the_steps(few_digits):
    trained = training.Training(stages.get(8), 3, CPU, few_digits, engine="torch")
    bench.timed_steps(trained, 1)
    start = time.perf_counter()
    _, seconds = bench.timed_steps(trained, 6)
    whole = time.perf_counter() - start
    assert {len(values) for values in seconds.values()} == {6}
    assert 0.9 * whole < sum(sum(values) for values in seconds.values()) <= whole
    assert min(sum(values) for values in seconds.values()) > 0


@pytest.mark.parametrize("part", ["augmentation", "forward", "backward", "optimizer"])
def test_what_takes_long_shows_in_its_part(part, few_digits, monkeypatch):
    trained = training.Training(stages.get(8), 3, CPU, few_digits, engine="torch")
    layer = trained.model.conv1

    def wait(*_):
        time.sleep(0.3)

    if part == "augmentation":
        draw = loop.draw
        monkeypatch.setattr(loop, "draw", lambda *given: (wait(), draw(*given))[1])
    elif part == "forward":
        layer.register_forward_pre_hook(wait)
    elif part == "backward":
        layer.weight.register_hook(wait)
    else:
        trained.optimizer.register_step_pre_hook(wait)
    _, seconds = bench.timed_steps(trained, 1)
    longest = max(seconds, key=lambda name: seconds[name][0])
    assert longest == part and seconds[part][0] >= 0.3


def test_a_breakdown_counts_the_layer_tables_arithmetic():
    stage = stages.get(8)
    forward = summary.summarize(stage.build(), (1, 28, 28)).total_multiplications
    found = bench.breakdown(stage, 2)
    assert found.multiplications == 64 * forward * 3
    assert found.step == pytest.approx(sum(found.seconds.values()))
    share = found.multiplications / found.step / found.matrix_rate
    assert found.share_of_matrix_rate == pytest.approx(share)
    assert f"a share of {share:.0%}" in str(found)


def test_the_matrix_rate_is_multiplications_by_time(monkeypatch):
    clock = iter([0.0, 2.0, 2.0, 3.0, 3.0, 7.0])
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert bench.matrix_rate(size=10, repeats=3) == 1000, "a thousand in the best: one second"
