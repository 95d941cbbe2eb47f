"""Studies: what is done stays done, what fails costs only itself, and where a run is made
does not change it. Workers are real processes and a real Dask cluster on this machine."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import simulated
import torch
from processes import HERE, cluster, group_lives, wait_until

from mnist_steps import data, engine, runs, stages, training
from mnist_steps.commands import runs as commands
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence, executors, study
from mnist_steps.experiments.tasks import Report, perform_all
from mnist_steps.recipes import Recipe


def changed(stage, model=None, **recipe):
    recipe = dataclasses.replace(stage.recipe, **recipe)
    return dataclasses.replace(stage, recipe=recipe, model=model or stage.model)


@pytest.fixture
def store(tmp_path):
    return study.Store(tmp_path / "studies")


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """How often each seed was tried: notes() -> {seed: calls}."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv(simulated.NOTES, str(folder))

    def count():
        calls = {path.name: path.read_text().splitlines() for path in folder.iterdir()}
        return {int(name.removeprefix("seed-")): len(lines) for name, lines in calls.items()}

    return count


@pytest.fixture
def threads():
    """The simplest executor, for what does not depend on processes."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


def simulate(tasks, executor, store, perform=simulated.simulate, **options):
    return perform_all(tasks, executor, store, perform, title="study", progress=False, **options)


def tiny_tasks(seeds, **options):
    """Real training of a small network on a few digits: a second each."""
    stage = changed(stages.get(8), model=simulated.TinyNet, epochs=2)
    return study.tasks_for(stage, seeds, arm="tiny", train_images=512, **options)


def figures_of(outcome):
    """All of an outcome that must not depend on when and where it was made."""
    return dataclasses.replace(outcome, seconds=0.0, environment={})


# --- Tasks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.slug)
def test_a_recipe_comes_back_from_its_description(stage):
    described = json.loads(json.dumps(stage.recipe.as_data()))
    assert Recipe.from_data(described) == stage.recipe


def test_an_unknown_part_of_a_recipe_is_named():
    described = stages.get(8).recipe.as_data() | {"optimizer": {"name": "Lion", "lr": 1}}
    with pytest.raises(MnistStepsError, match="'Lion': expected one of SGD"):
        Recipe.from_data(described)


def test_a_task_carries_the_digest_of_its_run():
    stage = stages.get(3)
    for task in study.tasks_for(stage, [0, 8]):
        assert task.digest == runs.digest(runs.identity(stage, task.seed))


def test_a_task_is_plain_data_and_rebuilds_its_stage_elsewhere():
    model = functools.partial(simulated.TinyNet, width=3)
    stage = changed(stages.get(8), model=model, schedule=None, batch_size=32)
    (task,) = study.tasks_for(stage, [5], arm="constant_rate")
    copy = study.Task(**json.loads(json.dumps(dataclasses.asdict(task))))
    assert copy == task
    assert runs.identity(copy.stage(), 5) == runs.identity(stage, 5)


@pytest.mark.parametrize(
    "model", [lambda: None, functools.partial(simulated.TinyNet, 3)], ids=["lambda", "position"]
)
def test_a_model_that_another_process_cannot_find_is_refused(model):
    stage = dataclasses.replace(stages.get(8), model=model)
    with pytest.raises(MnistStepsError, match="cannot be found by|without names"):
        study.tasks_for(stage, [0])


@pytest.mark.parametrize("options", [{"arm": "../up"}, {"arm": ""}, {"judged_on": "train"}])
def test_an_impossible_task_is_refused(options):
    with pytest.raises(MnistStepsError):
        study.tasks_for(stages.get(8), [0], **options)


def test_fewer_images_and_another_judge_are_another_run():
    stage = stages.get(8)
    tasks = [
        *study.tasks_for(stage, [0]),
        *study.tasks_for(stage, [0], train_images=60_000),
        *study.tasks_for(stage, [0], judged_on="validation"),
    ]
    assert len({task.digest for task in tasks}) == 3


# --- One run --------------------------------------------------------------------------------


def test_an_outcome_is_what_fit_gives():
    (task,) = tiny_tasks([3])
    outcome = study.train(task)
    run = training.fit(
        task.stage(), 3, "cpu", progress=False, train_split=data.mnist().full_train[:512]
    )
    assert outcome.test_accuracies == pytest.approx(
        [epoch.test_accuracy for epoch in run.epochs], abs=1e-6
    )
    assert outcome.epochs["train_loss"] == pytest.approx(
        [epoch.train_loss for epoch in run.epochs], abs=1e-6
    )
    predictions = outcome.predictions(data.mnist().test.labels)
    assert torch.equal(predictions, run.predictions.long())
    assert outcome.environment["torch"] == torch.__version__
    assert outcome.environment["processor"] == run.environment.processor
    assert outcome.environment["threads"] == 1
    assert outcome.seconds > 0


def test_choices_are_judged_on_images_that_were_not_trained_on(monkeypatch):
    seen = {}
    original = training.Training.__init__

    def spy(self, stage, seed, device, train_split, test_split, **options):
        seen["train"], seen["test"] = len(train_split), test_split.labels
        original(self, stage, seed, device, train_split[:64], test_split, **options)

    monkeypatch.setattr(training.Training, "__init__", spy)
    stage = changed(stages.get(8), model=simulated.TinyNet, epochs=1)
    (task,) = study.tasks_for(stage, [0], arm="choice", judged_on="validation")
    outcome = study.train(task)
    assert seen["train"] == 55_000
    assert torch.equal(seen["test"], data.mnist().full_train.labels[55_000:])
    assert outcome.images == 5000


def test_a_worker_with_other_code_refuses():
    (task,) = tiny_tasks([0])
    with pytest.raises(MnistStepsError, match="Install the same version on both"):
        study.train(dataclasses.replace(task, digest="0" * 64))


# --- The store ------------------------------------------------------------------------------


def test_a_saved_outcome_is_read_back_equal_and_is_small(store):
    (task,) = study.tasks_for(stages.get(8), [4])
    outcome = simulated.simulate(task)
    store.put(outcome)
    path = store.folder / "08_lr_scheduler" / "seed-4.json"
    assert store.get(task) == outcome
    assert path.stat().st_size < 4000
    assert [file.name for file in path.parent.iterdir()] == ["seed-4.json"]


def test_an_arm_has_a_folder_of_its_own(store):
    stage = stages.get(8)
    store.put(simulated.simulate(study.tasks_for(stage, [0])[0]))
    (task,) = study.tasks_for(
        changed(stage, batch_size=32),
        [
            0,
        ],
        arm="batch_32",
    )
    store.put(simulated.simulate(task))
    assert store.path(task).parent == store.folder / "08_lr_scheduler" / "batch_32"
    assert store.seeds(stage) == [0]
    assert len(store.outcomes(changed(stage, batch_size=32), "batch_32")) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:200],
        lambda text: text.replace('"images": 10000', '"images": 9000'),
        lambda text: text.replace('"seconds"', '"hours"'),
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"format": 1', '"format": "one"'),
        lambda text: text.replace('"threads": 1', '"threads": "1"'),
        lambda text: text.replace('"threads": 1', '"threads": 0'),
        lambda text: text.replace('"seconds": 1.0', '"seconds": -1.0'),
        lambda text: text.replace('"seed": 4', '"seed": 5'),
        lambda text: text.replace('"judged_on": "test"', '"judged_on": "validation"'),
        lambda text: text.replace('"max_lr": 0.01', '"max_lr": 0.1'),
        lambda text: text.replace('{"batch_size"', '{"test_shifts": 1, "batch_size"'),
        lambda text: text.replace("98.0, 98.0, 99.4", "98.0, 99.4"),
        lambda text: text.replace("98.0, 98.0, 99.4", "98.0, 98.005, 99.4"),
        lambda text: text.replace("98.0, 98.0, 99.4", "98.0, 101.0, 99.4"),
        lambda text: text.replace("0.03, null, 0.03", "0.001, null, 0.03"),
        lambda text: text.replace("0.03, null, 0.03", "-0.03, null, 0.03"),
        lambda text: text.replace('"test_loss"', '"loss"'),
        lambda text: text.replace('"wrong": {"0": 4', '"wrong": {"0": 10'),
        lambda text: text.replace('"wrong": {"0": 4', '"wrong": {"10000": 4'),
        lambda text: text.replace('"wrong": {"0": 4', '"wrong": {"first": 4'),
    ],
    ids=[
        "cut off",
        "contradiction",
        "unknown field",
        "no run",
        "bomb",
        "format",
        "threads a word",
        "no threads",
        "negative time",
        "another seed",
        "another judge",
        "another rate",
        "another view",
        "an epoch too few",
        "half an image",
        "above 100",
        "impossible loss",
        "negative loss",
        "missing figure",
        "no digit",
        "no image",
        "no position",
    ],
)
def test_a_damaged_file_is_named(store, damage):
    (task,) = study.tasks_for(stages.get(8), [4])
    store.put(simulated.simulate(task))
    path = store.path(task)
    whole = path.read_text()
    path.write_text(damage(whole))
    assert path.read_text() != whole
    with pytest.raises(MnistStepsError, match=r"seed-4.json cannot be read .* Delete it"):
        store.get(task)


def test_a_changed_recipe_makes_exactly_its_runs_stale(store, threads, notes):
    before = [*study.tasks_for(stages.get(7), range(3)), *study.tasks_for(stages.get(8), range(3))]
    simulate(before, threads, store)
    stage = changed(stages.get(8), batch_size=32)
    after = [*study.tasks_for(stages.get(7), range(3)), *study.tasks_for(stage, range(3))]
    assert [store.state(task) for task in after] == ["done"] * 3 + ["stale"] * 3
    assert store.summary(stage) is None, "stale runs must not be evidence for today's recipe"
    assert store.summary(stages.get(7)).seeds == 3
    report = simulate(after, threads, store, simulated.fail_for_seed_2, attempts=1)
    assert (report.found, report.made, len(report.failures)) == (3, 2, 1)
    assert notes() == {0: 1, 1: 1, 2: 1}, "only the three stale runs are made again"
    assert [store.state(task) for task in after] == ["done"] * 5 + ["stale"]


def test_the_summary_is_over_final_epochs(store, threads):
    tasks = study.tasks_for(stages.get(8), range(4))
    simulate(tasks, threads, store)
    finals = [store.get(task).figures.final for task in tasks]
    summary = store.summary(stages.get(8))
    accuracies = [store.get(task).test_accuracies for task in tasks]
    assert dataclasses.replace(summary, seconds=None) == evidence.over_seeds(accuracies)
    assert summary.mean == pytest.approx(sum(finals) / 4)


# --- Studies --------------------------------------------------------------------------------


def test_a_second_start_does_nothing(store, threads, notes):
    tasks = study.tasks_for(stages.get(8), [0, 1, 3])
    first = simulate(tasks, threads, store, simulated.fail_for_seed_2)
    second = simulate(tasks, threads, store, simulated.fail_for_seed_2)
    assert (first.found, first.made) == (0, 3)
    assert (second.found, second.made) == (3, 0)
    assert notes() == {0: 1, 1: 1, 3: 1}


def test_a_task_that_always_fails_is_given_up_and_the_others_finish(store, threads, notes):
    tasks = study.tasks_for(stages.get(8), range(5))
    report = simulate(tasks, threads, store, simulated.fail_for_seed_2, attempts=3)
    assert report.made == 4
    assert notes() == {0: 1, 1: 1, 2: 3, 3: 1, 4: 1}
    assert [str(failure) for failure in report.failures] == [
        "stage 8, seed 2: failed 3 times, last with ValueError: seed 2 never works"
    ]


def test_an_executor_that_takes_no_tasks_is_reported(store):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    report = simulate(study.tasks_for(stages.get(8), range(2)), executor, store)
    assert len(report.failures) == 2
    assert "after shutdown" in str(report.failures[0])


def test_two_tasks_with_one_file_are_refused(store, threads):
    tasks = study.tasks_for(stages.get(8), [0]) + study.tasks_for(
        stages.get(8), [0], train_images=100
    )
    with pytest.raises(MnistStepsError, match="stage 8, seed 0 is there twice"):
        simulate(tasks, threads, store)


def test_a_folder_that_cannot_be_written_is_said_before_any_training(tmp_path, threads, notes):
    (tmp_path / "file").write_text("in the way")
    tasks = study.tasks_for(stages.get(8), [0])
    with pytest.raises(MnistStepsError, match="cannot write"):
        simulate(tasks, threads, study.Store(tmp_path / "file"), simulated.fail_for_seed_2)
    assert notes() == {}


def test_an_interrupt_while_saving_loses_no_run_that_had_ended(store, threads, monkeypatch):
    tasks = study.tasks_for(stages.get(8), range(4))
    calls = []
    original = study.Store.put

    def interrupted_once(self, outcome):
        calls.append(outcome.seed)
        if len(calls) == 1:
            threads.shutdown()  # all four have ended now, none is saved
            raise KeyboardInterrupt
        original(self, outcome)

    monkeypatch.setattr(study.Store, "put", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        simulate(tasks, threads, store)
    assert [store.state(task) for task in tasks] == ["done"] * 4


def test_a_log_says_runs_done_failures_and_time_left(store, threads, capsys):
    tasks = study.tasks_for(stages.get(8), range(4))
    simulate(tasks[:1], threads, store)
    assert capsys.readouterr().err == ""
    perform_all(tasks, threads, store, simulated.fail_for_seed_2_quietly, title="study", attempts=2)
    lines = capsys.readouterr().err.splitlines()
    assert any("stage 8, seed 1: 99.49 %, 1 s (" in line for line in lines)
    assert any("attempt 1 of 2 failed with ValueError" in line for line in lines)
    assert any("seed 2: failed 2 times" in line for line in lines)
    assert any("3 of 4 runs done, 1 failed)" in line for line in lines)
    assert any("left)" in line for line in lines)


# --- Processes on this machine --------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_task(store, notes):
    tasks = study.tasks_for(stages.get(8), range(6))
    with executors.Processes(2) as executor:
        report = simulate(tasks, executor, store, simulated.die_for_seeds_1_and_2, attempts=3)
    assert notes() == {0: 1, 1: 2, 2: 3, 3: 1, 4: 1, 5: 1}, "neighbours must not be charged"
    assert report.made == 5
    (failure,) = report.failures
    assert failure.task.seed == 2
    assert str(failure).endswith("WorkerDied: the worker process ended with signal SIGKILL")


@pytest.mark.slow
def test_processes_give_what_a_serial_run_gives(store):
    tasks = tiny_tasks(range(3))
    with executors.Processes(2) as executor:
        report = simulate(tasks, executor, store, study.train)
    assert report.made == 3
    for task in tasks:
        assert figures_of(store.get(task)) == figures_of(study.train(task))


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_comes_back(capfd):
    with executors.Processes(1) as executor:
        error = executor.submit(int, "seven").exception()
        assert isinstance(error, ValueError) and "In the worker process" in error.__notes__[0]
        assert "cannot be sent back" in str(executor.submit(os.scandir).exception())
        assert executor.submit(max, 1, 2).result() == 2, "the worker goes on"
        with pytest.raises(Exception, match="[Cc]an't (get|pickle)"):
            executor.submit(lambda: 1).result()
        assert executor.submit(max, 1, 2).result() == 2
    assert "Traceback" not in capfd.readouterr().err


STUDY = """
    import sys, simulated
    from mnist_steps import stages
    from mnist_steps.commands import main
    from mnist_steps.experiments import executors, study
    from mnist_steps.experiments.tasks import perform_all
    from pathlib import Path

    def command():
        tasks = study.tasks_for(stages.get(8), range(6))
        with executors.Processes(2) as executor:
            perform_all(
                tasks, executor, study.Store(Path(sys.argv[1])),
                simulated.seeds_from_2_take_forever, title="study",
            )

    main.app = lambda standalone_mode: command()
    if __name__ == "__main__":
        main.main()
