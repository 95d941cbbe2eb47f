"""A figure shows all that it is given, or says that it cannot."""

import dataclasses
import itertools
import re

import pytest
import torch
from simulated import made_up

from mnist_steps import data, figures, receptive_field, runs, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import search, study
from mnist_steps.experiments.evidence import Interval
from mnist_steps.experiments.frontier import PUBLISHED, Public
from mnist_steps.experiments.ladder import LADDER
from mnist_steps.figures import roads, style


def test_each_network_has_a_line_of_its_own_or_the_figure_is_refused():
    analyses = {
        f"net {number}": receptive_field.analyze(stages.get(number).build(), (1, 28, 28))
        for number in range(1, 7)
    }
    with pytest.raises(MnistStepsError, match="found 6 lines .* at most 5"):
        figures.growth(analyses, 28)
    del analyses["net 6"]
    svg = figures.growth(analyses, 28).svg
    assert all(name in svg for name in analyses)


def test_a_part_has_the_same_colour_in_all_bars_or_the_figure_is_refused():
    svg = figures.step_parts({"a": {"load": 1.0, "forward": 2.0}, "b": {"forward": 1.0}}).svg
    # Once in the legend, and once in each bar that has the part.
    first, second = (f'fill="{style.colour(name)}"/>' for name in ("muted", "train"))
    assert svg.count(first) == 2 and svg.count(second) == 3
    with pytest.raises(MnistStepsError, match="found 7 lines or parts .* at most 6"):
        figures.step_parts({"a": {f"part {number}": 1.0 for number in range(7)}})


def test_curves_have_the_same_axes_unless_a_run_would_leave_them():
    usual = runs.load(8)
    better = dataclasses.replace(usual.epochs[-1], train_accuracy=99.9, train_loss=0.004)
    beyond = dataclasses.replace(usual, epochs=(*usual.epochs[:-1], better))
    perfect = dataclasses.replace(better, train_accuracy=100.0, train_loss=0.0)
    for run, marks in (
        (usual, (False, False)),
        (beyond, (True, True)),
        (dataclasses.replace(usual, epochs=(*usual.epochs[:-1], perfect)), (True, True)),
    ):
        svg = figures.curves(run).svg
        assert (">99.8</text>" in svg, ">0.005</text>" in svg) == marks
        assert ">99.5</text>" in svg and ">0.02</text>" in svg


def test_text_in_a_figure_is_text():
    svg = figures.curves(runs.load(8)).svg
    (shown,) = re.findall(r"<text ([^>]*)>epoch</text>", svg)[:1]
    assert "var(--figure-ink" in shown and "system-ui" in shown and "DejaVu" not in svg


# --- All seeds ------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    """Five made-up runs of stages 7 and 9; those of stage 9 note what one view says, too."""
    store = study.Store(tmp_path)
    for number in (7, 9):
        for place, task in enumerate(study.tasks_for(stages.get(number), range(5))):
            final = 99.5 - 0.05 * place
            made = made_up(task, [98.0, 99.4, 99.45, final])
            if number == 9:
                noted = [None] * 12 + [99.3, 99.35, final - 0.1]
                one_view = {"one_view_accuracy": noted, "one_view_loss": [None] * 12 + [0.03] * 3}
                made = dataclasses.replace(made, epochs=made.epochs | one_view)
            store.put(made)
    return store


def circles(figure, what):
    return [float(x) for x in re.findall(rf'<circle cx="([\d.]+)%"[^>]*{what}', figure.svg)]


def test_each_run_is_a_dot_further_right_the_fewer_its_mistakes(store):
    figure = figures.seeds([stages.get(7)], store=store)
    dots = circles(figure, 'fill-opacity="0.65"')
    assert len(dots) == 5 and dots == sorted(dots)
    target = float(re.search(r'<text x="([\d.]+)%"[^>]*>target<', figure.svg)[1])
    finals = sorted(one.test_accuracies[-1] for one in store.outcomes(stages.get(7)))
    assert [dot >= target for dot in dots] == [final >= 99.4 for final in finals]
    verdict = study.verdict_of(store.outcomes(stages.get(7)))
    for shown in (f"{verdict.mean:.3f}", f"{verdict.end}/5", f"{verdict.hold}/5"):
        assert f">{shown}</text>" in figure.svg
    assert f"95 % interval {verdict.interval.low:.3f} to" in figure.alt


