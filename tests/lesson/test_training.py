"""The loop learns, repeats itself, and keeps the caller's random numbers alone."""

import dataclasses
import functools
import io

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from mnist_steps import data, evaluation, recipes, stages, training
from mnist_steps.errors import MnistStepsError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_tenth_of_the_test_digits(monkeypatch):
    """Evaluating all of them would take longer than all training here."""
    whole = data.mnist()
    few = data.Mnist(whole.full_train, whole.test[:1000])
    monkeypatch.setattr(data, "mnist", functools.cache(lambda: few))


def test_two_epochs_on_a_few_digits_learn(short_stage, few_digits):
    recipe = dataclasses.replace(short_stage.recipe, schedule=None)
    stage = dataclasses.replace(short_stage, recipe=recipe)
    run = training.fit(stage, seed=0, device="cpu", train_split=few_digits)
    assert len(run.epochs) == 2
    assert run.epochs[1].train_loss < run.epochs[0].train_loss
    assert run.epochs[1].test_accuracy > 70, "ten digits: guessing gives 10 percent"


def test_the_same_seed_gives_the_same_run_and_another_seed_another(short_stage, few_digits):
    runs = [
        training.fit(short_stage, seed=seed, device="cpu", train_split=few_digits[:512])
        for seed in (1, 1, 2)
    ]
    assert runs[0].steps == runs[1].steps
    assert torch.equal(runs[0].predictions, runs[1].predictions)
    assert runs[0].steps != runs[2].steps


def test_training_leaves_the_callers_random_numbers_alone(short_stage, few_digits):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training.fit(short_stage, seed=1, device="cpu", train_split=few_digits[:128])
    assert torch.equal(torch.rand(3), expected)


def test_a_restored_training_goes_on_to_the_same_result(short_stage, few_digits):
    straight = training.Training(short_stage, 3, CPU, few_digits[:512])
    straight.run_epoch()
    checkpoint = io.BytesIO()
    torch.save(straight.state(), checkpoint)
    checkpoint.seek(0)
    resumed = training.Training(short_stage, 99, CPU, few_digits[:512])
    resumed.restore(torch.load(checkpoint, weights_only=True))
    straight.run_epoch()
    resumed.run_epoch()
    one, other = straight.result(), resumed.result()
    assert one.steps == other.steps
    assert one.epochs == other.epochs
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


def test_the_learning_rate_follows_torchs_one_cycle(short_stage, few_digits):
    run = training.fit(short_stage, seed=0, device="cpu", train_split=few_digits[:640])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.01, momentum=0.9)
    schedule = OneCycleLR(optimizer, max_lr=0.01, steps_per_epoch=10, epochs=2)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [step.learning_rate for step in run.steps] == expected


def test_the_epochs_train_loss_is_the_mean_over_images(short_stage, few_digits):
    under_way = training.Training(short_stage, 0, CPU, few_digits[:100])  # batches of 64 and 36
    epoch = under_way.run_epoch()
    first, second = under_way.losses[0].tolist()
    assert epoch.train_loss == pytest.approx((64 * first + 36 * second) / 100)


def test_evaluation_counts_what_is_right(short_stage):
    split = data.mnist().test[:250]  # two batches and a half
    model = short_stage.build()
    judged = evaluation.evaluate(model, split, short_stage.recipe)
    model.eval()
    with torch.no_grad():
        outputs = model((split.images.float() / 255 - 0.1325) / 0.3104)
    right = sum(int(o.argmax() == label) for o, label in zip(outputs, split.labels, strict=True))
    assert judged.accuracy == pytest.approx(100 * right / 250)
    assert judged.loss == pytest.approx(
        -sum(o[label].item() for o, label in zip(outputs, split.labels, strict=True)) / 250,
        rel=1e-5,
    )


def test_training_images_are_normalized_as_the_recipe_says(short_stage, few_digits, monkeypatch):
    seen = []
    original = recipes.Normalization.__call__

    def spy(normalization, images):
        seen.append(normalization)
        return original(normalization, images)

    monkeypatch.setattr(recipes.Normalization, "__call__", spy)
    under_way = training.Training(short_stage, 0, CPU, few_digits[:64], engine="torch")
    under_way.run_epoch()
    assert seen[0] == recipes.TRAIN_PIXELS
    assert set(seen[1:]) == {recipes.TEST_PIXELS}, "the original's quirk must stay"


def test_an_unknown_device_is_one_clear_line():
    with pytest.raises(MnistStepsError, match="'tpu' is not available here: choose auto or"):
        training.pick_device("tpu")