"""


@contextmanager
def study_under_way(tmp_path, store, notes):
    """A study in a process group of its own, whose seeds 0 and 1 are done, 2 and 3 under way."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(STUDY))
    process = subprocess.Popen(
        [sys.executable, str(script), str(store.folder)],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: {2, 3} <= notes().keys() and len(store.seeds(stages.get(8))) == 2)
        yield process
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_leaves_no_worker(tmp_path, store, notes, threads):
    with study_under_way(tmp_path, store, notes) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process at once
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "stopped" in errors
        wait_until(lambda: not group_lives(process.pid), seconds=10)
    tasks = study.tasks_for(stages.get(8), range(6))
    assert [store.state(task) for task in tasks] == ["done"] * 2 + ["missing"] * 4
    report = simulate(tasks, threads, store)
    assert (report.found, report.made) == (2, 4), "the next start goes on from there"


@pytest.mark.slow
def test_a_killed_study_leaves_no_worker(tmp_path, store, notes):
    with study_under_way(tmp_path, store, notes) as process:
        process.kill()
        process.wait()
        wait_until(lambda: not group_lives(process.pid), seconds=10)


# --- Dask -----------------------------------------------------------------------------------


def in_background(function, *args):
    """Call it in a thread that does not keep the tests waiting when it never returns."""
    future = Future()

    def call():
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