def test_one_view_and_nine_are_told_apart(store):
    own = stages.get(9)
    both = figures.seeds([own], store=store)
    filled, rings = circles(both, 'fill-opacity="0.65"'), circles(both, 'fill="none"')
    assert len(filled) == len(rings) == 5
    assert all(one < nine for one, nine in zip(filled, rings, strict=True)), "0.1 points less"
    assert "by one view: mean 99.300" in both.alt
    assert "by the mean of 9 views: mean 99.400" in both.alt
    assert circles(figures.seeds([own], views=1, store=store), 'fill="none"') == []
    assert circles(figures.seeds([own], views=9, store=store), "fill-opacity") == []
    seven = figures.seeds([stages.get(7)], views=9, store=store)
    assert len(circles(seven, 'fill-opacity="0.65"')) == 5, "it has no other figures than these"


def test_runs_that_noted_nothing_by_one_view_are_not_guessed(store):
    own = stages.get(9)
    outcomes = store.outcomes(own)
    for outcome in outcomes[:2]:
        epochs = {name: made for name, made in outcome.epochs.items() if "one_view" not in name}
        store.put(dataclasses.replace(outcome, epochs=epochs))
    some = figures.seeds([own], views=1, store=store)
    assert "9. Reliable (3 of 5 runs)" in some.svg
    assert len(circles(some, "fill-opacity")) == 3
    for outcome in outcomes:
        epochs = {name: made for name, made in outcome.epochs.items() if "one_view" not in name}
        store.put(dataclasses.replace(outcome, epochs=epochs))
    none = figures.seeds([own], views=1, store=store)
    assert "not judged so yet" in none.svg and circles(none, "") == []
    assert "by one view no run was judged" in none.alt


def test_few_runs_have_a_mean_without_an_interval(store):
    for seed in (2, 3, 4):
        (store.folder / stages.get(7).slug / f"seed-{seed}.json").unlink()
    figure = figures.seeds([stages.get(7)], store=store)
    assert "interval" not in figure.alt and ">99.475</text>" in figure.svg
    assert "interval" not in figure.svg, "nor does the legend speak of one"


def test_sizes_stand_beside_accuracies(store):
    figure = figures.seeds([stages.get(1), stages.get(7)], sizes=True, store=study.Store())
    large, small = circles(figure, 'r="4.5"')
    assert large < small, "from many parameters to few"
    assert ">6,379,786</text>" in figure.svg and ">7,884</text>" in figure.svg
    assert figure.svg.count("paint-order") == 2, "no line crosses a number"


def test_curves_of_all_seeds_have_a_thin_line_a_run_and_a_thick_one_a_stage(store):
    chosen = [stages.get(7), stages.get(9)]
    figure = figures.all_curves(chosen, store=store)
    assert figure.svg.count('stroke-width="0.8" stroke-opacity') == 10
    assert figure.svg.count('stroke-width="2.6"') == 2
    thick = re.findall(r'points="([^"]+)"[^>]*stroke-width="2.6"', figure.svg)
    heights = [float(point.split(",")[1]) for point in thick[0].split()]
    assert heights[0] > heights[-1], "an accuracy that grows goes up"
    assert "stage 7, 5 runs: the mean goes from 98.00" in figure.alt and "to 99.40" in figure.alt
    with pytest.raises(MnistStepsError, match="found 5 lines .* at most 4"):
        figures.all_curves(stages.STAGES[:5])