def test_a_run_without_weights_says_how_to_get_them(short_stage, few_digits):
    run = training.fit(short_stage, seed=0, device="cpu", train_split=few_digits[:64])
    bare = dataclasses.replace(run, weights=None)
    with pytest.raises(MnistStepsError, match="mnist-steps train 8"):
        bare.build()


def test_cpu_threads_are_given_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), training.cpu_threads(2):
        assert torch.get_num_threads() == 2
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_after_the_last_epoch_shifted_images_judge_together(few_digits, short_stage):
    recipe = dataclasses.replace(short_stage.recipe, test_shifts=1)
    stage = dataclasses.replace(short_stage, recipe=recipe)
    digits = few_digits[:200]
    plain, shifted = (
        training.Training(one, 3, CPU, digits, digits) for one in (short_stage, stage)
    )
    while not plain.finished:
        plain.run_epoch(), shifted.run_epoch()
    alike = [one == other for one, other in zip(plain.epochs, shifted.epochs, strict=True)]
    assert alike == [True] * (len(alike) - 1) + [False]

    wide = torch.nn.functional.pad(digits.images, (1, 1, 1, 1))
    views = [
        data.Split(wide[:, :, top : top + 28, left : left + 28], digits.labels)
        for top in range(3)
        for left in range(3)
    ]
    each = [plain.evaluate(view).log_probabilities for view in views]
    expected = torch.stack(each).mean(dim=0).log_softmax(dim=1)
    torch.testing.assert_close(shifted.last_evaluation.log_probabilities, expected)
    torch.testing.assert_close(shifted.evaluate(final=True).log_probabilities, expected)
    assert torch.equal(shifted.result().predictions, expected.argmax(dim=1).to(torch.uint8))


@pytest.mark.parametrize("last, judged_by_shifts", [(1, [False, True]), (2, [True, True])])
def test_as_many_epochs_as_wanted_are_judged_by_shifts(
    few_digits, short_stage, last, judged_by_shifts
):
    recipe = dataclasses.replace(short_stage.recipe, epochs=2, test_shifts=1, shifted_epochs=last)
    stage = dataclasses.replace(short_stage, recipe=recipe)
    digits = few_digits[:64]
    under_way = training.Training(stage, 3, CPU, digits, digits)
    found = []
    while not under_way.finished:
        loss = under_way.run_epoch().test_loss
        found.append(loss == under_way.evaluate(final=True).loss)
    assert found == judged_by_shifts


def test_a_recipe_without_shifts_says_nothing_of_them(short_stage):
    """What a recipe says decides digests of runs that are older than this setting."""
    with_shifts = dataclasses.replace(short_stage.recipe, test_shifts=1, shifted_epochs=3)
    assert not {"test_shifts", "shifted_epochs"} & set(short_stage.recipe.as_data())
    assert recipes.Recipe.from_data(with_shifts.as_data()) == with_shifts


def test_kaiming_initialization_keeps_the_signal_through_the_network(short_stage):
    """Stage 3's signal fades; with the variance of its weights doubled per input, it stays."""
    images = recipes.TEST_PIXELS(data.mnist().test.images[:64].float() / 255)
    lighter = stages.get(3)
    spreads = []
    for how in (None, "kaiming"):
        stage = dataclasses.replace(
            lighter, recipe=dataclasses.replace(recipes.LIGHTER, initialization=how)
        )
        model = training.Training(stage, 3, CPU).model
        with torch.no_grad():
            spreads.append(torch.nn.Sequential(*list(model)[:-2])(images).std().item())
    assert spreads[1] > 30 * spreads[0]


def test_an_unknown_initialization_is_one_clear_line(short_stage):
    recipe = dataclasses.replace(short_stage.recipe, initialization="magic")
    with pytest.raises(MnistStepsError, match="'magic' is not known: expected None or one of kai"):
        training.Training(dataclasses.replace(short_stage, recipe=recipe), 3, CPU)


def test_momentum_stays_when_the_schedule_does_not_cycle_it(short_stage, few_digits):
    schedule = recipes.OneCycle(max_lr=0.01, cycle_momentum=False)
    recipe = dataclasses.replace(short_stage.recipe, schedule=schedule)
    stage = dataclasses.replace(short_stage, recipe=recipe)
    seen = []
    for one in (short_stage, stage):
        under_way = training.Training(one, 3, CPU, few_digits[:640])
        group = under_way.optimizer.param_groups[0]
        momenta = set()
        under_way.train_epoch(on_step=lambda loss, m=momenta, g=group: m.add(g["momentum"]))
        seen.append(momenta)
    assert len(seen[0]) == 10 and seen[1] == {0.9}
    assert recipes.Recipe.from_data(recipe.as_data()) == recipe