@pytest.mark.slow
def test_dask_gives_what_a_serial_run_gives_even_when_a_worker_is_killed(tmp_path, store, notes):
    tasks = tiny_tasks(range(4))
    note = Path(os.environ[simulated.NOTES]) / "seed-1"
    with cluster(tmp_path, workers=2) as address, executors.dask_cluster(address) as executor:
        report = in_background(
            simulate, tasks, executor, store, simulated.wait_for_death_the_first_time
        )
        wait_until(lambda: note.is_file() and note.read_text())
        os.kill(int(note.read_text().splitlines()[0]), signal.SIGKILL)
        assert report.result(timeout=120) == Report(found=0, made=4, failures=())
    assert notes()[1] == 2
    for task in tasks:
        assert figures_of(store.get(task)) == figures_of(study.train(task))


@pytest.mark.slow
def test_a_thousand_simulated_tasks_pass_through_dask_without_loss(tmp_path, store):
    tasks = study.tasks_for(stages.get(8), range(1000))
    with cluster(tmp_path, workers=2) as address, executors.dask_cluster(address) as executor:
        report = simulate(tasks, executor, store)
        assert report == Report(found=0, made=1000, failures=())
        again = simulate(tasks, executor, store)
    assert again == Report(found=1000, made=0, failures=())
    assert [store.get(task) for task in tasks] == [simulated.simulate(task) for task in tasks]


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_study_with_a_report(tmp_path, store, notes):
    tasks = study.tasks_for(stages.get(8), range(4))
    with ExitStack() as outer:
        with cluster(tmp_path, workers=1) as address:
            executor = outer.enter_context(executors.dask_cluster(address, timeout_seconds=3))
            report = in_background(
                simulate, tasks, executor, store, simulated.seeds_from_2_take_forever
            )
            wait_until(lambda: 2 in notes() and len(store.seeds(stages.get(8))) == 2)
        failures = report.result(timeout=60).failures
    assert {failure.task.seed for failure in failures} == {2, 3}
    assert "connection to the Dask scheduler was lost" in str(failures[0])


