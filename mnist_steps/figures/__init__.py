"""Every plot of the site, each in one call."""

from mnist_steps.figures.evidence import effects, frontier, histories, parameters_and_accuracy
from mnist_steps.figures.fields import field, field_and_effective, growth, one_axis
from mnist_steps.figures.images import confusion, digits, mistakes
from mnist_steps.figures.speed import seconds_and_accuracy, step_parts
from mnist_steps.figures.spread import all_curves, seeds
from mnist_steps.figures.style import PALETTE, Figure
from mnist_steps.figures.training import curves, learning_rates, losses

__all__ = [
    "PALETTE",
    "Figure",
    "all_curves",
    "confusion",
    "curves",
    "digits",
    "effects",
    "field",
    "field_and_effective",
    "frontier",
    "growth",
    "histories",
    "learning_rates",
    "losses",
    "mistakes",
    "one_axis",
    "parameters_and_accuracy",
    "seconds_and_accuracy",
    "seeds",
    "step_parts",
]
