"""Moving figures in a real browser: PyTorch's numbers, the keyboard, and no script at all.

The browser and the server are those of tests/helpers/browser.py. All figures stand on one page.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import material
import pytest
import torch
import torch.nn.functional as F
from browser import barriers, missing, visits
from torch.optim.lr_scheduler import OneCycleLR

from mnist_steps import augment, data, figures, runs, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.figures import moving, steps
from mnist_steps.figures.containers import Moving
from site_tools import folder_scripts, packing

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docs/javascripts/figures"

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Figures</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="theme.css">
<link rel="stylesheet" href="stylesheets/extra.css">
<link rel="stylesheet" href="stylesheets/figures.css"></head>
<body dir="ltr" data-md-color-scheme="{scheme}" style="{style}">
<main class="md-typeset" style="margin: auto; max-width: 37.4rem; padding: 0 0.8rem">
<h1>Figures</h1>{content}</main>
<script src="javascripts/figures/start.js" defer></script></body></html>
"""
LIGHT = "background: #fff; --md-default-bg-color: #fff; --md-default-fg-color: #222"
DARK = "background: var(--md-default-bg-color); color: var(--md-default-fg-color)"


@pytest.fixture(scope="module")
def made():
    """Every moving figure, by the name of its module."""
    return {
        one.module: one
        for one in (
            figures.sliding_kernel(runs.load(8)),
            figures.affine_map(),
            figures.normalization(steps=(0, 1, 3)),
            figures.forgetting(runs.load(4), runs.load(5)),
            figures.mixing(runs.load(6)),
            figures.schedule(stages.get(8)),
        )
    }


@pytest.fixture(scope="module")
def site(browser, made, tmp_path_factory):  # the browser first: without one, nothing is computed
    folder = tmp_path_factory.mktemp("figures")
    for name in ("javascripts", "stylesheets"):
        shutil.copytree(ROOT / "docs" / name, folder / name)
    # The theme has rules for lists and tables, which ours have to overcome.
    (theme,) = Path(material.__file__).parent.glob("templates/assets/stylesheets/main.*.min.css")
    shutil.copy(theme, folder / "theme.css")
    for figure in folder_scripts.figures(ROOT / "docs"):
        packed = folder / folder_scripts.FIGURES / f"{figure.stem}.folder.js"
        packed.write_text(packing.pack(figure), encoding="utf-8")
    content = "".join(one._repr_html_() for one in made.values())
    for name, scheme, style in (("index", "default", LIGHT), ("dark", "slate", DARK)):
        text = PAGE.format(scheme=scheme, style=style, content=content)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


ALL_READY = "(count) => document.querySelectorAll('.moving.is-ready').length === count"


@pytest.fixture
def visit(visit, made):
    """Open the page and wait until every figure moves."""

    def open_page(to="", **options):
        page = visit(to, **options)
        if options.get("java_script_enabled", True):
            page.wait_for_function(ALL_READY, arg=len(made))
        return page

    return open_page


@pytest.fixture(scope="module")
def shared(browser, address, made):
    """A page for the tests that move a figure to a place of their own."""
    with visits(browser, address) as open_page:
        page = open_page()
        page.wait_for_function(ALL_READY, arg=len(made))
        yield page


def figure(page, module):
    return page.locator(f"[data-moving={module}]")


def words(page, module):
    return figure(page, module).locator(".mv-words").inner_text().replace("−", "-")


def number(text):
    return float(text.replace("−", "-"))


def slider(page, module, label):
    return figure(page, module).get_by_role("slider", name=label)


def slide(page, module, label, to):
    """Move a slider as a reader's keyboard does, which also tells whoever listens to it."""
    field = slider(page, module, label)
    field.evaluate(
        "(input, to) => { input.value = to;"
        " input.dispatchEvent(new Event('input', { bubbles: true })); }",
        str(to),
    )


def modules_call(page, module, expression, *arguments):
    """What an expression with a module's exports in `it` gives in the browser."""
    return page.evaluate(
        f"async (given) => {{ const it = await import('/javascripts/figures/{module}.js');"
        f" return ({expression})(...given); }}",
        list(arguments),
    )


# --- The same numbers as PyTorch's ---------------------------------------------------------------


def test_every_module_that_a_figure_names_is_there_and_is_packed_for_folders(made):
    assert {path.stem for path in folder_scripts.figures(ROOT / "docs")} == set(made)