def test_without_dask_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MnistStepsError, match=r'pip install "mnist_steps\[dask\]"'):
        executors.dask_cluster("tcp://127.0.0.1:8786").__enter__()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here", ""])
def test_an_address_without_a_scheduler_is_one_clear_line(address):
    with pytest.raises(MnistStepsError, match="no Dask scheduler answers at") as refusal:
        executors.dask_cluster(address, timeout_seconds=1).__enter__()
    assert "\n" not in str(refusal.value)


# --- The command ----------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, mnist_steps_command, store):
    """Run `mnist-steps study` on the test's own store."""
    monkeypatch.setattr(study, "STUDIES", store.folder)
    return functools.partial(mnist_steps_command, "study")


@pytest.fixture
def simulated_processes(monkeypatch):
    """The command as it is, with threads for processes and simulated runs."""
    asked = []

    def threads(workers):
        asked.append(workers)
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(executors, "Processes", threads)
    monkeypatch.setattr(study, "train", simulated.simulate)
    return asked


def test_the_command_makes_what_is_missing_and_prints_a_table(command, simulated_processes):
    status, out, err = command("--stages", "7-8", "--seeds", "3", "--workers", "2")
    assert status == 0
    assert simulated_processes == [2]
    assert "0 runs found, 6 made, 0 left to make." in out
    assert "99.49 ± 0.01" in out
    assert "99.48 │     0%" in out, "the simulated runs' last three epochs begin at 98"
    status, out, _ = command("--resume")
    assert status == 0
    assert simulated_processes == [2], "nothing to do: no workers are started"
    assert "6 runs found, 0 made, 0 left to make." in out


