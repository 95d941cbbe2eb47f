"""Every plot of the site, each in one call."""

from mnist_steps.figures.containers import beside, folded, panels
from mnist_steps.figures.evidence import bells, candidates, frontier, picked
from mnist_steps.figures.fields import field, field_and_effective, growth, one_axis
from mnist_steps.figures.images import confusion, digits, misread, mistakes, views
from mnist_steps.figures.moving import (
    affine_map,
    forgetting,
    mixing,
    sliding_kernel,
)
from mnist_steps.figures.networks import (
    budget,
    channel_profile,
    network,
    network_change,
    places,
    plan,
)
from mnist_steps.figures.roads import Kept, Place, roads_compared, what_is_left
from mnist_steps.figures.signals import (
    descent,
    loss_by_step,
    one_step,
    signal,
    signal_at_start,
    signal_of,
)
from mnist_steps.figures.speed import step_parts
from mnist_steps.figures.spread import Rung, all_curves, effects, rows_of, rungs, seeds
from mnist_steps.figures.steps import normalization, schedule
from mnist_steps.figures.style import PALETTE
from mnist_steps.figures.training import curves

__all__ = [
    "Kept",
    "PALETTE",
    "Place",
    "Rung",
    "affine_map",
    "all_curves",
    "bells",
    "beside",
    "budget",
    "candidates",
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
    "plan",
    "loss_by_step",
    "misread",
    "mistakes",
    "mixing",
    "network",
    "network_change",
    "normalization",
    "one_axis",
    "one_step",
    "panels",
    "picked",
    "places",
    "roads_compared",
    "rows_of",
    "rungs",
    "schedule",
    "seeds",
    "signal",
    "signal_at_start",
    "signal_of",
    "sliding_kernel",
    "step_parts",
    "views",
    "what_is_left",
]