def test_a_loss_that_falls_goes_down():
    figure = figures.all_curves([stages.get(8)], of="train_loss")
    thick = re.search(r'points="([^"]+)"[^>]*stroke-width="2.6"', figure.svg)[1]
    heights = [float(point.split(",")[1]) for point in thick.split()]
    assert heights[0] < heights[-1]


@pytest.mark.parametrize("width", [328, 640])
def test_words_of_a_fluid_figure_keep_their_size_and_stay_inside(browser, width):
    page = browser.new_page(viewport={"width": width + 16, "height": 600})
    page.set_content(
        '<body style="margin: 8px">'
        + "".join(
            figures.seeds(stages.STAGES, sizes=sizes)._repr_html_() for sizes in (False, True)
        ).replace("<figure", '<figure style="margin: 0"')
        + "".join(
            figure._repr_html_() for figure in (
                figures.all_curves([stages.get(7), stages.get(8)]),
                figures.bells({"stage 8": [99.36, 99.4, 99.5]}),
                *(
                    figures.candidates(
                        search.groups(search.tried(number), search.tried(number, search.FINALS)),
                        0.002,
                    )
                    for number in (9, 10)
                ),
                figures.frontier(FAMILY, OTHERS, PUBLISHED),
                figures.rungs(
                    [figures.Rung(arm.title, [99.1, 99.4, 99.55], 40) for arm in LADDER.arms]
                ),
                figures.picked({"like a bell": {1: 0.01, 700: 0.17}, "like our runs": {700: 0.1}}),
                figures.step_parts({"stage 1": dict.fromkeys(STEP, 0.06)}),
                figures.misread(data.mnist().test.images[:9], torch.arange(9), torch.arange(9)),
            )
        ).replace("<figure", '<figure style="margin: 0"')
    )  # fmt: skip
    outside = page.evaluate(
        """(width) => [...document.querySelectorAll("text")]
          .filter((one) => one.getBoundingClientRect().right > width + 9
            || one.getBoundingClientRect().left < 7)
          .map((one) => one.textContent)""",
        width,
    )
    sizes = page.eval_on_selector_all(
        "text", "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    page.close()
    assert outside == []
    assert min(sizes) >= 11


# --- A bell, a search, a frontier, a ladder --------------------------------------------------

FAMILY = [(800, [98.0, 98.2]), (1_600, [99.0, 99.2]), (7_900, [99.5, 99.54])]
STEP = ("batch", "augmentation", "forward", "backward", "optimizer")
OTHERS = [("stage 8", 7_884, [99.4, 99.45])]


def test_a_bell_has_the_share_below_the_target_that_its_runs_say():
    finals = [99.3, 99.4, 99.5]  # a third below; a mean at the target, so half of the bell
    figure = figures.bells({"ours": finals})
    assert "below: 50 % of the bell, 1 of 3 runs" in figure.svg
    dots = circles(figure, 'fill-opacity="0.65"')
    target = float(re.search(r'<text x="([\d.]+)%"[^>]*>target', figure.svg)[1])
    assert dots == sorted(dots) and dots[0] < target and dots[1] == pytest.approx(target, abs=0.01)
    shaded = re.search(r'<polygon points="([^"]+)"', figure.svg)[1]
    assert max(float(point.split(",")[0]) for point in shaded.split()) / 10 <= target + 0.01


def test_the_lowest_loss_of_a_search_is_marked_and_what_luck_does_is_shaded():
    networks = [("wide", [0.016]), ("deep", [0.018])]
    tried = {"networks": networks, "recipes": [("decay", [0.015])]}
    both = figures.candidates(tried, 0.002)
    first, second = both.figures
    assert "decay 0.0150, the lowest" in second.alt and "lowest." not in first.alt[:60]
    assert "0.0150, to 0.0170 is shaded" in first.alt
    wide, deep = circles(first, 'r="4.5"')
    (lowest,) = circles(second, 'r="4.5"')
    left, width = re.search(r'<rect x="([\d.]+)%"[^>]*width="([\d.]+)%"', first.svg).groups()
    assert lowest == float(left) < wide < float(left) + float(width) < deep


def test_of_a_candidate_with_several_runs_each_is_a_small_dot_around_their_mean():
    finalists = [("wide", [0.014, 0.017, 0.017]), ("deep", [0.018, 0.019, 0.02])]
    (figure,) = figures.candidates({"finalists": finalists}, 0.001).figures
    assert "wide 0.0160, the lowest; deep 0.0190." in figure.alt
    runs, means = circles(figure, 'r="2.2"'), circles(figure, 'r="4.5"')
    assert len(runs) == 6
    assert min(runs[:3]) < means[0] < max(runs[:3]) < means[1] < max(runs[3:])


def test_below_a_misread_digit_stand_its_label_and_then_what_was_read():
    images, labels, reads = data.mnist().test.images[:2], torch.tensor([7, 2]), torch.tensor([1, 3])
    figure = figures.misread(images, labels, reads)
    assert figure.alt == "2 digits: a 7 read as 1; a 2 read as 3."
    words = re.findall(r'<text x="([\d.]+)%" y="(\d+)"[^>]*>(\d)</text>', figure.svg)
    (first, upper, label), (below, lower, read), (second, *_), _ = words
    assert (label, read) == ("7", "1") and int(upper) < int(lower)
    assert float(first) == float(below) < float(second)


def test_on_the_frontier_a_better_network_is_higher_and_a_larger_one_further_right():
    public = [Public("a course", "", 6_000, 99.5, 99.4), Public("a post", "", 600, 98.0, None)]
    figure = figures.frontier(FAMILY, OTHERS, public)
    means = re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)" r="5"', figure.svg)
    across, down = zip(*[map(float, one) for one in means[:3]], strict=True)
    assert list(across) == sorted(across) and list(down) == sorted(down, reverse=True)
    assert figure.svg.count('r="2.2"') == 8, "each run is a small dot"
    assert len(re.findall(r'<path d="M0 -6[^>]* fill="none"', figure.svg)) == 2, "best epochs"
    assert len(re.findall(r'<path d="M0 -6[^>]* fill="var', figure.svg)) == 1, "a last one"
    assert "600: 98.00 in its best epoch." in figure.alt


