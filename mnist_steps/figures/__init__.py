"""Every plot of the site, each in one call."""

from mnist_steps.figures.containers import Beside, Folded, Moving, Panels, beside, folded
from mnist_steps.figures.evidence import frontier, histories
from mnist_steps.figures.fields import field, field_and_effective, growth, one_axis
from mnist_steps.figures.images import confusion, digits, mistakes
from mnist_steps.figures.moving import (
    affine_map,
    forgetting,
    mixing,
    normalization,
    schedule,
    sliding_kernel,
)
from mnist_steps.figures.networks import (
    budget,
    channel_profile,
    ladder,
    network,
    network_change,
)
from mnist_steps.figures.roads import Place, roads_compared
from mnist_steps.figures.signals import (
    descent,
    loss_by_step,
    one_step,
    signal,
    signal_at_start,
    signal_of,
)
from mnist_steps.figures.speed import seconds_and_accuracy, step_parts
from mnist_steps.figures.spread import all_curves, effects, seeds
from mnist_steps.figures.style import PALETTE, Figure
from mnist_steps.figures.training import curves, learning_rates

__all__ = [
    "PALETTE",
    "Beside",
    "Figure",
    "Folded",
    "Moving",
    "Panels",
    "Place",
    "affine_map",
    "all_curves",
    "beside",
    "budget",
    "channel_profile",
    "confusion",
    "curves",
    "descent",
    "digits",
    "effects",
    "field",
    "field_and_effective",
    "folded",
    "forgetting",
    "frontier",
    "growth",
    "histories",
    "ladder",
    "learning_rates",
    "loss_by_step",
    "mistakes",
    "mixing",
    "network",
    "network_change",
    "normalization",
    "one_axis",
    "one_step",
    "roads_compared",
    "schedule",
    "seconds_and_accuracy",
    "seeds",
    "signal",
    "signal_at_start",
    "signal_of",
    "sliding_kernel",
    "step_parts",
]
