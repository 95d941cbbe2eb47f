"""Each cause is its stage with one thing changed, and the mean rate is the schedule's own."""

import statistics
from dataclasses import fields

import pytest
import torch

from mnist_steps import stages
from mnist_steps.experiments import causes, registry
from mnist_steps.recipes import make_schedule


@pytest.mark.parametrize(
    ("name", "number", "changed"),
    [
        ("causes-kaiming-3", 3, {"initialization"}),
        ("causes-kaiming-4", 4, {"initialization"}),
        ("causes-momentum-8", 8, {"schedule"}),
        ("causes-mean-rate-8", 8, {"schedule", "optimizer"}),
    ],
)
def test_an_arm_changes_its_stage_in_one_thing(name, number, changed):
    arm = next(arm for arm in registry.get("causes").arms if arm.name == name)
    recipe, own = arm.stage.recipe, stages.get(number).recipe
    differing = {
        field.name
        for field in fields(own)
        if getattr(recipe, field.name) != getattr(own, field.name)
    }
    assert differing == changed and arm.stage.model is stages.get(number).model


def test_the_constant_rate_is_the_mean_of_the_rates_that_stage_8_trains_with():
    recipe, steps = stages.get(8).recipe, 938
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=recipe.optimizer.lr, momentum=0.9)
    schedule = make_schedule(recipe, optimizer, steps)
    rates = []
    for _ in range(recipe.epochs * steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert causes.mean_rate(recipe) == pytest.approx(statistics.fmean(rates), rel=5e-3)
    arm = next(arm for arm in registry.get("causes").arms if arm.name == "causes-mean-rate-8")
    assert arm.stage.recipe.optimizer.lr == causes.mean_rate(recipe)
    assert arm.stage.recipe.optimizer.momentum == recipe.optimizer.momentum


def test_the_strided_network_has_the_parameters_of_stage_9_and_its_recipe():
    arm, own = causes.CAUSES.arms[-1].stage, stages.get(9)
    shapes = [parameter.shape for parameter in arm.build().parameters()]
    assert shapes == [parameter.shape for parameter in own.build().parameters()]
    assert arm.recipe == own.recipe
    spread, touching = (
        {layer.dilation for layer in each.build() if isinstance(layer, torch.nn.Conv2d)}
        for each in (own, arm)
    )
    assert spread > touching == {(1, 1)}
