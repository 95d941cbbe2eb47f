"""What the site's pages show, each in one call."""

from mnist_steps.markup import table
from mnist_steps.pages.home import all_stages, hero, stage_points
from mnist_steps.pages.parts import (
    describe_epochs,
    field_claims,
    hold_to,
    model_difference,
    provenance,
    recipe,
    results,
    source,
    standard_error,
    studies_table,
)
from mnist_steps.pages.quiz import predict, predictions

__all__ = [
    "all_stages",
    "describe_epochs",
    "field_claims",
    "hero",
    "hold_to",
    "model_difference",
    "predict",
    "predictions",
    "provenance",
    "recipe",
    "results",
    "source",
    "stage_points",
    "standard_error",
    "studies_table",
    "table",
]