def test_a_rung_shows_its_runs_their_mean_and_their_time():
    rungs = [
        figures.Rung("start", [99.2, 99.3, 99.3, 99.4, 99.3], 43.26),
        figures.Rung("nine views", [99.4, 99.5], 11.0, views=9),
    ]
    figure = figures.rungs(rungs)
    assert len(circles(figure, 'fill-opacity="0.65"')) == 5
    assert len(circles(figure, 'fill="none"')) == 2
    for shown in ("1. start", "99.300", "43.3", "2. nine views", "99.450", "11.0"):
        assert f">{shown}</text>" in figure.svg
    assert "95 % interval" in figure.alt.split("2, nine views")[0]
    assert "95 % interval" not in figure.alt.split("2, nine views")[1], "of two runs there is none"


def test_the_more_runs_to_pick_from_the_higher_the_best_lies():
    figure = figures.picked({"a": {1: 0.0, 10: 0.08, 700: 0.16}, "b": {1: 0.0, 700: 0.1}})
    dots = re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)" r="4"', figure.svg)
    across, down = zip(*[map(float, one) for one in dots[:3]], strict=True)
    assert list(across) == sorted(across) and list(down) == sorted(down, reverse=True)
    assert "a: 1: +0.000, 10: +0.080, 700: +0.160" in figure.alt


def test_each_view_of_a_digit_says_what_is_read_in_it():
    test = data.mnist().test
    images, given = test.images[[0, 0, 0]], torch.full((3, 10), 0.02)
    given[0, 7], given[1, 2], given[2, 7] = 0.82, 0.82, 0.82
    figure = figures.views(images, given, 7)
    assert figure.svg.count("<image ") == 3
    right, wrong = (
        re.findall(rf'fill="var\(--figure-{name}[^>]*>(\d)</text>', figure.svg)
        for name in ("accent", "wrong")
    )
    assert right == ["7", "7"] and wrong == ["2"]
    assert "7, 82%; 2, 82%; 7, 82%" in figure.alt


