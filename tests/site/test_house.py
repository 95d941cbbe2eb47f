"""The picture of the house: drawn from the import graph, arrows down only."""

import re
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from site_tools import house

ROOT = Path(__file__).parents[2]


def test_the_picture_shows_every_room_of_the_package_on_a_floor_above_all_that_it_imports():
    floors, arrows = house.floors_of(ROOT), house.arrows_of(ROOT)
    shown = house.picture(floors, arrows)
    rooms = {path.stem for path in (ROOT / "mnist_steps").glob("*.py")}
    rooms |= {path.parent.name for path in (ROOT / "mnist_steps").glob("*/__init__.py")}
    rooms -= {"__init__"}
    heights = {room: float(y) for y, room in re.findall(r'y="([\d.]+)">([a-z_]+)</text>', shown)}
    assert set(heights) == rooms == set(arrows)
    for room, imported in arrows.items():
        assert all(heights[other] > heights[room] for other in imported)
    assert f"{sum(map(len, arrows.values()))} arrows" in shown


def test_the_table_says_what_each_room_is_for_and_what_it_imports():
    floors, arrows = house.floors_of(ROOT), house.arrows_of(ROOT)
    purposes = {room: house.purpose(ROOT / "mnist_steps", room) for room in arrows}
    assert all(purposes.values())
    lines = house.table(floors, arrows, purposes).splitlines()
    assert len(lines) == 2 + len(floors) + len(arrows)
    (line,) = (line for line in lines if line.startswith("| `runs` |"))
    assert "Records" in line and "training" in line and "figures" not in line


def test_an_arrow_is_left_out_where_a_longer_way_leads_to_the_same_room():
    arrows = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": set()}
    assert house.needed(arrows) == [("middle", "ground"), ("top", "middle")]


def test_an_arrow_up_or_a_room_without_a_floor_is_refused():
    floors = [["top"], ["ground"]]
    with pytest.raises(PluginError, match="ground imports top"):
        house.picture(floors, {"top": set(), "ground": {"top"}})
    with pytest.raises(PluginError, match="cellar has no floor"):
        house.picture(floors, {"top": {"cellar"}, "ground": set(), "cellar": set()})


def test_the_house_stays_small_enough_to_be_walked():
    arrows = house.arrows_of(ROOT)
    assert len(arrows) <= 24 and sum(map(len, arrows.values())) <= 95
    assert len(list((ROOT / "mnist_steps").glob("*.py"))) <= 17
    modules = [
        *(ROOT / "mnist_steps").rglob("*.py"),
        *(ROOT / "site_tools").rglob("*.py"),
        *(ROOT / "docs" / "javascripts").rglob("*.js"),
    ]
    long = {
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in modules
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert not long
