"""What a few runs prove: summaries over seeds, intervals, and paired comparisons.

Two kinds of chance stand between one figure and a claim. Another seed gives another network:
`over_seeds`, `bootstrap` and `compare` deal with that, and need several runs. Other test images
would give another accuracy to the same network: `wilson` and `mcnemar` deal with that, and
need one run of each model. A difference is a finding only when it is larger than chance.

Accuracies are in percent everywhere, differences in percentage points.
"""

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from mnist_steps.errors import MnistStepsError
from mnist_steps.stages import TARGET

# An interval over seeds needs so many runs. A bootstrap of fewer draws the same few means again
# and again, and promises too much: what it makes of two runs holds the true mean half the time.
FEWEST_RUNS = 5


@dataclass(frozen=True)
class RunFigures:
    """Three ways to state one run's test accuracy, in percent.

    final: after the last epoch; chosen before looking, so it is the headline
    best: of all epochs; chosen by looking at the test set, so it flatters
    last_three_min: the least of the last three epochs; a run passes when it reaches the target
    """

    final: float
    best: float
    last_three_min: float

    def passes(self, target: float = TARGET) -> bool:
        return self.last_three_min >= target


def run_figures(test_accuracies: Sequence[float]) -> RunFigures:
    """test_accuracies: percent after each epoch, in order. Raises MnistStepsError when empty."""
    if not test_accuracies:
        raise MnistStepsError("found a run without epochs: a run has at least one.")
    return RunFigures(test_accuracies[-1], max(test_accuracies), min(test_accuracies[-3:]))


@dataclass(frozen=True)
class Summary:
    """Final-epoch test accuracy of several runs of one model, in percent.

    seeds: how many runs
    sd: standard deviation between runs (n - 1 in the denominator); None for a single run
    pass_rate: share of the runs, 0 to 1, whose last three epochs all reach the target
    seconds: mean wall time of a run; None where it was not measured
    """

    seeds: int
    mean: float
    sd: float | None
    min: float
    pass_rate: float
    seconds: float | None = None

    @property
    def mean_and_sd(self) -> str:
        """Such as '99.41 ± 0.04'; without the spread for a single run."""
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


def over_seeds(runs: Sequence[Sequence[float]], seconds: Sequence[float] = ()) -> Summary:
    """runs: for each run, its test accuracies in percent, one an epoch.

    seconds: how long each run took
    Raises MnistStepsError when there are no runs.
    """
    if not runs:
        raise MnistStepsError("found no runs to summarize: expected at least one.")
    figures = [run_figures(run) for run in runs]
    finals = [run.final for run in figures]
    return Summary(
        seeds=len(finals),
        mean=statistics.fmean(finals),
        sd=statistics.stdev(finals) if len(finals) > 1 else None,
        min=min(finals),
        pass_rate=sum(run.passes() for run in figures) / len(figures),
        seconds=round(statistics.fmean(seconds), 2) if seconds else None,
    )


@dataclass(frozen=True)
class Interval:
    """Both ends belong to it; in percent, or in percentage points for a difference."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __format__(self, form: str) -> str:
        """Such as '99.40 to 99.47', by the form of each number."""
        return f"{self.low:{form}} to {self.high:{form}}"


# --- Other test images ----------------------------------------------------------------------


def wilson(right: int, images: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of one network's accuracy, in percent.

    right: how many of the images it recognised
    Where the accuracy would lie had the test images been other ones of the same kind. Unlike
    accuracy ± 1.96 standard errors it stays below 100 %, where this tutorial works.
    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    Raises MnistStepsError unless 0 <= right <= images and images > 0.
    """
    if not (0 <= right <= images and images > 0):
        raise MnistStepsError(f"found {right} right of {images} images: expected a part of them.")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / images
    center = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = (
        z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
        / (1 + z * z / images)
    )  # fmt: skip
    # With none or all right an end meets the accuracy exactly; rounding must not push it past.
    return Interval(100 * min(share, center - half), 100 * max(share, center + half))


@dataclass(frozen=True)
class McNemar:
    """only_first, only_second: how many images only that one of the two models got wrong.

    p_value: how often two equally good models would differ at least this much
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(wrong_first: Collection[int], wrong_second: Collection[int]) -> McNemar:
    """McNemar's exact test of two networks on the same test images, two-sided.

    wrong_first, wrong_second: the positions of the images that each got wrong
    Images that both got right, or both wrong, say nothing about which is better. Of the others
    each falls to either side with probability 1/2 when the networks are equally good.
    Source: McNemar, Psychometrika 12 (1947), 153-157; exact as a binomial test.
    """
    only_first = len(set(wrong_first) - set(wrong_second))
    only_second = len(set(wrong_second) - set(wrong_first))
    images = only_first + only_second
    smaller = min(only_first, only_second)
    tail = sum(math.comb(images, count) for count in range(smaller + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**images))


# --- Other seeds ----------------------------------------------------------------------------


def bootstrap(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Bootstrap interval of the mean over seeds.

    values: one figure for each seed
    The runs are drawn again, with replacement, `resamples` times; the interval holds the middle
    of the means that come out. How much of it: the more the fewer runs there are, because few
    runs show less spread than there is. With normal figures, 95 of 100 such intervals for 95 %
    hold the true mean when there are ten runs, 92 when there are five; without the correction
    91 and 83.
    Source: T. Hesterberg, What Teachers Should Know About the Bootstrap (2015),
    arXiv:1411.5279, the expanded percentile interval.
    Raises MnistStepsError for fewer than FEWEST_RUNS values.
    """
    if len(values) < FEWEST_RUNS:
        raise MnistStepsError(
            f"found {len(values)} run(s): an interval over seeds needs at least {FEWEST_RUNS}."
        )
    means = _resampled_means(values, resamples, np.random.default_rng(seed))
    return _middle(means, confidence, len(values), models=1)