def test_a_study_says_what_computes_its_runs_and_that_others_round_otherwise(
    command, simulated_processes
):
    eighth = stages.get(8)
    way = engine.choose(eighth.build(), eighth.recipe)
    err = command("--stages", "1,8", "--seeds", "2")[2]
    assert f"2 runs are {way.line}\n" in err
    assert "2 runs are computed by PyTorch: conv4 has 256 channels" in err
    assert "rounds otherwise" not in err
    err = command("--stages", "8", "--seeds", "3")[2]  # the simulated ones say PyTorch
    mixed = "2 of those that are there were computed by PyTorch, which rounds otherwise"
    assert (mixed in err) == (way.engine == "engine")
    err = command("--stages", "8", "--seeds", "4", "--engine", "torch")[2]
    assert "1 run is computed by PyTorch, as asked\n" in err
    assert "rounds otherwise" not in err


def test_threads_are_for_each_run_and_one_without_the_option(
    command, simulated_processes, monkeypatch
):
    asked = []

    def note(task):
        asked.append(task.threads)
        return simulated.simulate(task)

    monkeypatch.setattr(study, "train", note)
    assert command("--stages", "8", "--seeds", "1", "--threads", "2")[0] == 0
    assert command("--stages", "8", "--seeds", "2")[0] == 0
    assert asked == [2, 1]


