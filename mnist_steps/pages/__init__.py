"""What the site's pages show, each in one call."""

from mnist_steps.markup import table
from mnist_steps.pages.digits import newly
from mnist_steps.pages.home import every_seed, hero
from mnist_steps.pages.parts import (
    candidates,
    field_claims,
    hold_to,
    model_difference,
    provenance,
    recipe,
    recipe_change,
    results,
    source,
    standard_error,
    verdicts,
)
from mnist_steps.pages.quiz import check, predict, progress

__all__ = [
    "candidates",
    "check",
    "field_claims",
    "hero",
    "hold_to",
    "every_seed",
    "model_difference",
    "newly",
    "predict",
    "progress",
    "provenance",
    "recipe",
    "recipe_change",
    "results",
    "source",
    "standard_error",
    "table",
    "verdicts",
]