# ---- What a reader hands over by mistake ---------------------------------------------------------


class Mine(torch.nn.Sequential):
    """A reader's first network. It ends in raw scores, as with torch's cross_entropy."""

    def __init__(self, *end):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(784, 10), *end)


class Two(Mine):
    def forward(self, x):
        return super().forward(x), None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Mine, "Mine returns other numbers, .*: end its .* `return F.log_softmax"),
        (lambda: Mine(torch.nn.LogSoftmax(0)), "returns other numbers, .*log_softmax.x, dim=1"),
        (lambda: Mine(torch.nn.Softmax(1)), "returns probabilities, .*dim=1.` in place of softmax"),
        (
            lambda: Mine(torch.nn.ReLU(), torch.nn.Linear(10, 5)),
            r"of shape \(64, 5\), .*ten scores",
        ),
        (Two, "Two returns a tuple, expected log-probabilities .*return one tensor"),
    ],
)
def test_a_network_without_log_probabilities_is_told_at_the_first_batch(
    model, said, short_stage, few_digits, monkeypatch
):
    """Its loss would fall below 0, and it would learn nothing."""
    monkeypatch.setattr(torch.nn.functional, "nll_loss", lambda *_: pytest.fail("it trains"))
    with pytest.raises(MnistStepsError, match=said) as raised:
        training.fit(dataclasses.replace(short_stage, model=model), train_split=few_digits[:64])
    assert "\n" not in str(raised.value)


def test_log_probabilities_may_be_reached_without_log_softmax(short_stage, few_digits):
    class Logarithms(Mine):
        def forward(self, x):
            return super().forward(x).softmax(dim=1).log()

    stage = dataclasses.replace(short_stage, model=Logarithms)
    assert len(training.fit(stage, train_split=few_digits[:64]).epochs) == stage.recipe.epochs


def test_a_training_that_diverged_is_not_blamed_on_the_network(short_stage, few_digits):
    recipe = dataclasses.replace(short_stage.recipe, optimizer=recipes.SGD(lr=1e9), schedule=None)
    stage = dataclasses.replace(short_stage, recipe=recipe)
    run = training.fit(stage, train_split=few_digits[:128], engine="torch")
    assert run.epochs[-1].test_loss != run.epochs[-1].test_loss, "not a number"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (8, r"found 8, expected a stage, .*write fit\(stages.get\(8\)\)"),
        (Mine(), r"found Mine\(, .*fit\(dataclasses.replace\(stages.get\(8\), model=Mine\)\)"),
        (Mine, r"found <class '.*Mine'>, .*model=Mine\)\)"),
        (dataclasses.replace(stages.get(8), model=Mine()),
         r"found a stage whose model is a network, .*model=Mine\)\)"),
        ("8", r"found '8', expected a stage, .*fit\(stages.get\(8\)\)"),
        (None, r"found None, expected a stage"),
    ],
)  # fmt: skip
def test_what_is_no_stage_is_told_with_the_line_to_write(given, said):
    with pytest.raises(MnistStepsError, match=said) as raised:
        training.fit(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["batch_size", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "64", None])
def test_a_recipe_without_batches_or_epochs_is_one_clear_line(name, value):
    expected = f"a recipe has {value!r} as {name}, expected a whole number from 1"
    with pytest.raises(MnistStepsError, match=expected):
        dataclasses.replace(recipes.LR_SCHEDULER, **{name: value})


@pytest.mark.parametrize(
    "schedule",
    [
        recipes.OneCycle(max_lr=0.1),
        recipes.Part.of("MultiStepLR", milestones=(1,), gamma=0.5),
        recipes.Part.of("ReduceLROnPlateau", patience=0, threshold=10.0, factor=0.5),
        None,
    ],
    ids=str,
)
def test_the_rates_of_a_recipe_are_known_without_a_training(schedule, short_stage, few_digits):
    recipe = dataclasses.replace(short_stage.recipe, epochs=3, schedule=schedule)
    under_way = training.Training(
        dataclasses.replace(short_stage, recipe=recipe), 0, CPU, few_digits[:256]
    )
    while not under_way.finished:
        under_way.run_epoch()
    losses = [epoch.train_loss for epoch in under_way.epochs]
    taken = recipes.optimizer_settings(recipe, 4, losses)
    assert [one["lr"] for one in taken] == under_way.learning_rates
    assert (len(set(under_way.learning_rates)) > 1) == (schedule is not None)
