"""The statistics, against scipy and against cases worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from mnist_steps import stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence, study


def test_a_runs_figures_are_its_last_its_best_and_the_least_of_its_last_three():
    figures = evidence.run_figures([98.0, 99.5, 99.1, 99.44, 99.40])
    assert (figures.final, figures.best, figures.last_three_min) == (99.40, 99.5, 99.1)
    assert not figures.passes()
    assert evidence.run_figures([90.0, 99.4, 99.41, 99.4]).passes(), "exactly 99.4 reaches 99.4"


def test_an_accuracy_counted_from_images_reaches_the_target_exactly():
    assert evidence.run_figures([round(100 * 9940 / 10_000, 6)]).passes()
    assert not evidence.run_figures([round(100 * 9939 / 10_000, 6)]).passes()


def test_a_summary_worked_by_hand():
    runs = [[99.0, 99.4, 99.4, 99.4], [99.4, 99.3, 99.5, 99.6], [98.0, 99.5, 99.6, 99.5]]
    summary = evidence.over_seeds(runs)
    assert summary.seeds == 3
    assert summary.mean == pytest.approx(99.5)
    assert summary.sd == pytest.approx(0.1)  # finals 99.4, 99.6, 99.5: squares 0.01 + 0.01 over 2
    assert summary.min == 99.4
    assert summary.pass_rate == pytest.approx(2 / 3)  # the second run fell to 99.3


def test_a_single_run_has_no_spread_and_two_have_one():
    assert evidence.over_seeds([[99.4]]).sd is None
    assert evidence.over_seeds([[99.4], [99.6]]).sd == pytest.approx(math.sqrt(0.02))


def test_the_time_of_a_run_is_the_mean_in_hundredths_of_a_second():
    runs = [[99.4]] * 3
    assert evidence.over_seeds(runs, seconds=[10.0, 11.0, 12.014]).seconds == 11.0
    assert evidence.over_seeds(runs, seconds=[10.0, 11.0, 12.03]).seconds == 11.01
    assert evidence.over_seeds(runs).seconds is None


def test_95_percent_is_what_an_interval_holds_when_nothing_is_said():
    assert evidence.wilson(9944, 10_000) == evidence.wilson(9944, 10_000, 0.95)
    values = [99.4, 99.5, 99.45, 99.38, 99.41]
    assert evidence.bootstrap(values) == evidence.bootstrap(values, 0.95, 10_000, 0)


@pytest.mark.parametrize("right, images", [(9944, 10_000), (0, 20), (20, 20), (7, 11), (1, 1)])
@pytest.mark.parametrize("confidence", [0.68, 0.95, 0.99])
def test_wilsons_interval_is_scipys(right, images, confidence):
    expected = stats.binomtest(right, images).proportion_ci(confidence, method="wilson")
    found = evidence.wilson(right, images, confidence)
    assert found.low == pytest.approx(100 * expected.low, abs=1e-9)
    assert found.high == pytest.approx(100 * expected.high, abs=1e-9)
    assert 0 <= found.low <= 100 * right / images <= found.high <= 100


@pytest.mark.parametrize(
    "only_first, only_second", [(0, 0), (1, 0), (5, 5), (10, 25), (0, 12), (300, 360)]
)
def test_mcnemars_test_is_the_exact_binomial_test(only_first, only_second):
    both = set(range(1000, 1050))
    first = both | set(range(only_first))
    second = both | set(range(2000, 2000 + only_second))
    found = evidence.mcnemar(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    images = only_first + only_second
    expected = stats.binomtest(only_first, images).pvalue if images else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemars_test_worked_by_hand():
    # Three images, all wrong for the second only: 2 * (1/2)^3.
    assert evidence.mcnemar([], [1, 2, 3]).p_value == 0.25


FINALS = [99.33, 99.41, 99.38, 99.44, 99.29, 99.40, 99.36, 99.35, 99.42, 99.37]


def test_the_bootstrap_interval_is_scipys_expanded_for_few_runs():
    # Ten runs: 2.262 standard errors of t with 9 degrees of freedom, times sqrt(10 / 9), is 2.384,
    # which leaves 0.855 % of a normal distribution outside on each side.
    expected = stats.bootstrap(
        (FINALS,), lambda values, axis: values.mean(axis=axis), method="percentile",
        confidence_level=1 - 2 * 0.00855, n_resamples=100_000, rng=1,
    ).confidence_interval  # fmt: skip
    found = evidence.bootstrap(FINALS, resamples=100_000)
    assert found.low == pytest.approx(expected.low, abs=0.001)
    assert found.high == pytest.approx(expected.high, abs=0.001)


def test_with_many_runs_the_bootstrap_is_a_t_interval():
    many = FINALS * 20
    expected = stats.ttest_1samp(many, 0).confidence_interval()
    found = evidence.bootstrap(many)
    assert found.low == pytest.approx(expected.low, abs=0.0005)
    assert found.high == pytest.approx(expected.high, abs=0.0005)


def test_five_runs_hold_the_mean_more_often_than_a_plain_bootstrap_of_them():
    # Measured over thousands of repetitions: 92 of 100 against 83.
    generator = np.random.default_rng(5)
    expanded = plain = 0
    for values in generator.normal(99.4, 0.05, size=(300, 5)).tolist():
        expanded += 99.4 in evidence.bootstrap(values, resamples=1000)
        means = generator.choice(values, size=(1000, 5)).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        plain += low <= 99.4 <= high
    assert expanded / 300 > 0.88 > plain / 300


def test_the_bootstrap_repeats_itself_with_its_seed():
    assert evidence.bootstrap(FINALS) == evidence.bootstrap(FINALS)
    assert evidence.bootstrap(FINALS) != evidence.bootstrap(FINALS, seed=1)


def test_a_difference_within_the_spread_is_not_ranked():
    shifted = [value + 0.01 for value in FINALS]
    comparison = evidence.compare(FINALS, shifted)
    assert comparison.difference == pytest.approx(0.01)
    assert not comparison.ranked
    verdict = comparison.verdict("stage 7", "stage 8")
    assert "not ranked" in verdict and "better" not in verdict


def test_a_difference_beyond_the_spread_is_ranked_either_way_round():
    shifted = [value + 0.2 for value in FINALS]
    comparison = evidence.compare(FINALS, shifted)
    assert comparison.ranked
    assert comparison.verdict("A", "B") == "B is better than A by 0.20 points"
    back = evidence.compare(shifted, FINALS)
    assert back.ranked
    assert back.verdict("B", "A") == "B is better than A by 0.20 points"


def test_a_significant_difference_smaller_than_the_spread_is_not_ranked():
    # A hundred runs each make the interval narrow, yet single runs of the two still mix.
    comparison = evidence.compare(FINALS * 10, [value + 0.02 for value in FINALS * 10])
    assert comparison.interval is not None and 0 not in comparison.interval
    assert comparison.spread is not None and comparison.spread > 0.02
    assert not comparison.ranked


def test_a_large_gap_between_two_wide_groups_needs_an_interval_without_zero():
    # Five runs each: the difference exceeds the spread, but some resamples turn it around.
    comparison = evidence.compare(
        [99.0, 99.5, 99.5, 99.1, 99.5], [99.37, 99.91, 99.37, 99.91, 99.91]
    )
    assert comparison.spread is not None and comparison.difference > comparison.spread
    assert comparison.interval is not None and 0 in comparison.interval
    assert not comparison.ranked


@pytest.mark.parametrize("runs", [1, 4])
def test_few_runs_are_never_ranked(runs):
    comparison = evidence.compare([99.0] * runs, [99.9] * 10)
    assert comparison.difference == pytest.approx(0.9)
    assert not comparison.ranked
    assert "that takes 5 runs" in comparison.verdict("A", "B")


def test_the_interval_of_a_difference_covers_as_often_as_it_says():
    # Normal finals, ten runs each, true difference 0.05. Far off means built wrongly.
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        first = generator.normal(99.35, 0.05, 10).tolist()
        second = generator.normal(99.40, 0.05, 10).tolist()
        interval = evidence.compare(first, second, resamples=1000).interval
        covered += interval is not None and 0.05 in interval
    assert 0.9 <= covered / 200 <= 0.98


@pytest.mark.parametrize(
    "call",
    [
        lambda: evidence.run_figures([]),
        lambda: evidence.over_seeds([]),
        lambda: evidence.wilson(11, 10),
        lambda: evidence.wilson(0, 0),
        lambda: evidence.bootstrap([99.0, 99.1, 99.2, 99.3]),
        lambda: evidence.compare([], [99.0]),
    ],
)
def test_too_little_to_go_on_is_said_clearly(call):
    with pytest.raises(MnistStepsError, match="found .*: .*"):
        call()


def test_nothing_here_depends_on_the_order_of_the_runs():
    assert evidence.over_seeds([[99.1], [99.5]]).mean == evidence.over_seeds([[99.5], [99.1]]).mean
    assert math.isclose(evidence.compare([99.1, 99.5], [99.5, 99.1]).difference, 0)


def test_the_target_is_reached_when_the_mean_of_the_final_epochs_is_there():
    ends = (99.3, 99.4, 99.5, 99.45, 99.4)
    found = evidence.verdict([[99.5, 99.6, final] for final in ends])
    assert found.reached and not found.beyond_doubt
    assert (found.runs, found.end, found.hold) == (5, 4, 4)
    assert str(found).startswith("reached on average: 99.410 % over 5 runs (95 % interval 99.3")
    assert str(found).endswith("4 of 5 end at 99.4 % or above, 4 hold it in each of their last "
                               "three epochs")  # fmt: skip
    assert not evidence.verdict([[99.5, 99.6, 99.39]] * 5).reached


def test_the_target_is_beyond_doubt_when_the_whole_interval_is_above_it():
    assert evidence.verdict([[99.0, 99.3, 99.45], [99.0, 99.5, 99.5]] * 5).beyond_doubt
    assert not evidence.verdict([[99.5]] * 4).beyond_doubt, "too few runs for an interval"
    with pytest.raises(MnistStepsError, match="no runs to judge"):
        evidence.verdict([])


def test_stage_8_reaches_the_target_and_stage_7_does_not():
    store = study.Store()
    seven, eight = (study.verdict_of(store.outcomes(stages.get(number))) for number in (7, 8))
    assert eight.reached and not seven.reached
    assert eight.end > eight.hold, "holding is harder than ending there"


def test_a_verdict_in_words_and_as_data_says_all_that_it_knows():
    few = evidence.verdict([[99.4, 99.4, 99.41], [99.3, 99.4, 99.43]])
    assert str(few) == (
        "reached on average: 99.420 % over 2 runs; 2 of 2 end at 99.4 % or above, 1 hold it in "
        "each of their last three epochs"
    )
    many = evidence.verdict([[99.5]] * 5)
    assert str(many).startswith(
        "reached on average, and beyond doubt: 99.500 % over 5 runs (95 % interval 99.500 to "
        "99.500); 5 of 5 end"
    )
    data = many.as_data()
    assert data["reached"] and data["beyond_doubt"] and data["interval"]["low"] == 99.5
    assert not few.as_data()["beyond_doubt"] and few.as_data()["reached"]