@pytest.mark.parametrize(("map_", "row", "column"), [(0, 0, 0), (3, 8, 14), (9, 25, 25)])
def test_the_sum_under_the_kernel_is_the_units_value(shared, made, map_, row, column):
    page = shared
    figure(page, "kernel").get_by_label("Kernel").select_option(str(map_))
    slide(page, "kernel", "Place", row * 26 + column)
    network = runs.load(8).build()
    image = made["kernel"].data["pixels"]
    values = stages.get(8).recipe.normalize_test(torch.tensor(image).view(1, 1, 28, 28) / 255)
    with torch.no_grad():
        expected = network.conv1(values)[0, map_, row, column].item()
    shown = number(figure(page, "kernel").locator(".mv-sum").inner_text())
    assert shown == pytest.approx(expected, abs=0.006)
    products = re.search(r"the products are ([^;]*);", words(page, "kernel"))[1]
    assert sum(map(float, products.split(", "))) == pytest.approx(shown, abs=0.05)


MOVEMENTS = [(0, 1, 0, 0), (20, 1.2, 0, 0), (-130, 0.6, 3, -7), (45, 2, -10, 4)]


@pytest.mark.parametrize(("degrees", "scale", "right", "down"), MOVEMENTS)
def test_the_affine_map_is_batch_affine(shared, made, degrees, scale, right, down):
    movement = {"degrees": degrees, "scale": scale, "right": right, "down": down}
    ink = [pixel / 255 for pixel in made["affine"].data["pixels"]]
    matrix, found = modules_call(
        shared, "resample",
        "(ink, movement) => { const matrix = it.matrixOf(movement);"
        " return [matrix, Array.from(it.resample(ink, matrix))]; }",
        ink, movement,
    )  # fmt: skip
    assert torch.allclose(torch.tensor(matrix), moving.affine_matrix(**movement), atol=1e-6)
    expected = augment.batch_affine(
        torch.tensor(ink).view(1, 1, 28, 28), torch.tensor(matrix)[None]
    )
    assert torch.allclose(torch.tensor(found), expected.flatten(), atol=1e-5)


def test_the_figures_movement_is_that_of_random_affine():
    """Its turn is clockwise and its scale enlarges, as in the recipes."""
    drawn = augment.RandomAffine((20, 20), scale=(1.2, 1.2))
    matrices = drawn.matrices(lambda *shape: torch.zeros(1, *shape))
    assert torch.allclose(matrices[0], moving.affine_matrix(20, 1.2, 0, 0), atol=1e-6)
    shift = augment.RandomTranslation(share=0.1).matrices(lambda *shape: torch.ones(1, *shape))
    pixels = round(0.1 * 28)
    assert torch.allclose(shift[0], moving.affine_matrix(0, 1, pixels, pixels), atol=1e-6)


CYCLES = [(0.01, 0.3, 14_070), (0.3, 0.3, 1407), (0.02, 0.05, 1000), (0.005, 0.95, 333)]


@pytest.mark.parametrize(("peak", "share", "total"), CYCLES)
def test_the_schedule_is_torchs(made, peak, share, total):
    node = shutil.which("node")
    if not node:
        missing("no node to compute the schedule with")
    given = dict(made["schedule"].data) | {"peak": peak, "share": share, "total": total}
    code = (
        f"const it = await import({json.dumps((SCRIPTS / 'one_cycle.js').as_uri())});"
        f"const cycle = {json.dumps(given)};"
        "const steps = Array.from({ length: cycle.total }, (_, i) => it.oneCycle(cycle, i));"
        "console.log(JSON.stringify([steps.map((one) => one.rate),"
        " steps.map((one) => one.momentum), it.meanRate(cycle)]));"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], capture_output=True, text=True, check=True
    )
    rates, momenta, mean = json.loads(done.stdout)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01, momentum=0.9)
    schedule = OneCycleLR(optimizer, max_lr=peak, pct_start=share, total_steps=total)
    expected = []
    for step in range(total):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < total - 1:
            schedule.step()
    assert rates == pytest.approx([rate for rate, _ in expected], rel=1e-9, abs=1e-15)
    assert momenta == pytest.approx([momentum for _, momentum in expected], rel=1e-9)
    assert mean == pytest.approx(sum(rate for rate, _ in expected) / total, rel=1e-9)


def test_averages_and_scores_of_a_shifted_digit_are_the_networks(shared, made):
    page = shared
    slide(page, "average", "Shift", 6)  # three pixels to the right
    image = torch.tensor(made["average"].data["pixels"], dtype=torch.uint8).view(1, 28, 28)
    moved = torch.zeros_like(image)
    moved[:, :, 3:] = image[:, :, :-3]
    changes = []
    for stage in (4, 5):
        network = torch.nn.Sequential(*list(runs.load(stage).build().children())[:-1])
        pair = torch.stack((image, moved)).float() / 255
        with torch.no_grad():
            still, shifted = network(stages.get(stage).recipe.normalize_test(pair))
        changes.append((shifted - still).abs().mean().item())
    shown = figure(page, "average").locator(".mv-maps span").all_inner_texts()
    assert [number(one) for one in shown] == pytest.approx(shifted.tolist(), abs=0.02)
    said = re.findall(r"those of stage \d by ([\d.]+)", words(page, "average"))
    assert [float(one) for one in said] == pytest.approx(changes, abs=0.02)


