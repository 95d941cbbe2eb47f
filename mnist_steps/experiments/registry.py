"""All experiments by name, as `mnist-steps study --of` takes them."""

from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.ablation import ABLATION
from mnist_steps.experiments.arms import Experiment
from mnist_steps.experiments.causes import CAUSES
from mnist_steps.experiments.frontier import FRONTIER
from mnist_steps.experiments.ladder import LADDER
from mnist_steps.experiments.search import FINALS, SEARCH

EXPERIMENTS = {each.name: each for each in (ABLATION, CAUSES, LADDER, SEARCH, FINALS, FRONTIER)}


def get(name: str) -> Experiment:
    """The experiment of this name. Raises MnistStepsError when there is none."""
    if name not in EXPERIMENTS:
        known = ", ".join([*EXPERIMENTS, "roads"])
        raise MnistStepsError(f"there is no experiment {name!r}: the experiments are {known}.")
    return EXPERIMENTS[name]
