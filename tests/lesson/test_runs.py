"""Records: written whole, read back equal, refused when they do not belong to today's code."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from mnist_steps import data, evaluation, recipes, runs, stages, training
from mnist_steps.errors import MnistStepsError, RecordMismatch

FILES = ["environment.json", "run.json", "tensors.safetensors"]


@pytest.fixture
def records(tmp_path):
    """A folder with a copy of stage 8's committed record."""
    shutil.copytree(runs.folder_of(stages.get(8), 8), tmp_path / "08_lr_scheduler" / "seed-8")
    return tmp_path


@pytest.fixture
def run_json(records):
    return records / "08_lr_scheduler" / "seed-8" / "run.json"


def with_stage(monkeypatch, number, **changes):
    """Today's code changes: one stage's recipe or model is another."""
    recipe_changes = changes.pop("recipe", {})
    replaced = tuple(
        dataclasses.replace(
            stage, recipe=dataclasses.replace(stage.recipe, **recipe_changes), **changes
        )
        if stage.number == number
        else stage
        for stage in stages.STAGES
    )
    monkeypatch.setattr(stages, "STAGES", replaced)


def test_a_saved_run_is_read_back_equal(short_stage, few_digits, monkeypatch, tmp_path):
    with_stage(monkeypatch, 8, recipe={"epochs": 2})
    monkeypatch.setattr(data, "TRAIN_SIZE", 256)
    run = training.fit(stages.get(8), seed=4, device="cpu", train_split=few_digits[:256])
    folder = runs.save(run, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    again = runs.load(8, 4, tmp_path)
    assert again.steps == run.steps
    assert torch.equal(again.predictions, run.predictions)
    assert torch.equal(again.confidences, run.confidences)
    assert again.environment == run.environment
    assert all(torch.equal(value, again.weights[name]) for name, value in run.weights.items())
    for old, new in zip(run.epochs, again.epochs, strict=True):
        assert dataclasses.astuple(new) == pytest.approx(dataclasses.astuple(old), abs=1e-6)


@pytest.mark.parametrize("stage", stages.STAGES[:8], ids=lambda stage: stage.slug)
def test_every_stage_has_a_record_whose_steps_give_its_epochs(stage):
    run = runs.load(stage.number)
    assert stage.recipe.epochs == 15
    steps_per_epoch = -(-60_000 // stage.recipe.batch_size)
    assert len(run.steps) == len(run.epochs) * steps_per_epoch
    for number, epoch in enumerate(run.epochs):
        losses = [step.loss for step in run.steps[number * steps_per_epoch :][:steps_per_epoch]]
        sizes = [stage.recipe.batch_size] * (steps_per_epoch - 1)
        sizes.append(60_000 - sum(sizes))
        mean = sum(map(lambda loss, size: loss * size, losses, sizes)) / 60_000
        assert epoch.train_loss == pytest.approx(mean, rel=1e-4)
    assert (run.weights is None) == (stage.number == 1)


@pytest.mark.slow
def test_every_record_holds_against_todays_code():
    # Three steps show a change as ten do, and a step of stage 1 takes seconds.
    for result in runs.verify(steps=3):
        assert result.replay.ok


@pytest.fixture
def judged_by_views(few_digits, few_images, monkeypatch, tmp_path):
    """A run of a recipe whose last epoch judges nine views of each image, saved as a record."""
    with_stage(monkeypatch, 8, recipe={"epochs": 2, "test_shifts": 1})
    run = training.fit(stages.get(8), seed=4, device="cpu", engine="torch")
    runs.save(run, tmp_path)
    return run, tmp_path


def test_a_record_judged_by_several_views_holds(judged_by_views):
    run, records = judged_by_views
    assert runs.check(runs.load(8, 4, records), steps=2).ok
    assert run.epochs[0].one_view_accuracy is None
    model, test = run.build(), data.mnist().test
    alone = evaluation.evaluate(model, test, run.stage.recipe)
    several = evaluation.evaluate(model, test, run.stage.recipe, final=True)
    assert run.epochs[-1].one_view_accuracy == pytest.approx(alone.accuracy)
    assert run.epochs[-1].test_accuracy == pytest.approx(several.accuracy)
    assert not torch.equal(alone.predictions, several.predictions), "the same views twice"


def test_a_record_judged_by_several_views_is_refused_when_one_prediction_is_changed(
    judged_by_views,
):
    run, records = judged_by_views
    labels = data.mnist().test.labels
    wrong = (run.predictions != labels).nonzero().flatten()
    changed = run.predictions.clone()
    changed[wrong[0]] = next(
        digit for digit in range(10) if digit not in (labels[wrong[0]], run.predictions[wrong[0]])
    )
    runs.save(dataclasses.replace(run, predictions=changed), records)
    with pytest.raises(RecordMismatch, match="other predictions than recorded for 1 test images"):
        runs.check(runs.load(8, 4, records), steps=2)


def test_a_record_judged_by_several_views_is_refused_when_what_one_says_is_changed(
    judged_by_views,
):
    run, records = judged_by_views
    flattered = dataclasses.replace(run.epochs[-1], one_view_accuracy=99.0)
    runs.save(dataclasses.replace(run, epochs=(run.epochs[0], flattered)), records)
    with pytest.raises(RecordMismatch, match=r"the record says 99\.00 %"):
        runs.check(runs.load(8, 4, records), steps=2)


def test_a_record_is_refused_when_the_batch_size_changed(records, monkeypatch):
    with_stage(monkeypatch, 8, recipe={"batch_size": 128})
    expected = (
        r"stage 8, seed 8: changed since the record: recipe.batch_size 64 -> 128. "
        r"Renew it with: mnist-steps record 8 --seed 8"
    )
    with pytest.raises(RecordMismatch, match=expected):
        runs.load(8, records=records)


def test_a_record_is_refused_when_the_network_changed(records, monkeypatch):
    with_stage(monkeypatch, 8, model=stages.get(6).model)
    with pytest.raises(RecordMismatch, match=r"changed since the record: graph\.nodes.*12"):
        runs.load(8, records=records)


def test_a_record_is_refused_when_the_data_set_changed(records, monkeypatch):
    monkeypatch.setitem(data.CHECKSUMS, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(RecordMismatch, match="data.t10k-labels-idx1-ubyte"):
        runs.load(8, records=records)


def test_a_record_of_a_newer_format_is_refused(records, run_json):
    content = json.loads(run_json.read_text())
    content["format"] = 99
    run_json.write_text(json.dumps(content))
    with pytest.raises(RecordMismatch, match="has format 99, .* reads up to 1. Update mnist_steps"):
        runs.load(8, records=records)


def test_a_record_with_an_edited_figure_is_refused(records, run_json):
    content = json.loads(run_json.read_text())
    content["epochs"][-1]["test_accuracy"] = 99.99
    run_json.write_text(json.dumps(content))
    with pytest.raises(RecordMismatch, match="does not match its own digest"):
        runs.load(8, records=records)


def test_a_record_with_a_figure_edited_and_its_digest_renewed_is_refused(records, run_json):
    content = json.loads(run_json.read_text())
    del content["digest"]
    content["epochs"][-1]["test_accuracy"] = 99.99
    content["digest"] = runs.digest(content)
    run_json.write_text(json.dumps(content))
    with pytest.raises(RecordMismatch, match="% right, the record says 99.99 %"):
        runs.check(runs.load(8, records=records), steps=1)


def test_a_record_with_changed_tensors_is_refused(records, run_json):
    tensors = run_json.with_name("tensors.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(RecordMismatch, match="tensors.safetensors was changed"):
        runs.load(8, records=records)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": "one"}'])
def test_a_record_that_is_no_record_is_refused(records, run_json, content):
    run_json.write_text(content)
    with pytest.raises(RecordMismatch, match="the record cannot be read"):
        runs.load(8, records=records)


def test_a_missing_record_says_how_to_make_it(tmp_path):
    with pytest.raises(MnistStepsError, match="no record. Make it with: mnist-steps record 3"):
        runs.load(3, records=tmp_path)


def test_verify_names_every_record_that_fails(records):
    with pytest.raises(RecordMismatch) as failure:
        runs.verify([7, 8], steps=1, records=records)  # there is no record of stage 7
    assert "stage 7, seed 8: there is no record" in str(failure.value)
    assert "stage 8" not in str(failure.value)


def test_a_replay_repeats_the_recorded_losses():
    replay = runs.replay(runs.load(8), steps=5)
    assert replay.ok
    assert replay.first_difference is None


def test_a_replay_notices_a_change_that_no_digest_sees(monkeypatch):
    monkeypatch.setattr(training.loop, "augment", lambda images, *_: images)  # as good as forgotten
    replay = runs.replay(runs.load(8), steps=5)
    assert not replay.ok
    assert "the replayed loss at step 1 is" in replay.first_difference


def test_a_replay_that_ends_in_nan_is_not_ok(monkeypatch):
    monkeypatch.setattr(training.loop, "augment", lambda images, *_: images * float("nan"))
    assert not runs.replay(runs.load(8), steps=1).ok


def test_a_replay_allows_for_rounding_which_each_step_multiplies():
    run = runs.load(8)

    def replayed(step, difference):
        steps = list(run.steps)
        steps[step - 1] = dataclasses.replace(
            steps[step - 1], loss=steps[step - 1].loss * (1 + difference)
        )
        return runs.replay(dataclasses.replace(run, steps=tuple(steps)), steps=4)

    assert replayed(step=4, difference=5e-3).ok
    early = replayed(step=2, difference=5e-3)
    assert not early.ok
    assert "the replayed loss at step 2 is" in early.first_difference


def test_another_learning_rate_shows_in_a_replay():
    stage = stages.get(7)
    slower = dataclasses.replace(stage.recipe, optimizer=recipes.SGD(lr=0.009, momentum=0.9))
    run = dataclasses.replace(runs.load(7), stage=dataclasses.replace(stage, recipe=slower))
    assert not runs.replay(run, steps=3).ok


def test_recorded_weights_that_give_other_predictions_are_refused():
    run = runs.load(8)
    weights = {name: value.clone() for name, value in run.weights.items()}
    weights["point2.weight"] *= -1
    with pytest.raises(RecordMismatch, match="weights give other predictions than recorded"):
        runs.check(dataclasses.replace(run, weights=weights), steps=1)


def test_predictions_can_be_compared_for_the_first_images_alone():
    run = runs.load(8)
    predictions = run.predictions.clone()
    predictions[[500, 501]] = (predictions[[500, 501]] + 1) % 10
    accuracy = 100 * (predictions == data.mnist().test.labels).sum().item() / 10_000
    last = dataclasses.replace(run.epochs[-1], test_accuracy=accuracy)
    edited = dataclasses.replace(run, predictions=predictions, epochs=(*run.epochs[:-1], last))
    assert runs.check(edited, steps=1, images=500).ok
    with pytest.raises(RecordMismatch, match="for 2 test images"):
        runs.check(edited, steps=1, images=502)


def test_a_record_with_its_steps_edited_is_refused():
    run = runs.load(8)
    first, last = run.steps[0], run.steps[936]  # of the first epoch, whose mean stays what it is
    steps = list(run.steps)
    steps[0] = dataclasses.replace(first, loss=last.loss)
    steps[936] = dataclasses.replace(last, loss=first.loss)
    with pytest.raises(RecordMismatch, match="the replayed loss at step 1 is 2.*record says 0"):
        runs.check(dataclasses.replace(run, steps=tuple(steps)), steps=2, images=100)


def test_differences_name_the_place_and_both_values():
    before = {"a": 1, "b": [1, {"c": "x"}], "gone": True}
    after = {"a": 1, "b": [1, {"c": "y"}], "new": None}
    assert list(runs.differences(before, after)) == ['b[1].c "x" -> "y"', "gone true -> null"]


# A small stage in a process of its own, so that it can be killed.
RECORD_A_SHORT_STAGE = textwrap.dedent(
    """
    import dataclasses, sys
    from pathlib import Path
    import torch
    from mnist_steps import data, runs, stages
    torch.set_num_threads(1)
    stage = stages.get(8)
    short = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, epochs=3))
    stages.STAGES = tuple(short if s.number == 8 else s for s in stages.STAGES)
    whole = data.mnist()
    few = data.Mnist(whole.full_train[:1024], whole.test[:1000])
    data.mnist = lambda: few
    runs.record(8, seed=1, device="cpu", progress=False, records=Path(sys.argv[1]))
    """
)


def record_short(folder, cache):
    environment = {**os.environ, "MNIST_STEPS_DATA": str(cache)}
    command = [sys.executable, "-c", RECORD_A_SHORT_STAGE, str(folder)]
    return subprocess.Popen(command, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
@pytest.mark.slow
def test_a_killed_recording_resumes_to_the_same_bytes(tmp_path):
    assert record_short(tmp_path / "straight", tmp_path / "cache").wait(timeout=120) == 0
    checkpoints = tmp_path / "cache" / "checkpoints"
    assert list(checkpoints.iterdir()) == [], "a finished recording leaves no checkpoint"

    process = record_short(tmp_path / "resumed", tmp_path / "cache")
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("*.pt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list((tmp_path / "resumed").rglob("run.json")), "killed before the end"

    assert record_short(tmp_path / "resumed", tmp_path / "cache").wait(timeout=120) == 0
    for name in ("run.json", "tensors.safetensors"):
        straight = tmp_path / "straight" / "08_lr_scheduler" / "seed-1" / name
        resumed = tmp_path / "resumed" / "08_lr_scheduler" / "seed-1" / name
        assert straight.read_bytes() == resumed.read_bytes()


def test_a_record_that_cannot_be_saved_keeps_its_checkpoint_and_is_saved_by_a_second_call(
    empty_cache, tmp_path, monkeypatch
):
    def trained(under_way, progress, save_checkpoint):
        under_way.epochs = under_way.epochs or [training.Epoch(0.1, 90.0, 0.1, 90.0)]
        under_way.losses = under_way.losses or [torch.ones(1)]
        under_way.learning_rates = under_way.learning_rates or [0.1]
        save_checkpoint(under_way)

    monkeypatch.setattr(training, "run_to_end", trained)
    monkeypatch.setattr(training.Training, "finished", True)
    full = tmp_path / "records"

    def disk_full(run, records):
        raise data.CannotWrite(f"cannot write {records} (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save", disk_full)
        with pytest.raises(data.CannotWrite, match=r"No space .* kept in .*the same command saves"):
            runs.record(8, device="cpu", progress=False, records=full)
    assert runs.checkpoint_path(stages.get(8), 8).is_file()
    runs.record(8, device="cpu", progress=False, records=full)
    assert (full / "08_lr_scheduler" / "seed-8" / "run.json").is_file()
    assert not runs.checkpoint_path(stages.get(8), 8).exists()


@pytest.mark.parametrize("content", [None, [], {"threads": 2}, {"threads": 0, "training": {}}])
def test_a_damaged_checkpoint_is_one_clear_line(content, empty_cache):
    path = runs.checkpoint_path(stages.get(8), 8)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no checkpoint")
    if content is not None:
        torch.save(content, path)
    with pytest.raises(MnistStepsError, match=r"cannot be read .*Delete it to start anew"):
        runs.record(8, device="cpu", progress=False)


def test_a_changed_recipe_does_not_meet_an_old_checkpoint(monkeypatch):
    before = runs.checkpoint_path(stages.get(8), 8)
    with_stage(monkeypatch, 8, recipe={"batch_size": 128})
    assert runs.checkpoint_path(stages.get(8), 8) != before


def test_pages_train_live_when_asked(monkeypatch):
    trained = []
    monkeypatch.setattr(training, "fit", lambda stage: trained.append(stage.number))
    monkeypatch.setenv("MNIST_STEPS_TRAIN", "1")
    runs.load_or_train(8)
    assert trained == [8]
    monkeypatch.delenv("MNIST_STEPS_TRAIN")
    assert runs.load_or_train(8).stage.number == 8
    assert trained == [8]
