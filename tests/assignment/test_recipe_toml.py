"""What recipe.toml can say is what torch and torchvision do under the same names."""

import dataclasses
import inspect
import json

import pytest
import torch
import torch.nn.functional as F
from handed_in import RECIPE
from torch import nn
from torchvision import transforms

from mnist_steps import augment, engine, recipes, stages, training
from mnist_steps.assignment import recipe_toml, trainings
from mnist_steps.assignment.findings import SubmissionError
from mnist_steps.assignment.recipe_toml import RULES
from mnist_steps.assignment.rules import Assignment
from mnist_steps.recipes import OPTIMIZERS, SCHEDULES, TRANSFORMS, Recipe, defaults_of


def read(text):
    recipe = recipe_toml.parse(text, Assignment())
    assert Recipe.from_data(json.loads(json.dumps(recipe.as_data()))) == recipe, "it is kept"
    return recipe


def recipe_of(optimizer='name = "SGD"', schedule="", augmentation="", settings=""):
    tables = [f"batch_size = 64\nepochs = 12\n{settings}", f"[optimizer]\n{optimizer}"]
    tables += [f"[schedule]\n{schedule}"] * bool(schedule)
    tables += [f"[[augmentation]]\n{augmentation}"] * bool(augmentation)
    return read("\n".join(tables))


def under_way(recipe, images):
    stage = dataclasses.replace(stages.get(8), recipe=recipe)
    return training.Training(stage, 0, torch.device("cpu"), images, images[:100])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('name = "SGD"\nlr = 0.02\nmomentum = 0.9\nweight_decay = 1e-4\nnesterov = true',
         lambda p: torch.optim.SGD(p, 0.02, 0.9, weight_decay=1e-4, nesterov=True)),
        ('name = "SGD"\nlr = 0.02', lambda p: torch.optim.SGD(p, 0.02)),
        ('name = "Adam"\nlr = 0.003\nbetas = [0.8, 0.99]\namsgrad = true',
         lambda p: torch.optim.Adam(p, 0.003, (0.8, 0.99), amsgrad=True)),
        ('name = "AdamW"\nlr = 0.003\nweight_decay = 0.1',
         lambda p: torch.optim.AdamW(p, 0.003, weight_decay=0.1)),
    ],
)  # fmt: skip
def test_an_optimizer_is_torchs_with_these_arguments(few_digits, written, expected):
    made = under_way(recipe_of(written), few_digits).optimizer
    twin = expected(made.param_groups[0]["params"])
    assert type(made) is type(twin)
    ours, theirs = made.param_groups[0], twin.param_groups[0]
    assert {**ours, "params": 0, "fused": 0} == {**theirs, "params": 0, "fused": 0}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('name = "StepLR"\nstep_size = 3\ngamma = 0.5',
         lambda o: torch.optim.lr_scheduler.StepLR(o, 3, gamma=0.5)),
        ('name = "MultiStepLR"\nmilestones = [2, 3, 6]\ngamma = 0.5',
         lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 3, 6], gamma=0.5)),
        ('name = "ReduceLROnPlateau"\npatience = 0\nfactor = 0.5\nthreshold = 0.1',
         lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
             o, patience=0, factor=0.5, threshold=0.1)),
    ],
)  # fmt: skip
def test_a_schedule_moves_after_each_epoch_as_torchs_does(few_digits, written, expected):
    trained = under_way(recipe_of(schedule=written), few_digits[:256])
    weight = nn.Parameter(torch.zeros(1))
    twin = torch.optim.SGD([weight], 0.001)
    schedule = expected(twin)
    for _ in range(8):
        (ours,), (theirs,) = trained.optimizer.param_groups, twin.param_groups
        assert ours["lr"] == pytest.approx(theirs["lr"])
        loss = trained.run_epoch().train_loss
        twin.step()
        schedule.step(loss) if "Plateau" in written else schedule.step()
    assert trained.learning_rates[-1] < trained.learning_rates[0]


def test_one_cycle_takes_torchs_arguments(few_digits):
    written = 'name = "OneCycleLR"\nmax_lr = 0.1\npct_start = 0.2\ndiv_factor = 5\n' \
        'final_div_factor = 10\nanneal_strategy = "linear"\nthree_phase = true'  # fmt: skip
    recipe = recipe_of('name = "SGD"\nlr = 0.1\nmomentum = 0.9', written)
    assert recipe.as_data()["schedule"]["name"] == "OneCycle", "as in the records"
    trained = under_way(recipe, few_digits[:256])
    trained.run_epoch()
    twin = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1, 0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        twin, 0.1, total_steps=12 * 4, pct_start=0.2, div_factor=5, final_div_factor=10,
        anneal_strategy="linear", three_phase=True,
    )  # fmt: skip
    rates = []
    for _ in range(4):
        rates.append(twin.param_groups[0]["lr"])
        twin.step()
        schedule.step()
    assert trained.learning_rates == pytest.approx(rates)


