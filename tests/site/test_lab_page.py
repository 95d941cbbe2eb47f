"""The Lab's page in a real browser: designing, undoing, sharing, handing in.

The browser and the server are those of tests/helpers/browser.py. It has no workers here, with which
the page would time each design by training it: that is test_lab_training_in_browser.py's concern.
"""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import lab_page
import markdown
import pytest
from browser import barriers

from mnist_steps import receptive_field, stages, summary
from mnist_steps.assignment import checking
from mnist_steps.assignment.rules import Assignment
from mnist_steps.data import INPUT_SHAPE
from site_tools import lab_presets, playground_assets, privacy

ROOT = Path(__file__).parents[2]
FIRST = 11  # the stage that the Lab begins with

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="stylesheets/extra.css">
<style>* {{ box-sizing: border-box }} html {{ font-size: 125% }} body {{ margin: 0.6rem }}
[data-md-color-scheme="default"] {{ --md-default-bg-color: #fff; --md-default-fg-color: #222 }}
body {{ background: var(--md-default-bg-color); color: var(--md-default-fg-color) }}
a {{ color: var(--md-typeset-a-color) }}
</style></head>
<body class="md-typeset" data-md-color-scheme="{scheme}">
<main>{content}</main></body></html>
"""


# --- A site with this one page -------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):  # the browser first: without one, nothing is made
    """The Lab as the site has it, light and dark, with its policy."""
    folder = tmp_path_factory.mktemp("site")
    lab_page.write_page(folder)
    lab_presets.write_data(folder / lab_presets.DATA)
    scripts = folder / lab_presets.SCRIPTS
    packed = playground_assets.pack(scripts / "start.js", folder / lab_presets.DATA, "presets.json")
    (scripts / "folder.js").write_text(packed, encoding="utf-8")
    text = (ROOT / "docs" / lab_presets.PAGE).read_text(encoding="utf-8")
    content = markdown.markdown(text.split("---\n", 2)[2], extensions=["md_in_html"])
    for name, scheme in (("index", "default"), ("dark", "slate")):
        page = privacy.restricted(PAGE.format(content=content, scheme=scheme))
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def visit(visit):
    def open_lab(to="", **options):
        usual = {"wait_for": "#lab-root.is-ready", "before": "delete globalThis.Worker"}
        return visit(to, **usual | options)

    return open_lab


def rows(page):
    """The table as the reader sees it: name, output, parameters, multiplications, field, jump."""
    return page.eval_on_selector_all(
        ".lab-table tbody tr:not(.lab-image)",
        "rows => rows.map(row => [row.querySelector('th').textContent,"
        "...[...row.querySelectorAll('.lab-fact span')].map(one => one.textContent)])",
    )


def said(page):
    return page.locator("#lab-said").inner_text()


def focused(page):
    return page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent")


def fragment(page):
    return page.evaluate("location.hash.slice(1)")


def tab_to(page, label, back=False):
    """As somebody without a mouse gets there."""
    for _ in range(200):
        if focused(page) == label:
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"the keyboard does not reach {label!r}")


# --- Designing ------------------------------------------------------------------------------------


def test_the_lab_begins_with_a_stage_as_the_summary_knows_it(visit):
    page = visit()
    table = summary.summarize(stages.get(FIRST).build(), INPUT_SHAPE, everything=True)
    expected = [
        [row.name, "×".join(map(str, row.output_shape)), f"{row.params:,}", f"{row.size[0]}"]
        for row in table.rows[:-2]
    ]
    assert [[name, shape, count, size] for name, shape, count, _, size, _ in rows(page)] == expected
    assert f"{table.total_params:,} parameters" in page.locator("#lab-budget").inner_text()


def test_a_network_is_designed_by_keyboard_alone(visit):
    page = visit("#lab=1&net=")
    assert "no layers yet" in page.locator(".lab-warnings").inner_text()
    tab_to(page, "Add a layer")
    page.keyboard.press("Enter")
    assert focused(page) == "kind of conv1"
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("12")
    tab_to(page, "add a layer below conv1")
    page.keyboard.press("Enter")  # after a convolution comes a normalization, then a ReLU
    assert focused(page) == "kind of batch_norm1"
    tab_to(page, "add a layer below batch_norm1")
    page.keyboard.press("Enter")
    tab_to(page, "add a layer below relu1")
    page.keyboard.press("Enter")
    assert focused(page) == "kind of conv2"
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("10")
    tab_to(page, "add a layer below conv2")
    page.keyboard.press("Enter")
    assert focused(page) == "kind of batch_norm2"
    page.keyboard.press("g")  # to the global average, as select elements do
    assert focused(page) == "kind of gap"
    assert [row[0] for row in rows(page)] == ["conv1", "batch_norm1", "relu1", "conv2", "gap"]
    assert rows(page)[0][1:] == ["12×26×26", "108", "73,008", "3", "1"]
    assert rows(page)[4] == ["gap", "10×1×1", "0", "0", "28", "24"]
    assert "can be trained" in page.locator(".lab-verdict").inner_text()
    tab_to(page, "move gap up", back=True)
    page.keyboard.press("Enter")
    assert [row[0] for row in rows(page)] == ["conv1", "batch_norm1", "relu1", "gap", "conv2"]
    assert focused(page) == "move gap up" and "place 4 of 5" in said(page)
    assert "kernel spans 3" in page.locator(".lab-warnings").inner_text()
    tab_to(page, "remove conv2")
    page.keyboard.press("Enter")
    assert focused(page) == "remove gap" and "Removed" in said(page)


def test_each_edit_is_undone_by_the_back_button(visit):
    page = visit()
    before = [rows(page), fragment(page)]
    channels = page.get_by_label("channels of conv2")
    channels.fill("")
    channels.press_sequentially("18")
    assert rows(page)[3][1] == "18×7×7"
    page.get_by_role("button", name="remove relu2").click()
    after = [rows(page), fragment(page)]
    page.go_back()
    assert channels.input_value() == "18" and len(rows(page)) == len(before[0])
    page.go_back()  # the two digits were one edit
    assert [rows(page), fragment(page)] == before
    page.go_forward()
    page.go_forward()
    assert [rows(page), fragment(page)] == after
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    undo.click()
    assert rows(page) == before[0] and undo.is_disabled()
    # So is a number of the recipe, and a way through several kinds.
    rotation = page.get_by_label("rotation")
    rotation.fill("")
    rotation.press_sequentially("12.5")
    page.get_by_label("kind of relu2").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert focused(page) == "kind of gap"
    undo.click()
    assert rows(page) == before[0] and rotation.input_value() == "12.5"
    undo.click()
    assert rotation.input_value() == "7" and undo.is_disabled()
    page.reload()
    page.wait_for_selector("#lab-root.is-ready")
    assert rows(page) == before[0]


def test_a_link_is_the_whole_design(visit):
    page = visit("#preset=9")
    page.get_by_label("kernel of conv1").fill("5")
    page.get_by_label("rotation").fill("12.5")
    other = visit(f"#{fragment(page)}")
    assert rows(other) == rows(page)
    assert other.get_by_label("rotation").input_value() == "12.5"
    cut = fragment(page).removesuffix("&viewed=3")  # a design of its own, were there no checksum
    assert cut != fragment(page)
    other = visit(f"#{cut}")
    problem = other.locator("#lab-problem").inner_text()
    assert "cut or changed on its way" in problem and "\n" not in problem
    assert other.locator(".lab button[aria-pressed=true]").inner_text() == f"{FIRST}"
    assert fragment(other) == cut, "what came is still there"


@pytest.mark.parametrize("number", [3, 6, 9])
def test_a_stage_has_a_short_address_and_its_button_shows_it(visit, number):
    page = visit(f"#preset={number}")
    analysis = receptive_field.analyze(stages.get(number).build(), (1, 28, 28))
    expected = [[layer.name, f"{layer.size[0]}"] for layer in list(analysis)[:-2]]
    assert [[row[0], row[4]] for row in rows(page)] == expected
    pressed = page.locator(".lab button[aria-pressed=true]")
    assert pressed.inner_text() == f"{number}"
    page.get_by_role("button", name="Stage 11").click()
    assert fragment(page) == "preset=11" and pressed.inner_text() == "11"


def test_a_mistake_is_explained_at_its_row_and_nothing_after_it_counts(visit):
    page = visit("#preset=8")
    kernel = page.get_by_label("kernel of conv3")
    kernel.fill("25")
    note = page.locator(".lab-table .lab-note:visible.is-fatal")
    assert note.inner_text() == "kernel: the kernel spans 25, but its input only 24"
    assert kernel.get_attribute("aria-invalid") == "true"
    assert rows(page)[6][1:] == ["–"] * 5 and rows(page)[5][1:] != ["–"] * 5
    assert "cannot be trained" in page.locator(".lab-verdict").inner_text()
    assert page.get_by_role("button", name="Submission").is_disabled()
    for text in ("", "0", "2.5", "99"):
        kernel.fill(text)
        assert note.inner_text() == "kernel: a whole number from 1 to 28"
        unknown = "–{}, unknown until conv3 is right"
        assert page.locator("#lab-budget").inner_text() == unknown.format(" parameters")
        assert page.locator("#lab-field").inner_text().endswith(unknown.format(""))
    assert "net=c10k3.n.r.c10k3.n.r.c10k25" in fragment(page), "the last that was a design"
    kernel.fill("3")
    assert note.count() == 0
    assert "can be trained" in page.locator(".lab-verdict").inner_text()


def test_what_works_and_is_hardly_meant_gets_a_hint(visit):
    page = visit("#lab=1&net=c10k2s3.n.r.c10k3b.n.c10k3.g")
    notes = page.locator(".lab-table .lab-note:visible").all_inner_texts()
    assert any("skips pixels" in note for note in notes)
    assert any("takes a bias away" in note for note in notes)
    assert any("no nonlinearity between conv2 and conv3" in note for note in notes)
    assert "can be trained" in page.locator(".lab-verdict").inner_text()


# --- Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stranger, words",
    [
        ("#lab=2&net=c10k3", "later Lab"),
        ("#lab=1&net=c10k3.x9", "layer 2 is “x9”"),
        ("#lab=1&net=%3Cimg%20src=x%20onerror=alert(1)%3E", "which is none"),
        ("#preset=1", "only 3, 4"),
    ],
)
def test_an_address_that_is_no_design_gives_one_line_and_the_first_design(visit, stranger, words):
    page = visit(stranger)
    problem = page.locator("#lab-problem")
    assert words in problem.inner_text() and "\n" not in problem.inner_text()
    assert len(rows(page)) == len(list(stages.get(FIRST).build())) - 2
    page.get_by_role("button", name="remove relu1").click()
    assert problem.is_hidden()
    page.go_back()
    assert words in problem.inner_text(), "nothing is lost: the address is still there"


def test_a_place_on_the_page_is_no_design_and_loses_none(visit):
    page = visit("#preset=9")
    page.get_by_role("button", name="remove relu5").click()
    before = [rows(page), fragment(page)]
    page.evaluate("location.hash = 'lab-train'")
    page.wait_for_function("location.hash.startsWith('#lab=')")
    assert [rows(page), fragment(page)] == before
    assert page.get_by_role("button", name="Undo").is_enabled()


# --- Recipe --------------------------------------------------------------------------------------


def test_the_recipe_shows_what_counts_and_moves_the_examples(visit):
    page = visit("#preset=4")
    peak, momentum = page.locator("#lab-peak"), page.locator("#lab-momentum")
    assert peak.is_hidden() and momentum.is_visible()
    page.locator("#lab-schedule").select_option("one-cycle")
    assert peak.is_visible() and momentum.is_hidden()
    peak.fill("0.3")
    curve = page.locator(".lab-rate svg")
    assert "rises from 0.012 to 0.3" in curve.get_attribute("aria-label")
    first = "document.querySelector('.lab-digits canvas').toDataURL()"
    before = page.evaluate(first)
    page.get_by_label("rotation").fill("45")
    assert page.evaluate(first) != before
    page.get_by_label("batch size").fill("50")
    note = page.locator("#lab-recipe-note")
    assert note.inner_text() == "batch size: a multiple of 16 from 16 to 512"
    assert "cannot be trained" in page.locator(".lab-verdict").inner_text()
    assert "schedule=one-cycle&peak=0.3&rotate=45" in fragment(page)


# --- In class ------------------------------------------------------------------------------------


def test_a_link_with_a_task_is_made_shown_and_kept(visit):
    page = visit("#preset=3")
    page.get_by_text("For a class").click()
    page.get_by_label("fewer parameters than").fill("5000")
    page.get_by_label("accuracy in percent").fill("99.1")
    page.get_by_role("button", name="Make the link").click()
    link = page.get_by_label("Give this out").input_value()
    student = visit(link.partition("/#")[2].join(["#", ""]))
    task = student.locator("#lab-task")
    assert "fewer than 5,000 parameters, 99.1 %" in task.inner_text()
    start = rows(student)
    assert start == rows(page)
    assert "fewer than 5,000 are asked for" in student.locator("#lab-budget").inner_text()
    student.get_by_role("button", name="Stage 11").click()
    student.get_by_role("button", name="remove conv4").click()
    assert "budget=5000&target=99.1&start=" in fragment(student)
    student.get_by_role("button", name="Back to the start").click()
    assert rows(student) == start and "5,000" in task.inner_text()


# --- Taking it along -----------------------------------------------------------------------------


def test_the_submission_says_what_the_page_says(visit, tmp_path, trace_without_jail):
    page = visit("#preset=10")
    page.get_by_label("channels of conv2").fill("9")
    page.evaluate("(runs) => localStorage['mnist-steps-lab-runs'] = runs", two_runs(fragment(page)))
    page.reload()
    page.wait_for_selector("#lab-root.is-ready")
    page.get_by_role("button", name="Submission").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "submission.zip"
    place = tmp_path / "submission.zip"
    shutil.copy(download.value.path(), place)
    checked = checking.check(place, Assignment(), unsafe=True)
    assert all("is not written yet" in finding.what for finding in checked.findings)
    assert checked.network is not None
    total = page.locator("#lab-budget strong").inner_text()
    assert f"{checked.network.parameters:,}" == total
    fields = {name: f"{layer.size[0]}" for name, layer in checked.network.layers.items()}
    assert all(fields[row[0]] == row[4] for row in rows(page))
    assert page.get_by_role("button", name="Weights").is_disabled()
    # Its recipe judges by nine views, so these come first; so does what the test set said.
    with zipfile.ZipFile(place) as opened:
        report = opened.read("REPORT.md").decode()
    assert "The recipe judges by the mean of nine shifted views." in report
    assert (
        "- seed 0: 99.00 ± 0.14 % by nine, 98.00 ± 0.20 % by one view of the validation images; "
        "99.20 ± 0.09 % by nine, 99.10 ± 0.09 % by one view of the test images\n"
        "- seed 1: 99.00 ± 0.14 % by nine, 98.00 ± 0.20 % by one view of the validation images; "
        "the test images were not looked at\n"
    ) in report


def two_runs(address):
    """What the browser keeps of two runs, one with the test set opened."""

    def judged(right, images):
        return {"right": right, "images": images, "loss": 0.1}

    design = re.sub("sum=[^&]*&", "", address)
    epoch = {"trained": judged(54_000, 54_992), "oneView": judged(4900, 5000),
             "nineViews": judged(4950, 5000)}  # fmt: skip
    test = {"oneView": judged(9910, 10_000), "nineViews": judged(9920, 10_000)}
    run = {"design": design, "parameters": 6000, "epochs": [epoch] * 15, "finished": True}
    runs = [run | {"seed": 0, "test": test}, run | {"seed": 1, "test": None}]
    return json.dumps({"format": 1, "runs": runs})


# --- Everywhere ----------------------------------------------------------------------------------


def test_designing_works_from_a_folder(visit, site):
    page = visit((site / "index.html").as_uri() + "#preset=8")
    page.get_by_label("channels of conv1").fill("4")
    assert rows(page)[0][1] == "4×26×26" and "&net=c4k3.n.r" in fragment(page)


def test_without_javascript_a_sentence_says_so(visit):
    page = visit(wait_for=None, java_script_enabled=False)
    assert "needs JavaScript" in page.locator("noscript").inner_text()
    assert page.locator("#lab-root").is_hidden()


@pytest.mark.parametrize("theme", ["index", "dark"])
def test_it_fits_and_is_accessible_in_both_themes(visit, theme):
    page = visit(f"{theme}.html#preset=6")
    page.get_by_label("channels of point1").fill("0")
    page.get_by_label("channels of point1").fill("12")
    page.get_by_label("kernel of conv7").fill("9")
    page.get_by_text("For a class").click()
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        if os.environ.get("MNIST_STEPS_SCREENSHOTS"):
            kept = Path(os.environ["MNIST_STEPS_SCREENSHOTS"]) / f"lab-{theme}-{width}.png"
            page.screenshot(path=kept, full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert barriers(page, "#lab-root", dark=theme == "dark") == [], f"at {width} pixels"
