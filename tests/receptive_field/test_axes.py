"""One axis by itself: which units a unit looks at, and what runs of positions become."""

import numpy as np
import pytest

from mnist_steps.receptive_field import axes
from mnist_steps.receptive_field.axes import FAR, Hull, Reach


def looked_at(found, valid):
    assert found.dtype == np.int64 and valid.dtype == bool, "numbers and signs to index with"
    return [sorted({*row[counts].tolist()}) for row, counts in zip(found, valid, strict=True)]


@pytest.mark.parametrize(
    ("axis_map", "units", "expected"),
    [
        (axes.Window(3), [0, 2], [[0, 1, 2], [2, 3, 4]]),
        (axes.Window(3, 2, 1, 2), [0, 1, -1], [[-1, 1, 3], [1, 3, 5], [-3, -1, 1]]),
        (axes.TransposedWindow(3, 2, 1, 1), [0, 1, 2], [[0], [0, 1], [1]]),
        (axes.TransposedWindow(3, 3, 0, 2), [4, 6, 7, 10], [[0], [2], [1], [2]]),
        (axes.Adaptive(7, 3), [0, 1, 2], [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
        (axes.Adaptive(7, 4), [0, 1, 2, 3], [[0, 1], [1, 2, 3], [3, 4, 5], [5, 6]]),
        (axes.Everything(3), [0, 9], [[0, 1, 2]] * 2),
        (axes.Broadcast(), [0, 9], [[0]] * 2),
        (axes.Repeat(3), [0, 2, 3, 7], [[0], [0], [1], [2]]),
        (axes.Piece(2, 5), [1, 2, 4, 5], [[], [0], [2], []]),
        (axes.Border(2, 1, 5, "reflect"), [0, 3], [[-2], [1]]),
        (axes.Resize(4, 8, "nearest", 2, None, None), [0, 1, 2, 5], [[0], [0], [1], [2]]),
        (axes.Resize(9, 3, "nearest", 2, None, None), [0, 1, 2], [[0], [3], [6]]),
        (axes.Resize(9, 3, "nearest-exact", 2, None, None), [0, 1, 2], [[1], [4], [7]]),
        (axes.Resize(4, 8, "bilinear", 2, False, None), [0, 1, 2], [[-1, 0], [0, 1], [0, 1]]),
        (axes.Resize(4, 8, "bilinear", 2, False, 4.0), [0, 2], [[-1, 0], [0, 1]]),
        (axes.Resize(4, 7, "bilinear", 2, True, None), [0, 1, 2], [[0], [0, 1], [1]]),
        (axes.Resize(4, 1, "bilinear", 2, True, None), [0, 1], [[0], [3]]),
    ],
)
def test_a_unit_looks_at_these_units_where_there_are_no_borders(axis_map, units, expected):
    assert looked_at(*axis_map.sources(np.array(units))) == expected


@pytest.mark.parametrize(
    ("axis_map", "expected"),
    [
        (axes.Border(2, 1, 5, "reflect"), [[2], [1], [0], [1], [2], [3], [4], [3]]),
        (axes.Border(1, 2, 3, "circular"), [[2], [0], [1], [2], [0], [1]]),
        (axes.Border(1, 1, 2, "replicate"), [[0], [0], [1], [1]]),
        (axes.Resize(2, 4, "bilinear", 2, False, None), [[0], [0, 1], [0, 1], [1]]),
        (axes.Resize(3, 2, "nearest", 1, None, None), [[0], [1]]),
        (axes.Window(2), [[0, 1], [1, 2]]),
    ],
)
def test_a_unit_looks_at_these_units_at_real_borders(axis_map, expected):
    assert looked_at(*axis_map.real_sources(np.arange(len(expected)))) == expected


def runs(reach):
    """Of each unit, its runs that are not empty."""
    return [
        [(int(start), int(stop)) for start, stop in zip(*pair, strict=True) if start < FAR]
        for pair in zip(reach.starts, reach.stops, strict=True)
    ]


def reach(*units):
    longest = max(map(len, units))
    padded = [[*unit, *[(FAR, FAR)] * (longest - len(unit))] for unit in units]
    starts, stops = np.moveaxis(np.array(padded, dtype=np.int64), 2, 0)
    return Reach.of(starts, stops)


def test_runs_that_overlap_or_touch_become_one_and_others_stay_apart():
    made = reach([(5, 7), (0, 2), (3, 5)], [(0, 9), (2, 3), (10, 11)], [], [(4, 5)])
    assert runs(made) == [[(0, 2), (3, 7)], [(0, 9), (10, 11)], [], [(4, 5)]]
    assert made.starts.shape == made.stops.shape == (4, 2), "no column for nothing"
    assert len(made) == 4
    assert (made.starts[2] == FAR).all() and (made.stops[2] == FAR).all()


def test_a_reach_sees_the_positions_of_its_runs_and_covers_what_lies_in_them():
    made = reach([(0, 2), (4, 5)], [(1, 3)])
    seen = made.sees(np.arange(6))
    assert seen.astype(int).tolist() == [[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 0]]
    inside = reach([(1, 2)], [(1, 3)])
    assert made.covers(inside) and made.covers(made) and not inside.covers(made)
    assert not made.covers(reach([(0, 2), (4, 6)], [(1, 3)]))
    assert not made.covers(reach([(0, 5)], [(1, 3)])), "the hole is not covered"
    assert runs(inside.united(reach([(3, 4)], [(3, 4)]))) == [[(1, 2), (3, 4)], [(1, 4)]]


def test_padding_adds_nothing_to_what_is_seen():
    image = reach(*([(place, place + 1)] for place in range(4)))
    assert runs(image.through(axes.Window(3, 2, 1), 3)) == [[(0, 2)], [(1, 4)], [(3, 4)]]
    assert runs(image.through(axes.Window(2, 1, 0, 2), 2)) == [[(0, 1), (2, 3)], [(1, 2), (3, 4)]]
    assert runs(image.through(axes.Piece(1, 5), 6)) == [[], *[[(i, i + 1)] for i in range(4)], []]


def test_a_hull_reaches_beyond_the_borders_and_over_all_that_it_looks_at():
    image = Hull([])
    padded = Hull([(image, axes.Window(3, 2, 1))])
    both = Hull([(padded, axes.Window(3, 1, 1)), (image, axes.Window(1))])
    sparse = Hull([(image, axes.TransposedWindow(1, 2, 0, 1))])
    both.ask(0, 3), sparse.ask(0, 2)
    Hull.compute([image, padded, both, sparse])
    assert both.starts.tolist() == [-3, -1, 1, 3] and both.stops.tolist() == [4, 6, 8, 10]
    assert (padded.first, padded.last) == (-1, 4)
    assert padded.starts.tolist() == [-3, -1, 1, 3, 5, 7]
    assert sparse.starts.tolist() == [0, FAR, 1] and sparse.stops.tolist() == [1, -FAR, 2]
