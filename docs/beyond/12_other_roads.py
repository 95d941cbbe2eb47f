# %% [markdown]
# # Other roads: how else does a network get small?
#
# Eight stages made a network small by drawing it anew. People who have a trained
# network ask something else: can *this* one be made smaller? There are tools for that,
# and all of them are praised. Here they stand beside redesign on equal terms.

# %% tags=["hide-input"]
import inspect
import statistics
import tokenize

from mnist_steps import data, figures, pages, runs, stages
from mnist_steps.experiments import evidence
from mnist_steps.markup import Text
from mnist_steps.original import BUDGET, TARGET
from mnist_steps.roads import (
    arms,
    distillation,
    found,
    low_rank,
    pruning,
    quantization,
    timing,
)

rows = found.rows()
times = timing.load()
by_key = {row.key: row for row in rows}
shown = [row for row in rows if row.trained_on]
figures.roads(
    [
        figures.Place(
            row.road,
            row.label if row.road == "redesign" else "",
            row.size.least,
            row.microseconds,
            row.point.mean,
            row.point.interval,
        )
        for row in shown
    ],
    TARGET,
)