def test_a_pixels_new_channels_are_the_matrix_times_the_old(shared, made):
    page = shared
    data_ = made["mixing"].data
    layers = dict(runs.load(6).build().named_children())
    signal = stages.get(6).recipe.normalize_test(
        moving._test_digit(data_["label"])[None].float() / 255
    )
    with torch.no_grad():
        for name, layer in layers.items():
            signal = layer(signal)
            if name == "point1":
                break
    expected = signal[0, :, data_["row"], data_["column"]].tolist()
    lists = figure(page, "mixing").locator(".mv-channels")
    shown = [number(one) for one in lists.nth(1).locator("span").all_inner_texts()]
    assert shown == pytest.approx(expected, abs=0.03)
    figure(page, "mixing").get_by_label("New channel").select_option("4")
    assert f"= {shown[4]:.2f}" in words(page, "mixing")


def test_a_moments_numbers_are_those_of_the_values():
    values = torch.randn(8, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 + 0.5
    found = steps.moment(3, values)
    low, high, bars = steps.HISTOGRAM
    expected = torch.histc(values.clamp(low, high), bars, low, high) / values.numel()
    assert torch.allclose(torch.tensor(found.shares), expected, atol=1e-4)
    assert found.mean == pytest.approx(values.mean().item(), rel=1e-5)
    assert found.spread == pytest.approx(values.std().item(), rel=1e-5)


def test_behind_the_normalization_a_channel_has_the_spread_of_its_gamma():
    """At the start that is 1, and what is looked at does not move the running statistics."""
    (before, behind), learnt = steps.channel_over_steps(
        stages.get(4), ("conv4", "batch_norm4"), channel=2, steps=(0, 2)
    )
    assert learnt[0] == (1, 0)
    assert behind[0].mean == pytest.approx(0, abs=1e-3)
    assert behind[0].spread == pytest.approx(1, abs=1e-3)
    assert behind[1].spread == pytest.approx(learnt[1][0], abs=1e-3)
    assert behind[1].mean == pytest.approx(learnt[1][1], abs=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        network = stages.get(4).build().train()
    some = data.mnist().full_train[:128]
    signal = stages.get(4).recipe.normalize_train(some.images.float() / 255)
    with torch.no_grad():
        for name, layer in network.named_children():
            signal = layer(signal)
            if name == "conv4":
                break
    assert before[0].spread == pytest.approx(signal[:, 2].std().item(), rel=1e-4)
    own = F.batch_norm(signal, None, None, training=True)[:, 2]
    assert steps.moment(0, own).shares == pytest.approx(behind[0].shares, abs=1e-3)


def test_a_figure_with_too_much_data_is_refused(made):
    with pytest.raises(MnistStepsError, match="has 30,0.. bytes of data, expected at most 30,000"):
        Moving("kernel", made["kernel"].still, {"numbers": "x" * 30_000})


def test_what_a_figure_cannot_show_is_refused_in_words():
    with pytest.raises(MnistStepsError, match="stage 7 has no OneCycle schedule"):
        figures.schedule(stages.get(7))
    with pytest.raises(MnistStepsError, match="conv5 of stage 6 is no 1×1 convolution"):
        figures.mixing(runs.load(6), "conv5")
    with pytest.raises(MnistStepsError, match="conv1 of stage 11 is a Conv2d.*stages 2 to 10"):
        figures.sliding_kernel(runs.load(11))


# --- The page ------------------------------------------------------------------------------------


def test_the_keyboard_moves_every_figure(visit):
    page = visit()
    place = figure(page, "kernel").get_by_role("application").first
    place.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    assert "At row 9, column 15" in words(page, "kernel")

    slider(page, "affine", "Turn").focus()
    page.keyboard.press("Home")
    assert "turned by -180°" in words(page, "affine")
    figure(page, "affine").get_by_role("button", name="Reset").press("Enter")
    assert "turned by 0°, 1.00 times" in words(page, "affine")

    slider(page, "normalization", "Step").focus()
    page.keyboard.press("ArrowRight")
    assert "After 1 step of 128 digits" in words(page, "normalization")

    slider(page, "average", "Shift").focus()
    page.keyboard.press("End")
    assert "3 pixels to the right" in words(page, "average")

    figure(page, "mixing").get_by_role("application").first.focus()
    page.keyboard.press("ArrowUp")
    assert "row 8, column 9" in words(page, "mixing")

    slider(page, "schedule", "Peak after").focus()
    before = words(page, "schedule")
    page.keyboard.press("ArrowRight")
    assert words(page, "schedule") != before


def test_the_peak_is_dragged_with_a_mouse(visit):
    page = visit()
    handle = figure(page, "schedule").locator(".mv-handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 30, steps=4)
    page.mouse.up()
    after = float(slider(page, "schedule", "Peak after").input_value())
    rate = float(slider(page, "schedule", "Peak rate").input_value())
    assert after > 40 and rate > 10
    moved = handle.bounding_box()
    assert moved["x"] - box["x"] == pytest.approx(60, abs=6)


def test_the_peak_is_dragged_with_a_finger(visit):
    page = visit(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    handle = figure(page, "schedule").locator(".mv-handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2 + 6, box["y"] + box["height"] / 2 + 6  # a little beside it
    touch = page.context.new_cdp_session(page)
    for kind, moved in (("touchStart", 0), ("touchMove", 20), ("touchMove", 50)):
        points = [{"x": x + moved, "y": y - moved / 2}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert float(slider(page, "schedule", "Peak after").input_value()) > 38


def test_a_click_on_a_map_chooses_its_unit(visit):
    page = visit()
    picture = figure(page, "kernel").locator("canvas").nth(1)
    box = picture.bounding_box()
    picture.click(position={"x": 10.5 / 26 * box["width"], "y": 3.5 / 26 * box["height"]})
    assert "At row 3, column 10" in words(page, "kernel")


def test_a_kernel_slides_by_itself_and_stops(visit):
    page = visit()
    figure(page, "kernel").get_by_role("button", name="Slide").click()
    page.wait_for_function(
        "/row (9|1\\d)/.test(document.querySelector('[data-moving=kernel] .mv-words').textContent)"
    )
    figure(page, "kernel").get_by_role("button", name="Stop").click()
    stopped = words(page, "kernel")
    page.wait_for_timeout(200)
    assert words(page, "kernel") == stopped


def test_pictures_follow_the_theme(visit):
    page = visit()
    corner = """() => {
      const copy = document.createElement("canvas").getContext("2d");
      copy.drawImage(document.querySelector("[data-moving=average] canvas"), 0, 0);
      return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    light = page.evaluate(corner)
    page.evaluate("document.body.dataset.mdColorScheme = 'slate'")
    page.wait_for_timeout(50)
    assert min(light) > 200 and max(page.evaluate(corner)) < 60


def test_without_scripts_the_still_pictures_stay(visit, made):
    page = visit(java_script_enabled=False)
    assert page.locator(".moving-still:visible").count() == len(made)
    assert page.locator(".moving-still svg:visible").count() >= len(made)


def test_files_of_several_still_pictures_have_names(visit):
    page = visit()
    links = page.evaluate(
        """async () => {
          const link = '<a download href="#">SVG</a>';
          document.body.insertAdjacentHTML("beforeend", `<div data-moving="made">
            <div class="moving-still">${link}${link}</div>
            <script type="application/json">{}</script></div>`);
          const { mount } = await import("/javascripts/figures/parts.js");
          mount("made", () => [], ["rate", "momentum"]);
          const made = document.querySelectorAll("[data-moving=made] .mv-files a");
          return [...made].map((one) => [one.textContent, one.ariaLabel]);
        }"""
    )
    assert links == [
        ["rate", "rate, as an SVG file"],
        ["momentum", "momentum, as an SVG file"],
    ]


def test_the_figures_move_in_a_page_from_a_folder(visit, site):
    page = visit((site / "index.html").as_uri())
    slide(page, "average", "Shift", 0)
    assert "3 pixels to the left" in words(page, "average")


@pytest.mark.parametrize("width", [1280, 360])
def test_a_figure_is_about_as_high_as_the_room_that_is_kept_for_it(visit, width):
    """Else what stands below it moves when its script has run, or there is a gap."""
    page = visit(viewport={"width": width, "height": 900})
    heights = page.eval_on_selector_all(
        ".moving",
        """all => all.map((one) => {
          const kept = one.offsetHeight;
          one.style.minHeight = 0;
          return [one.dataset.moving, kept, one.offsetHeight];
        })""",
    )
    for module, kept, needed in heights:
        assert needed == pytest.approx(kept, rel=0.12), module


@pytest.mark.parametrize("name", ["index", "dark"])
def test_they_fit_and_are_accessible_in_both_themes(visit, name):
    page = visit(f"{name}.html")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert barriers(page, "main", dark=name == "dark") == [], f"at {width} pixels"