def test_the_first_layer_looks_where_its_stride_lets_it():
    panels = figures.places([stages.get(8), stages.get(11)])
    assert [figure.svg.count('width="2.00"') for figure in panels.figures] == [26**2, 9**2]
    assert "9×9 places of a kernel of 4×4" in panels.alt and "stride of 3" in panels.alt


# --- Several figures -----------------------------------------------------------------------------


def test_figures_stand_beside_each_other_or_fold_and_keep_what_they_say():
    dots, curves = figures.seeds([stages.get(8)]), figures.all_curves([stages.get(8)])
    both = figures.beside(dots, curves)
    assert dots.svg in both._repr_html_() and curves.svg in both._repr_html_()
    assert both.alt == f"{dots.alt} {curves.alt}"
    folded = figures.folded("Both & more", curves)
    assert "<summary>Both &amp; more</summary>" in folded._repr_html_()
    assert curves.svg in folded._repr_html_() and folded.alt == curves.alt


# --- Roads ----------------------------------------------------------------------------------


def test_each_road_has_a_shape_and_a_colour_of_its_own():
    shapes = list(roads.SHAPES.values())
    assert len({path for _, path in shapes}) == len({name for name, _ in shapes}) == len(shapes)


def test_roads_stand_by_accuracy_bytes_and_time_and_what_is_below_stands_at_the_foot():
    places = [
        figures.Place("redesign", "8", 30_000, 90, 99.4, Interval(99.38, 99.42)),
        figures.Place("channels", "", 3_000, 900, 99.0, Interval(98.9, 99.1)),
        figures.Place("low rank", "poor", 300_000, 50, 12.0, None),
    ]
    by_bytes, by_time = figures.roads_compared(places, 99.4).figures
    for picture, values in ((by_bytes, (30_000, 3_000, 300_000)), (by_time, (90, 900, 50))):
        marks = re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)" width="1"', picture.svg)[:3]
        across = [float(x) for x, _ in marks]
        assert sorted(range(3), key=lambda place: across[place]) == sorted(
            range(3), key=lambda place: values[place]
        )
        heights = [float(y) for _, y in marks]
        assert heights[0] < heights[1] < heights[2] == roads.HEIGHT
    assert "redesign, 8: 30,000 bytes, 99.40\xa0% (99.38 to 99.42)" in by_bytes.alt
    assert "channels, no name: 900 µs, 99.00\xa0% (98.90 to 99.10)" in by_time.alt
    assert "low rank, poor: 50 µs, 12.00\xa0%" in by_time.alt
    assert all(f">{road}</text>" in by_bytes.svg for road in ("redesign", "channels", "low rank"))
    assert ">quantization</text>" not in by_bytes.svg, "the legend names what is there"


def labels_of(picture, width):
    """The labels of a picture of roads, each with its box in pixels when it is so wide."""
    found = {}
    for x, y, dx, dy, anchor, words in re.findall(
        r'<svg x="([\d.]+)%" y="([\d.]+)"[^>]*>(?:<path[^>]*>)?<text x="([-\d.]+)" '
        r'y="([-\d.]+)" font-size="11.5"[^>]*text-anchor="(\w+)">([^<]*)</text>',
        picture.svg,
    ):
        length = roads.LETTER * len(words)
        left = float(x) * width / 100 + float(dx) - (length if anchor == "end" else 0)
        line = float(y) + float(dy) - 4  # its middle
        found[words] = (left, line - 6, left + length, line + 6)
    return found


def lie_on_each_other(one, other):
    return (
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    )  # fmt: skip