def test_a_run_computes_with_its_threads(few_images):
    (task,) = tiny_tasks([0])
    assert study.train(dataclasses.replace(task, threads=2)).environment["threads"] == 2
    assert study.train(task).environment["threads"] == 1


def test_the_command_as_json(command, simulated_processes, store):
    status, out, _ = command("--stages", "8", "--seeds", "3,5-6", "--json")
    assert status == 0
    content = json.loads(out)
    (row,) = content["stages"]
    assert [run["seed"] for run in row["runs"]] == [3, 5, 6]
    assert row["study"] == dataclasses.asdict(store.summary(stages.get(8)))
    assert row["interval"] is None, "three runs carry no interval"
    assert (content["made"], content["left"], content["failures"]) == (3, {}, [])
    (row,) = json.loads(command("--stages", "8", "--seeds", "3-7", "--json")[1])["stages"]
    assert row["interval"]["low"] < row["study"]["mean"] < row["interval"]["high"]


def test_the_packages_study_takes_over_what_its_records_have(
    command, simulated_processes, store, tmp_path
):
    """Seed 8 of stage 8 is recorded: nobody makes it again. In a folder of one's own one does."""
    status, out, _ = command("--stages", "8", "--seeds", "7,8", "--json")
    content = json.loads(out)
    assert (status, content["found"], content["made"]) == (0, 1, 1)
    run = runs.load(8)
    (outcome,) = (one for one in store.outcomes(stages.get(8)) if one.seed == 8)
    assert outcome.figures.final == pytest.approx(run.final_test_accuracy, abs=1e-5)
    assert outcome.predictions(data.mnist().test.labels).tolist() == run.predictions.tolist()
    status, out, _ = command("--stages", "8", "--seeds", "8,8", "--folder", tmp_path, "--json")
    assert (status, json.loads(out)["made"]) == (0, 1)


def test_a_record_stands_for_no_other_run():
    stage = stages.get(8)
    (task,) = study.tasks_for(stage, [8])
    assert study.recorded(task) is not None
    recipe = dataclasses.replace(stage.recipe, epochs=5)
    others = [
        *study.tasks_for(stage, [7]),
        *study.tasks_for(dataclasses.replace(stage, recipe=recipe), [8], "short"),
        *study.tasks_for(stage, [8], "chosen", judged_on="validation"),
        *study.tasks_for(stage, [8], "few", train_images=1000),
    ]
    assert [study.recorded(task) for task in others] == [None] * 4


def test_a_record_of_yesterdays_recipe_does_not_keep_a_study_from_making_the_run(
    command, simulated_processes, monkeypatch
):
    longer = changed(stages.get(8), epochs=16)
    known = tuple(longer if stage.number == 8 else stage for stage in stages.STAGES)
    monkeypatch.setattr(stages, "STAGES", known)
    status, out, _ = command("--stages", "8", "--seeds", "8,8", "--json")
    assert (status, json.loads(out)["made"]) == (0, 1)


def test_a_dry_run_says_what_is_missing_and_what_is_stale(command, store, threads, monkeypatch):
    simulate(study.tasks_for(changed(stages.get(8), epochs=3), [0]), threads, store)
    simulate(study.tasks_for(stages.get(8), [1]), threads, store)
    status, out, _ = command("--stages", "8", "--seeds", "3", "--dry-run")
    assert status == 0
    assert "1 runs found, 0 made, 2 left to make." in out
    assert "stage 8, seed 0: stale" in out and "stage 8, seed 2: missing" in out
    assert store.seeds(stages.get(8)) == [0, 1]