def test_a_recipe_without_a_schedule_and_all_at_default_is_described_by_two_names():
    described = recipe_of('name = "SGD"\nmomentum = 0\nnesterov = false').as_data()
    assert described["optimizer"] == {"name": "SGD"} and described["schedule"] is None
    assert "l1" not in described and "label_smoothing" not in described


def test_l1_and_label_smoothing_are_in_the_loss_as_torch_computes_them(few_digits):
    recipe = recipe_of(settings="l1 = 1e-3\nlabel_smoothing = 0.1")
    trained = under_way(recipe, few_digits[:64])
    trained.model.eval()
    log_probabilities = trained.model(few_digits.images[:64].float() / 255)
    loss = F.nll_loss(log_probabilities, few_digits.labels[:64])
    ours = training.regularize(loss, log_probabilities, trained.model, recipe)
    expected = F.cross_entropy(log_probabilities, few_digits.labels[:64], label_smoothing=0.1)
    expected = expected + 1e-3 * sum(p.abs().sum() for p in trained.model.parameters())
    torch.testing.assert_close(ours, expected)
    without = dataclasses.replace(recipe, l1=0.0, label_smoothing=0.0)
    plain = under_way(without, few_digits[:64]).run_epoch().train_loss
    assert under_way(recipe, few_digits[:64]).run_epoch().train_loss > plain + 0.1


def test_kaimings_initialization_reaches_the_network(few_digits):
    usual = under_way(recipe_of(), few_digits).model
    wider = under_way(recipe_of(settings='initialization = "kaiming"'), few_digits).model
    assert wider[0].weight.std() > 1.5 * usual[0].weight.std()


def test_our_c_code_leaves_what_it_does_not_know_to_pytorch():
    assert engine.recipe_misfit(stages.get(8).recipe) is None
    for unknown in (
        recipe_of('name = "Adam"'),
        recipe_of('name = "SGD"\nmomentum = 0.9\ndampening = 0.5'),
        recipe_of(settings="l1 = 1e-5"),
        recipe_of(settings="label_smoothing = 0.1"),
        recipe_of(augmentation='name = "RandomRotation"\ndegrees = 7\nfill = 1'),
        recipe_of(augmentation='name = "ColorJitter"\nbrightness = 0.1'),
    ):
        assert engine.recipe_misfit(unknown) is not None


# ---- Names and arguments -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RandomRotation", "RandomAffine", "ColorJitter", "RandomErasing"])
def test_our_transforms_have_torchvisions_arguments_with_its_defaults(name):
    theirs = inspect.signature(getattr(transforms, name)).parameters
    for field in dataclasses.fields(TRANSFORMS[name]):
        default = theirs[field.name].default
        if default is not inspect.Parameter.empty:
            assert field.default == default, field.name


def test_every_argument_that_a_recipe_may_name_is_one_of_the_class():
    taken = {argument for name in OPTIMIZERS | SCHEDULES for argument in defaults_of(name)}
    taken |= {field.name for kind in TRANSFORMS.values() for field in dataclasses.fields(kind)}
    assert set(RULES) <= taken


def test_a_resized_crop_may_be_written_as_torchvisions():
    (crop,) = recipe_of(
        augmentation='name = "RandomResizedCrop"\nsize = 28\nscale = [0.8, 0.95]'
    ).augmentation
    assert crop == augment.RandomResizedCrop(0.8, 0.95)


def test_an_angle_may_be_a_range_as_torchvision_takes_it():
    (turn,) = recipe_of(augmentation='name = "RandomRotation"\ndegrees = [5, 7]').augmentation
    assert turn == augment.RandomRotation((5, 7))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ('name = "StepLR"\nstep_size = 6', {"step_size": 2}),
        ('name = "MultiStepLR"\nmilestones = [1, 4, 8]', {"milestones": (1, 1, 2)}),
        ('name = "OneCycleLR"\nmax_lr = 1', {"max_lr": 1}),
    ],
)
def test_a_short_run_has_its_schedule_compressed(schedule, expected):
    recipe = recipe_of(schedule=schedule)
    short = trainings.screening(recipe, 3)
    assert short.epochs == 3
    assert short.schedule == recipes.Part.of(recipe.schedule.name, **expected)


@pytest.mark.parametrize(
    "milestones", ["[]", "6", "[0, 3]", "[2.5]", "[101]", str([*range(1, 22)])]
)
def test_milestones_are_up_to_twenty_epochs(milestones):
    with pytest.raises(SubmissionError, match="milestones: found .*expected a list of up to 20"):
        recipe_of(schedule=f'name = "MultiStepLR"\nmilestones = {milestones}')


def test_a_byte_order_mark_does_not_stop_a_recipe():
    assert recipe_toml.parse("\ufeff" + RECIPE, Assignment()).batch_size == 64
