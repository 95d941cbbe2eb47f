"""The receptive-field explorer: its calculator equals the Python one, and its page works.

The guide's first cell and the explorer's cell are built as a site of their own, with the real
hooks and theme. The browser tests need Chromium and playwright, one test needs node; without them
they are skipped, and under CI they fail.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from browser import barriers, missing, visits
from make_receptive_field_cases import FILE, expected, refusal

from mnist_steps import data, receptive_field, stages
from site_tools import packing

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "receptive_field.py"
CASES = json.loads(FILE.read_text(encoding="utf-8"))

# What pages with moving figures need of the theme and the hooks is seen here too.
FIGURE = "from mnist_steps import figures\n\nfigures.affine_map()"

CONFIGURATION = f"""\
INHERIT: {(ROOT / "mkdocs.yml").as_posix()}
extra: {{executed_pages_use: [], executed_pages_import: []}}
nav: [index.md, guides/receptive_field.py]
theme: {{custom_dir: "{(ROOT / "site_tools" / "overrides").as_posix()}"}}
hooks: ["{(ROOT / "site_tools/hooks.py").as_posix()}",
        "{(ROOT / "site_tools" / "folder_scripts.py").as_posix()}"]
watch: []
"""


# --- The same numbers as the Python calculator --------------------------------------------------


def test_the_cases_say_what_the_calculator_says_today():
    for case in CASES:
        assert case["layers"] == expected(case), (
            "the calculator gives something else than tests/helpers/receptive_field_cases.json; "
            "if that is meant, run tests/helpers/make_receptive_field_cases.py"
        )
        refused = refusal(case["input_shape"], case["steps"])
        assert refused.get("refused_at") == case.get("refused_at")


def test_the_cases_cover_what_the_explorer_offers():
    steps = [step for case in CASES for step in case["steps"][: len(case["layers"])]]
    assert {step["kind"] for step in steps} == {"Conv2d", "MaxPool2d", "AvgPool2d"}
    for part in ("stride", "padding", "dilation"):
        assert len({tuple(step["window"].get(part, ())) for step in steps}) > 5
    assert any(case.get("refused_at") for case in CASES)
    units = [unit for case in CASES for layer in case["layers"] for unit in layer["units"]]
    boxes = [(bottom - top) * (right - left) for top, left, bottom, right in
             (unit["box"] for unit in units)]  # fmt: skip
    assert any(0 < unit["pixels"] < box for unit, box in zip(units, boxes, strict=True)), "holes"


def test_node_finds_the_same_fields():
    node = shutil.which("node")
    if not node:
        missing("no node to run the explorer's calculator with")
    done = subprocess.run(
        [node, "--test", str(FILE.with_name("receptive_field.test.mjs"))],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout


def test_the_digit_is_the_first_of_the_test_set():
    text = (ROOT / "docs/javascripts/explorer/digit.js").read_text(encoding="utf-8")
    lines = [line.strip().strip('",') for line in text.splitlines() if line.startswith('  "')]
    found = [[0 if sign == "." else int(sign, 16) for sign in line] for line in lines]
    assert found == (data.mnist().test.images[0, 0] // 16).tolist()


def test_packing_follows_modules_into_other_folders():
    packed = packing.pack(ROOT / "docs/javascripts/explorer/explorer.js")
    assert "\nimport " not in packed and "\nexport " not in packed
    shared = 'explorerModules["../playground/field.js"]'
    assert packed.index(f"{shared} =") < packed.index(f"= {shared};")
    assert packed.count('explorerModules["../playground/layers.js"] =') == 1


# --- A site with the guide's explorer --------------------------------------


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):  # the browser first: without one, nothing is built
    folder = tmp_path_factory.mktemp("explorer")
    for name in ("assets", "javascripts", "stylesheets"):
        shutil.copytree(ROOT / "docs" / name, folder / "docs" / name)
    guide = jupytext.read(GUIDE)
    shown = [cell for cell in guide.cells if "rf-explorer" in cell.source]
    assert len(shown) == 1
    figure = nbformat.v4.new_code_cell(FIGURE)
    guide.cells = [guide.cells[0], *shown, figure]
    (folder / "docs" / "guides").mkdir()
    jupytext.write(guide, folder / "docs" / "guides" / GUIDE.name, fmt="py:percent")
    (folder / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    (folder / "mkdocs.yml").write_text(CONFIGURATION, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def visit(visit):
    """Open the guide and wait until the explorer is there."""

    def open_guide(to="guides/receptive_field/", **options):
        return visit(to, **{"wait_for": ".explorer.is-ready"} | options)

    return open_guide


@pytest.fixture(scope="module")
def guide(browser, address):
    """The page for tests that begin with a preset, or none of its layers."""
    with visits(browser, address) as open_page:
        yield open_page("guides/receptive_field/", wait_for=".explorer.is-ready")


def facts(page):
    """The table as the reader sees it: output, size, jump and start of each layer."""
    return page.eval_on_selector_all(
        ".ex-table tbody tr:not(.ex-input)",
        "rows => rows.map(row => [...row.querySelectorAll('.ex-fact span')]"
        ".map(one => one.textContent.replace('−', '-')))",
    )


def seen(page):
    return page.locator("#ex-seen").inner_text()


# --- The page -----------------------------------------------------------------------------------


def test_the_browser_finds_the_same_fields(guide):
    found = guide.evaluate(
        """async (cases) => {
          const { analyze, seenBy } = await import("/javascripts/explorer/network.js");
          return cases.map(({ input_shape, steps, layers: known }) => {
            const { layers, measures } = analyze(steps, input_shape);
            return layers.map((layer, i) => ({
              output_shape: layer.output_shape,
              ...measures[i],
              units: known[i].units.map(({ unit }) => {
                const path = layers.slice(0, i + 1);
                const { box, pixels } = seenBy(path, input_shape, unit[0], unit[1]);
                return { unit, box, pixels };
              }),
            }));
          });
        }""",
        CASES,
    )
    assert found == [case["layers"] for case in CASES]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_a_preset_shows_the_stages_fields(guide, number):
    page = guide
    page.get_by_role("button", name=f"stage {number}", exact=True).click()
    analysis = receptive_field.analyze(stages.get(number).build(), (1, 28, 28))
    layers = [one for one in analysis if one.has_map and one.kind.endswith(("Conv2d", "Pool2d"))]
    expected = [
        [f"{one.output_shape[1]}×{one.output_shape[2]}", str(one.size[0]), str(one.start[0])]
        for one in layers
    ]
    assert [[output, size, start] for output, size, _, start in facts(page)] == expected
    for (_, _, jump, _), layer in zip(facts(page), layers, strict=True):
        # Adaptive pooling has no jump to speak of: its windows depend on its input's size.
        known = None if layer.jump[0] is None or "Adaptive" in layer.kind else str(layer.jump[0])
        assert known in (None, jump) or layer.output_shape[1] == 1


def test_editing_changes_every_layer_that_follows(guide):
    page = guide
    page.get_by_role("button", name="stage 3", exact=True).click()
    before = facts(page)
    page.get_by_label("stride of layer 2").fill("2")
    after = facts(page)
    assert after[0] == before[0] and after[1][1] == before[1][1] and after[1][2] == "2"
    assert int(after[2][1]) == int(before[2][1]) + 2


def test_layers_come_and_go_and_the_focus_stays_in_place(guide):
    page = guide
    page.get_by_role("button", name="stage 8", exact=True).click()
    count = len(facts(page))
    page.get_by_role("button", name="remove layer 2", exact=True).click()
    assert len(facts(page)) == count - 1
    assert page.evaluate("document.activeElement.ariaLabel") == "remove layer 2"
    for _ in range(count - 1):
        page.get_by_role("button", name="remove layer 1", exact=True).click()
    assert facts(page) == []
    assert "Add a layer" in seen(page)
    page.keyboard.press("Enter")  # the focus went to the button that adds
    assert facts(page) == [["26×26", "3", "1", "0"]]
    assert page.evaluate("document.activeElement.ariaLabel") == "kernel of layer 1"


def test_a_picked_unit_shows_its_pixels(guide):
    page = guide
    for _ in facts(page):
        page.get_by_role("button", name="remove layer 1", exact=True).click()
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_label("dilation of layer 1").fill("3")
    page.locator(".ex-units rect").nth(22 * 5 + 7).click()
    assert "9 pixels of 49" in seen(page) and "rows 5 to 11, columns 7 to 13" in seen(page)
    lit = page.eval_on_selector_all(
        ".ex-image rect:not(.ex-frame)",
        "all => all.flatMap((one, i) => one.classList.contains('is-seen') ? [i] : [])",
    )
    assert lit == [28 * row + column for row in (5, 8, 11) for column in (7, 10, 13)]


def test_everything_can_be_done_with_the_keyboard(guide):
    page = guide
    page.get_by_role("button", name="stage 1", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(".ex-units").focus()
    for _ in range(8):
        page.keyboard.press("PageUp")
    assert "of layer 1 sees 9 pixels" in seen(page)
    page.keyboard.press("Home")
    assert "Unit (0, 0) of layer 1 sees 4 pixels" in seen(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "Unit (2, 1) of layer 1" in seen(page)
    page.keyboard.press("PageDown")
    assert "of layer 2" in seen(page)
    page.get_by_label("show units of layer 2").focus()
    page.keyboard.press("ArrowDown")
    assert "of layer 3" in seen(page)


def test_wrong_input_is_explained_beside_the_field(guide):
    page = guide
    page.get_by_role("button", name="stage 3", exact=True).click()
    problem = page.locator(".ex-problem:visible")
    field = page.get_by_label("kernel of layer 6")
    field.fill("11")
    assert problem.inner_text() == "kernel: the kernel spans 11, but its input only 10"
    assert field.get_attribute("aria-invalid") == "true"
    assert facts(page)[4][1] == "10" and facts(page)[5] == ["–"] * 4
    for text in ("", "0", "2.5", "99"):
        field.fill(text)
        assert problem.inner_text() == "kernel: a whole number from 1 to 28"
    field.fill("3")
    assert problem.count() == 0 and field.get_attribute("aria-invalid") is None
    page.get_by_label("padding of layer 5").fill("2")
    assert problem.inner_text() == "padding: a pooling of 2 takes a padding of 1 at most"


def test_it_opens_on_a_layer_whose_units_see_a_part_of_the_image(visit):
    page = visit()
    chosen = page.locator(".ex-table tr.is-chosen")
    assert chosen.locator(".ex-fact").nth(0).inner_text().strip() == "8×8"
    assert re.search(r"sees 196 pixels: rows \d+ to", seen(page))
    page.get_by_role("button", name="stage 1", exact=True).click()
    assert chosen.locator(".ex-fact").nth(0).inner_text().strip() == "14×14"


@pytest.mark.parametrize("where", ["server", "folder"])
def test_explorer_and_moving_figure_work_on_a_server_and_from_a_folder(visit, guide, site, where):
    page = guide
    if where == "folder":
        page = visit((site / "guides" / "receptive_field" / "index.html").as_uri())
    page.get_by_role("button", name="stage 1", exact=True).click()
    assert facts(page)[-1][:2] == ["1×1", "40"]
    page.wait_for_selector("[data-moving=affine].is-ready")
    page.get_by_role("slider", name="Turn").press("Home")
    assert "turned by −180°" in page.locator("[data-moving=affine] .mv-words").inner_text()
    gap = page.locator(".moving").evaluate("one => getComputedStyle(one).paddingTop")
    assert gap != "0px", "the style sheet is there"
    assert page.locator("[data-moving=affine] a[download$='.svg']").is_visible()


def test_without_javascript_a_sentence_says_so(visit):
    page = visit(wait_for=None, java_script_enabled=False)
    assert "it needs JavaScript" in page.locator("#rf-explorer").inner_text()


def test_it_fits_and_is_accessible_in_both_themes(visit):
    page = visit()
    page.get_by_label("kernel of layer 3").fill("40")
    page.locator("#rf-explorer details summary").click()
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
        assert page.evaluate("document.querySelector('.ex-table').scrollWidth") <= width
        for theme, scheme in (("light", "default"), ("dark", "slate")):
            page.emulate_media(color_scheme=theme)
            page.wait_for_selector(f"body[data-md-color-scheme={scheme}]")
            assert barriers(page, "#rf-explorer", dark=theme == "dark") == [], f"at {width} pixels"