def test_runs_that_fail_are_reported_with_status_2(command, simulated_processes, monkeypatch):
    monkeypatch.setattr(study, "train", simulated.fail_for_seed_2_quietly)
    status, out, err = command("--stages", "8", "--seeds", "3", "--workers", "1")
    assert status == 2
    assert "1 runs failed: stage 8, seed 2: failed 3 times" in err.splitlines()[-1]
    assert "2 made, 1 left to make." in out


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "found no runs to go on with: say which"),
        (["--stages", "8"], "found no runs to go on with"),
        (["--stages", "8", "--seeds", "0"], "--seeds 0 names no seeds"),
        (["--stages", "8", "--seeds", "5-3"], "--seeds '5-3' counts down: write 3-5."),
        (["--stages", "99", "--seeds", "1"], "there is no stage 99"),
        (["--stages", "three", "--seeds", "1"], "--stages 'three' names no numbers"),
        (["--stages", "8-", "--seeds", "1"], "--stages '8-' names no numbers"),
        (["--stages", "8", "--seeds", "-1"], "--seeds '-1' names no numbers"),
        (["--stages", "8", "--seeds", "0-99999999"], "--seeds '0-99999999' goes too far"),
        (["--stages", "8", "--seeds", "9" * 5000], "goes too far: give numbers up to 9999"),
        (["--stages", "8", "--seeds", "1", "--workers", "0"], "greater than or equal to 1"),
        (["--stages", "8", "--seeds", "1", "--device", "tpu"], "device 'tpu' is not available"),
        (["--stages", "8", "--seeds", "1", "--workers", "2", "--scheduler", "x"],
         "a cluster has its own workers"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line_and_status_2(command, arguments, expected):
    status, out, err = command(*arguments)
    assert status == 2
    assert expected in err
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


def test_the_list_of_stages_carries_the_study(command, store, threads, monkeypatch, capsys):
    simulate(study.tasks_for(stages.get(8), range(3)), threads, store)
    monkeypatch.setattr(study.Store.__init__, "__defaults__", (store.folder,))
    described = [commands.describe_stage(stages.get(number)) for number in (7, 8)]
    assert described[0]["study"] is described[0]["one_view"] is None
    names = {"seeds", "mean", "sd", "min", "pass_rate", "seconds"}
    assert described[1]["study"].keys() == names
    assert described[1]["study"]["seeds"] == 3
    assert described[1]["study"]["mean"] == pytest.approx(99.49)


def judged_by_nine_views(task, gain=0.1):
    """A run whose last three epochs also noted one view, `gain` points worse; None: did not."""
    outcome = simulated.simulate(task)
    if gain is None:
        return outcome
    last = [round(accuracy - gain, 6) for accuracy in outcome.test_accuracies[-3:]]
    columns = {"one_view_accuracy": last, "one_view_loss": [0.03] * 3}
    epochs = outcome.epochs | {name: [None] * 12 + column for name, column in columns.items()}
    return dataclasses.replace(outcome, epochs=epochs)


def rows_of_stage_9(command, mnist_steps_command):
    """What `study --json` and `stages --json` say of stage 9."""
    (row,) = json.loads(command("--stages", "9", "--dry-run", "--json")[1])["stages"]
    (listed,) = (
        each
        for each in json.loads(mnist_steps_command("stages", "--json")[1])
        if each["number"] == 9
    )
    return row, listed


def test_one_view_is_summed_up_beside_nine_once_every_run_has_noted_it(
    command, mnist_steps_command, store, monkeypatch
):
    monkeypatch.setattr(study.Store.__init__, "__defaults__", (store.folder,))
    *tasks, last = study.tasks_for(stages.get(9), range(5))
    for task in tasks:
        store.put(judged_by_nine_views(task))
    for row in rows_of_stage_9(command, mnist_steps_command):
        assert row["one_view"]["seeds"] == row["study"]["seeds"] == 4
        assert row["one_view"]["mean"] == pytest.approx(row["study"]["mean"] - 0.1)
        assert row["one_view"]["sd"] == pytest.approx(row["study"]["sd"])
        assert row["one_view"]["seconds"] is None, "their time is that of nine views"
    store.put(judged_by_nine_views(last, gain=None))
    for row in rows_of_stage_9(command, mnist_steps_command):
        assert row["study"]["seeds"] == 5 and row["one_view"] is None


def test_where_one_view_is_all_there_is_both_summaries_say_the_same(store):
    outcomes = [simulated.simulate(task) for task in study.tasks_for(stages.get(8), range(3))]
    same = dataclasses.replace(study.summary_of(outcomes), seconds=None)
    assert study.one_view_summary(outcomes) == same
    assert study.one_view_summary([]) is None