def interval(values: Sequence[float]) -> Interval | None:
    """As `bootstrap`; None where there are too few runs to say."""
    return bootstrap(values) if len(values) >= FEWEST_RUNS else None


@dataclass(frozen=True)
class Verdict:
    """Whether a network reaches the target, by several runs whose test images are judged once.

    mean: of the final epochs, in percent; interval: of that mean over seeds, None for few runs
    end: how many runs are at the target or above after the last epoch
    hold: how many are so after each of the last three, which is harder
    """

    runs: int
    mean: float
    interval: Interval | None
    end: int
    hold: int
    target: float = TARGET

    @property
    def reached(self) -> bool:
        """On average: the one meaning that the word has on this site."""
        return self.mean >= self.target

    @property
    def beyond_doubt(self) -> bool:
        return self.interval is not None and self.interval.low >= self.target

    @property
    def words(self) -> str:
        if not self.reached:
            return "not reached"
        return "reached on average" + (", and beyond doubt" if self.beyond_doubt else "")

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached, "beyond_doubt": self.beyond_doubt}

    def __str__(self) -> str:
        """Such as 'reached on average: 99.435 % over 10 runs (95 % interval …); 7 of …'."""
        sure = f" (95 % interval {self.interval:.3f})" if self.interval else ""
        return (
            f"{self.words}: {self.mean:.3f} % over {self.runs} runs{sure}; {self.end} of "
            f"{self.runs} end at {self.target} % or above, {self.hold} hold it in each of their "
            "last three epochs"
        )


def verdict(runs: Sequence[Sequence[float]], target: float = TARGET) -> Verdict:
    """Judge several runs of one network by the target.

    runs: for each run its test accuracies in percent, one an epoch, each image judged once
    Raises MnistStepsError when there are no runs.
    """
    if not runs:
        raise MnistStepsError("found no runs to judge: expected at least one.")
    finals = [run[-1] for run in runs]
    return Verdict(
        runs=len(runs),
        mean=statistics.fmean(finals),
        interval=interval(finals),
        end=sum(final >= target for final in finals),
        hold=sum(run_figures(run).passes(target) for run in runs),
        target=target,
    )


@dataclass(frozen=True)
class Comparison:
    """Two models over seeds. difference: second minus first, in percentage points.

    interval: of the difference, over seeds; None when a model has fewer runs than FEWEST_RUNS
    spread: the larger of the two standard deviations between runs; None likewise
    """

    difference: float
    interval: Interval | None
    spread: float | None

    @property
    def ranked(self) -> bool:
        """Whether the evidence carries saying which is better.

        It does when the interval leaves out zero and the difference exceeds the spread: below
        that, another seed of the worse model often beats the better one.
        """
        if self.interval is None or self.spread is None:
            return False
        return 0 not in self.interval and abs(self.difference) > self.spread

    def verdict(self, first: str, second: str) -> str:
        """In words, with the models' names. Never names a winner that is not `ranked`."""
        if self.interval is None:
            return f"{first} and {second}: not ranked, that takes {FEWEST_RUNS} runs of each"
        size = f"{abs(self.difference):.2f} points"
        if not self.ranked:
            return f"{first} and {second}: not ranked, {size} apart is within the spread"
        better, worse = (second, first) if self.difference > 0 else (first, second)
        return f"{better} is better than {worse} by {size}"


def compare(
    first: Sequence[float],
    second: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare the mean of two models over seeds, by a bootstrap of the difference.

    first, second: one final-epoch accuracy for each seed; the seeds need not be the same ones,
    since two architectures share no randomness that would make their runs pairs
    Says nothing about other test images: for that, see `mcnemar`.
    Raises MnistStepsError when a model has no run.
    """
    if not first or not second:
        raise MnistStepsError("found a model without runs: a comparison needs runs of both.")
    difference = statistics.fmean(second) - statistics.fmean(first)
    if min(len(first), len(second)) < FEWEST_RUNS:
        return Comparison(difference, None, None)
    generator = np.random.default_rng(seed)
    means = [_resampled_means(values, resamples, generator) for values in (first, second)]
    spread = max(statistics.stdev(first), statistics.stdev(second))
    runs = len(first) + len(second)
    return Comparison(difference, _middle(means[1] - means[0], confidence, runs, models=2), spread)


def _resampled_means(
    values: Sequence[float], resamples: int, generator: np.random.Generator
) -> np.ndarray:
    drawn = generator.integers(len(values), size=(resamples, len(values)))
    return np.asarray(values, dtype=float)[drawn].mean(axis=1)


def _middle(means: np.ndarray, confidence: float, runs: int, models: int) -> Interval:
    """The middle of resampled means, or of their differences, expanded as `bootstrap` says.

    runs: of all models together
    """
    # As many standard errors to each side as a t-test goes. They seem smaller by resampling, for
    # runs that are drawn again spread around the mean of the runs, which lies amid them.
    free = runs - models
    errors = special.stdtrit(free, (1 + confidence) / 2) * math.sqrt(runs / free)
    low, high = np.quantile(means, special.ndtr([-errors, errors]))
    return Interval(float(low), float(high))