@pytest.mark.parametrize("width", [300, 340, 420, 560, 720])
def test_labels_of_roads_lie_on_no_other_and_on_no_mark_however_wide_the_picture(width):
    crowd = [
        figures.Place(
            road, f"{number}: 8k", 28_000 + 900 * number, 180 + 9 * number, mean,
            Interval(mean - 0.04, mean + 0.04),
        )
        for number, (road, mean) in enumerate(
            zip(list(roads.SHAPES) * 2, [99.1 + 0.03 * place for place in range(12)], strict=True)
        )
    ]  # fmt: skip
    ends = [
        figures.Place("redesign", name, size, time, 99.3, None)
        for name, size, time in (("small", 4_000, 30), ("large", 24_000_000, 4_000))
    ]
    for picture in figures.roads_compared([*crowd, *ends], 99.4).figures:
        labels = labels_of(picture, width)
        named = [one for one in crowd if f">{one.label}<" in picture.svg]
        assert {"small", "large"} < labels.keys() and len(named) >= 8, "a crowd is still named"
        assert all(left >= 0 and right <= width for left, _, right, _ in labels.values())
        for one, other in itertools.combinations(labels.values(), 2):
            assert not lie_on_each_other(one, other)
        marks = re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)"[^>]*>(?=<path d="M)', picture.svg)
        for x, y in marks:
            if float(y) <= roads.HEIGHT:
                x, y = float(x) * width / 100, float(y)
                for name, box in labels.items():
                    assert not lie_on_each_other(box, (x - 4, y - 4, x + 4, y + 4)), name


def test_an_interval_of_a_road_reaches_from_its_lower_to_its_upper_end():
    def reach(low, high):
        places = [
            figures.Place("channels", "a", 1_000, 10, 99.0, Interval(low, high)),
            figures.Place("redesign", "b", 9_000, 90, 99.5, None),
        ]
        picture, _ = figures.roads_compared(places, 99.4).figures
        (ends,) = re.findall(r'd="M-4 (-[\d.]+)h8m-4 0V([\d.]+)m-4 0h8"', picture.svg)
        return tuple(map(float, ends))

    up, down = reach(98.9, 99.1)
    assert reach(98.9, 99.2)[0] < up < 0 < down < reach(98.8, 99.1)[1]


def test_of_what_is_left_of_a_network_hollow_marks_read_at_once_and_filled_ones_trained_on():
    kept = [
        figures.Kept("channels", 8_000, 12, 98.9),
        figures.Kept("channels", 50_000, 73, 99.35),
        figures.Kept("single weights", 50_000, 98.7, 99.7),
        figures.Kept("single weights", 20_000, 60, None),
    ]
    picture = figures.what_is_left("Stage 2", 261_216, 99.26, kept, 99.4)
    found = re.findall(
        r'<svg x="([\d.]+)%" y="([\d.]+)" width="1" height="1" overflow="visible">'
        r'<path d="(\S+ [^"]*)" fill="([^"]*)"',
        picture.svg,
    )
    whole, *marks = [
        (float(x), float(y), path, "hollow" if "default-bg" in fill else "filled")
        for x, y, path, fill in found
        if float(y) <= roads.FOOT
    ]
    assert len(marks) == 2 * len(kept) - 1 and all(whole[0] > mark[0] for mark in marks)
    for one in kept[:-1]:
        path = roads.SHAPES[one.road][1]
        at_once, trained_on = (
            [(x, y) for x, y, shape, fill in marks if shape == path and fill == wanted]
            for wanted in ("hollow", "filled")
        )
        place = sum(other.parameters > one.parameters for other in kept if other.road == one.road)
        assert at_once[place][0] == trained_on[place][0], "as many are left"
        assert at_once[place][1] > trained_on[place][1], "below, for it reads less"
    assert min(y for _, y, _, _ in marks) == roads.TOP, "nothing leaves the picture"
    assert "channels, 8,000 left: 12.00\xa0% at once, 98.90\xa0% trained on" in picture.alt
    assert picture.alt.endswith("single weights, 20,000 left: 60.00\xa0% at once.")
