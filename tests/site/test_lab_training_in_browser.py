"""The Lab trains in a real browser: on all of MNIST, stopped, reloaded, gone on with, and judged.

The page has the training alone, under the policy that every page of the site has. Its network is
small, so that an epoch takes seconds.
"""

import functools
import json
import os
import re
import signal
import time

import in_node
import pytest
from browser import served, watch
from lab_page import SMALL, STAGE_11, write_page
from playwright.sync_api import expect

from site_tools import lab_presets, offline

pytestmark = pytest.mark.slow  # nearly every test trains
ENOUGH = 180_000  # ms for a training or a judgement, on a machine that does other things, too
DIGITS = "**/train-images-idx3-ubyte.gz"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_page(folder)
    return folder


@pytest.fixture
def visit(visit):
    """Open the page with a design; the panel is there."""

    def opened(fragment=SMALL, to="", **options):
        return visit(f"{to}#{fragment}", wait_for="#train button", **options)

    return opened


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def figures(page):
    return page.inner_text(".lt-figures")


def loss(page):
    found = re.search(r"loss ([\d.]+)", figures(page))
    return float(found[1]) if found else None


def losses(page):
    return page.evaluate("JSON.parse(localStorage['mnist-steps-lab-network']).losses")


def wait_for_loss(page):
    page.wait_for_function(
        "() => /loss/.test(document.querySelector('.lt-figures').textContent)", timeout=ENOUGH
    )


def kept(page):
    text = page.evaluate("localStorage['mnist-steps-lab-network']")
    return json.loads(text) if text else None


def wait_until_kept(page, epochs):
    page.wait_for_function(
        "(epochs) => JSON.parse(localStorage['mnist-steps-lab-network'] ?? '{}')"
        ".run?.epochs.length === epochs",
        arg=epochs,
        timeout=ENOUGH,
    )


def wait_until_idle(page):
    page.wait_for_function(
        "() => document.querySelector('.lt-buttons button').checkVisibility()", timeout=ENOUGH
    )


def weights(page):
    return page.evaluate(
        """() => {
          const { weights } = trained();
          return Object.fromEntries(
            Object.entries(weights).map(([name, numbers]) => [name, [...numbers]]));
        }"""
    )


def test_a_network_is_trained_paused_reloaded_and_finished_as_if_nothing_had_been(visit, browser):
    page = visit()
    assert not [url for url in page.requests if "mnist/" in url], "nothing comes before the click"
    expect(page.locator("#train")).to_contain_text("on this device", timeout=ENOUGH)
    button(page, "Train").click()
    wait_for_loss(page)

    button(page, "Pause").click()
    page.wait_for_timeout(700)
    before = figures(page)
    assert "paused" in before
    page.wait_for_timeout(700)
    assert figures(page) == before, "it goes on while it is paused"
    button(page, "Go on").click()
    wait_until_kept(page, 1)
    assert kept(page)["run"]["finished"] is False

    page.reload()
    expect(page.locator(".lt-kept")).to_contain_text("1 of 2 epochs done")
    assert page.evaluate("trained().run.epochs.length") == 1
    button(page, "Go on from there").click()
    wait_until_kept(page, 2)
    wait_until_idle(page)
    found = weights(page)
    curve = [one for _, one in losses(page)]
    tenth = len(curve) // 10
    assert sum(curve[-tenth:]) < 0.5 * sum(curve[:tenth]), "the loss does not fall"
    run = kept(page)["run"]
    assert run["finished"] and run["epochs"][1]["oneView"]["right"] > 0.85 * 5000
    assert run["epochs"][1]["nineViews"]["images"] == 5000

    # In another browser, without a stop.
    other = visit()
    button(other, "Train").click()
    wait_until_kept(other, 2)
    wait_until_idle(other)
    assert weights(other) == found

    # 'Again with another seed' adds a run.
    button(other, "Again with another seed (1)").click()
    wait_until_kept(other, 1)
    wait_until_kept(other, 2)
    wait_until_idle(other)
    assert weights(other) != found
    rows = other.locator("#train table").last.locator("tbody tr")
    assert [row.inner_text()[0] for row in rows.all()] == ["0", "1"]
    expect(other.locator("#train")).to_contain_text("standard deviation")


@pytest.fixture(scope="module")
def trained_state(browser, site):
    """What the browser keeps after a finished training, to begin tests with."""
    context = browser.new_context(service_workers="block")
    with served(site) as address:
        page = watch(context.new_page())
        page.goto(f"{address}#{SMALL}")
        button(page, "Train").click()
        wait_until_kept(page, 2)
        wait_until_idle(page)
        assert page.complaints == []
        stored = page.evaluate("({ ...localStorage })")
        context.close()
    return stored


@pytest.fixture
def visit_trained(visit, trained_state):
    def opened(**options):
        page = visit(**options)
        page.evaluate("(stored) => Object.assign(localStorage, stored)", trained_state)
        page.reload()
        page.wait_for_selector(".lt-kept:not([hidden])")
        return page

    return opened


def test_the_test_set_judges_the_final_network_once_and_openings_are_counted(visit_trained):
    page = visit_trained()
    assert "test" not in page.inner_text("#train table").lower() or "–" in page.inner_text("#train")
    button(page, "Open the test set").click()
    text = page.locator(".lt-test")
    expect(text).to_contain_text("the standard error", timeout=ENOUGH)
    expect(text).to_contain_text("You have opened the test set once in this browser")
    expect(button(page, "Open the test set")).to_be_hidden()
    run = kept(page)["run"]
    right = run["test"]["oneView"]["right"]
    assert run["test"]["oneView"]["images"] == run["test"]["nineViews"]["images"] == 10_000
    share = right / 10_000
    error = 100 * (share * (1 - share) / 10_000) ** 0.5
    expect(text).to_contain_text(f"{100 * share:.2f} ± {error:.2f} % by one view")
    page.reload()
    expect(text).to_contain_text("the standard error")
    expect(button(page, "Open the test set")).to_be_hidden()
    # Its mistakes are now those of the test set.
    button(page, "Show its surest mistakes").click()
    expect(page.locator("#after .lt-mistakes")).to_contain_text("misreads", timeout=ENOUGH)


def test_validation_accuracy_has_its_standard_error_wherever_it_stands(visit_trained):
    page = visit_trained()
    run = kept(page)["run"]

    def with_error(judged):
        share = judged["right"] / judged["images"]
        return f"{100 * share:.2f} ± {100 * (share * (1 - share) / judged['images']) ** 0.5:.2f}"

    one, nine = (with_error(run["epochs"][-1][way]) for way in ("oneView", "nineViews"))
    assert run["epochs"][-1]["oneView"]["images"] == 5000
    expect(page.locator(".lt-kept")).to_contain_text(f"{one} % of the validation images")
    page.get_by_text("Epoch by epoch").click()
    for row in page.locator("#train table").all():
        cells = row.locator("tbody tr").last.inner_text().split("\t")
        assert one in cells and nine in cells
    text = page.inner_text("#train")
    assert f"by one view {one} % on average" in text and f"by nine views {nine} %" in text
    assert f"Validation after epoch 2: {one} %" in text
    expect(page.locator("#train > figure svg")).to_have_count(1)
    for figure in ("#train > figure svg", ".lt-curves figure:last-child svg"):
        assert f"{one} %" in page.locator(figure).get_attribute("aria-label")
    # It has two epochs, so nobody knows whether it would hold the target for three.
    assert "to hold it takes three epochs" in text and "hold it in each" not in text


def test_digits_are_drawn_for_the_own_network_and_its_insides_shown(visit_trained):
    page = visit_trained()
    maps = page.locator("#after .lt-maps:visible")
    assert maps.count() == 0, "maps of nothing"
    page.locator("#pg-pad").scroll_into_view_if_needed()
    box = page.locator("#pg-pad").bounding_box()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=10)
    page.mouse.up()
    expect(page.locator("#pg-verdict")).to_contain_text("1,")
    layers = len(page.evaluate("trained().layers"))
    assert maps.count() == layers
    # 10 × 10 kernels of 3 × 3 in one picture, with a cell between neighbours.
    picture = page.locator("#after section", has_text="10 × 10 kernels").locator("canvas")
    assert picture.evaluate("({ width, height }) => [width, height]") == [39, 39]
    button(page, "Show its surest mistakes").click()
    mistakes = page.locator(".lt-mistakes li button")
    expect(mistakes.first).to_be_visible(timeout=ENOUGH)
    label, _, answer = mistakes.first.inner_text().split()
    mistakes.first.click()
    expect(page.locator("#pg-verdict")).to_contain_text(f"{answer},")
    assert label != answer


def test_on_a_phone_what_is_long_is_folded_and_opens(visit_trained):
    page = visit_trained(viewport={"width": 360, "height": 780}, has_touch=True)
    height = page.evaluate("document.documentElement.scrollHeight")
    folds = page.locator("#after details > summary")
    assert folds.all_inner_texts() == ["What each layer makes of it", "Its kernels", "Its mistakes"]
    assert page.locator("#after details[open]").count() == 0
    for fold in folds.all():
        fold.tap()
    kernels = page.locator("#after section", has_text="10 × 10 kernels").locator("canvas")
    expect(kernels).to_be_visible()
    painted = "(canvas) => canvas.getContext('2d').getImageData(0, 0, 39, 39).data.some(Boolean)"
    assert kernels.evaluate(painted)
    assert page.evaluate("document.documentElement.scrollHeight") > height + 300
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_what_the_browser_computes_for_a_drawing_is_what_the_engine_judged(visit_trained):
    """The pictures' forward pass and the engine read the misread digits alike."""
    page = visit_trained()
    button(page, "Show its surest mistakes").click()
    mistakes = page.locator(".lt-mistakes li button")
    expect(mistakes.first).to_be_visible(timeout=ENOUGH)
    for mistake in mistakes.all()[:20]:
        answer, sure = mistake.inner_text().split()[-1], mistake.get_attribute("title")
        mistake.click()
        verdict = page.inner_text("#pg-verdict")
        assert verdict.startswith(f"{answer},")
        assert abs(float(verdict.split(", ")[1].split()[0]) - float(sure.split()[0])) < 0.6


def test_a_record_is_drawn_over_the_curves(visit_trained):
    page = visit_trained()
    over = page.get_by_label("Draw over the curves")
    expect(over.locator("option")).to_have_count(10)
    over.select_option("4")
    expect(page.locator(".lt-curves")).to_contain_text("stage 4")
    assert "stage 4: from" in page.locator(".lt-curves svg").first.get_attribute("aria-label")
    expect(page.locator("#train > figure svg")).to_have_count(1)  # the frontier
    assert "yours, validation" in page.locator("#train > figure svg").get_attribute("aria-label")


def test_stage_3_begins_beside_stage_4_so_that_its_standstill_is_seen(visit):
    page = visit(fragment_of(3))
    over = page.get_by_label("Draw over the curves")
    expect(over).to_have_value("4")
    words = page.locator(".lt-curves svg").first.get_attribute("aria-label")
    assert "stage 4: from 0." in words
    page = visit(fragment_of(8))
    expect(page.get_by_label("Draw over the curves")).not_to_have_value("0")


def test_what_is_measured_is_stage_11_as_the_build_makes_its_preset():
    assert STAGE_11 == fragment_of(11)


def fragment_of(stage):
    (preset,) = [one for one in lab_presets.presets() if one["id"] == str(stage)]
    return in_node.run(
        """
        const { RECIPE } = await load("lab/design.js");
        const { keyOf } = await load("lab/fragment.js");
        const { layers, recipe } = given.design;
        return keyOf({ layers, recipe: { ...RECIPE, ...recipe } });
        """,
        design=preset["design"],
    )


# --- What is not right is told, and nothing is lost -----------------------------------------------


def problem(page, start="Train"):
    shown = page.locator(".lt-problem")
    expect(shown).to_be_visible(timeout=ENOUGH)
    text = shown.inner_text()
    assert "\n" not in text
    expect(button(page, start)).to_be_enabled()
    return text


def damaged(route, change):
    answer = route.fetch()
    route.fulfill(response=answer, body=change(answer.body()))


@pytest.mark.parametrize(
    "serve, said",
    [
        (lambda route: route.fulfill(status=404), "is not on this server (it answers 404)"),
        (lambda route: route.abort(), "could not be fetched: is there a network?"),
        (
            functools.partial(damaged, change=lambda body: body[: len(body) // 2]),
            "cannot be unpacked: found 4859719 bytes, expected 9719438",
        ),
        (
            functools.partial(damaged, change=lambda body: b"<!doctype html>Sign in first."),
            "is damaged: found 29 bytes, expected 47040016",
        ),
    ],
    ids=["missing", "no network", "truncated", "another page"],
)
def test_digits_that_do_not_come_or_are_others_are_told_and_a_second_try_trains(serve, said, visit):
    page = visit()
    page.route(DIGITS, serve)
    button(page, "Train").click()
    assert said in problem(page)
    page.complaints.clear()  # of the browser, about the answers that this test made
    page.unroute(DIGITS)
    button(page, "Train").click()
    wait_for_loss(page)
    button(page, "Stop").click()
    wait_until_idle(page)
    expect(page.locator(".lt-problem")).to_be_hidden()


def test_digits_are_fetched_once_and_kept_by_the_browser(visit):
    page = visit()
    for _ in range(2):
        button(page, "Train").click()
        wait_for_loss(page)
        button(page, "Stop").click()
        wait_until_idle(page)
        page.reload()
        page.wait_for_selector("#train button")
    fetched = [url for url in page.requests if url.endswith("train-images-idx3-ubyte.gz")]
    names = page.evaluate("caches.open('mnist-digits').then((kept) => kept.keys())")
    assert len(fetched) == 1 and len(names) == 4


def test_after_a_first_training_it_trains_without_a_network_too(browser, site):
    offline.write_worker(site)
    context = browser.new_context()
    page = context.new_page()
    with served(site) as address:
        page.goto(f"{address}#{SMALL}")
        page.evaluate(
            """() => navigator.serviceWorker.register("offline.js")
              .then(() => navigator.serviceWorker.ready).then(() => true)"""
        )
        page.wait_for_function("() => navigator.serviceWorker.controller")
        packed = """async () => {
          const names = [];
          for (const kept of await caches.keys())
            for (const { url } of await (await caches.open(kept)).keys()) names.push(url);
          return names.filter((name) => name.endsWith(".gz")).length;
        }"""
        assert page.evaluate(packed) == 0, "the digits were kept before anybody trained"
        button(page, "Train").click()
        wait_for_loss(page)
        button(page, "Stop").click()
        wait_until_idle(page)
        assert page.evaluate(packed) == 4
    watch(page)  # the server is gone
    page.reload()
    button(page, "Train").click()
    wait_for_loss(page)
    assert page.complaints == []
    context.close()


def test_without_storage_it_trains_and_says_that_nothing_is_kept(visit, trained_state):
    page = visit()
    page.add_init_script(
        """Object.defineProperty(globalThis, "localStorage", {
          get() { throw new DOMException("denied", "SecurityError"); } });"""
    )
    page.reload()
    page.wait_for_selector("#train button")
    button(page, "Train").click()
    expect(page.locator("#train")).to_contain_text(
        "This browser keeps nothing of pages", timeout=ENOUGH
    )
    wait_until_idle(page)
    assert page.evaluate("trained().run.epochs.length") == 2
    assert "is kept in this browser" not in page.inner_text(".lt-kept")
    # For as long as the page is there it knows its runs, and what was opened.
    button(page, "Open the test set").click()
    expect(page.locator(".lt-test")).to_contain_text(
        "test set once in this browser", timeout=ENOUGH
    )
    button(page, "Again with another seed (1)").click()
    wait_until_idle(page)
    assert page.locator("#train table").last.locator("tbody tr").count() == 2


def test_a_full_storage_is_told(visit, trained_state):
    page = visit()
    page.add_init_script(
        """Storage.prototype.setItem = () => {
          throw new DOMException("full", "QuotaExceededError"); };"""
    )
    page.reload()
    page.wait_for_selector("#train button")
    button(page, "Train").click()
    expect(page.locator("#train")).to_contain_text("no room to keep", timeout=ENOUGH)
    button(page, "Stop").click()


def test_without_workers_or_vectors_one_line_says_so(visit):
    page = visit()
    page.add_init_script("delete globalThis.Worker;")
    page.reload()
    button(page, "Train").click()
    assert problem(page) == "This browser has no workers, which training needs."

    page = visit()
    page.route("**/engine.wasm", lambda route: route.fulfill(body=b"\0asm\1\0\0\0\1\2"))
    page.reload()
    button(page, "Train").click()
    assert "cannot run the engine" in problem(page)
    page.unroute("**/engine.wasm")
    button(page, "Train").click()
    wait_for_loss(page)
    button(page, "Stop").click()


def test_a_training_stopped_in_its_first_epoch_leaves_what_was_there_and_says_so(visit_trained):
    page = visit_trained()
    before = weights(page)
    button(page, "Again with another seed (1)").click()
    wait_for_loss(page)
    button(page, "Stop").click()
    wait_until_idle(page)
    expect(page.locator("#train")).to_contain_text(
        "Stopped in the first epoch: nothing of this training is kept."
    )
    assert weights(page) == before and kept(page)["run"]["seed"] == 0
    assert "is kept in this browser" in page.inner_text(".lt-kept")


# --- A tab put to sleep, a worker that is gone, little memory -------------------------------------


def sleep(page, seconds):
    """Stop the processes of the browser's pages, as a phone does with what nobody looks at."""
    chrome = page.context.browser.new_browser_cdp_session()
    processes = chrome.send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [process["id"] for process in processes if process["type"] == "renderer"]
    assert pages
    for process in pages:
        os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    for process in pages:
        os.kill(process, signal.SIGCONT)


def test_a_tab_put_to_sleep_says_so_and_trains_on(visit):
    page = visit("lab=1&net=c16k5s3.n.r.c16k3.n.r.c10k3.n.g&batch=128&epochs=15")
    button(page, "Train").click()
    wait_until_kept(page, 1)
    sleep(page, 8)
    note = page.locator("#train .lt-quiet:visible", has_text="nothing was lost")
    expect(note).to_have_text("The browser let this page sleep for a while; nothing was lost.")
    done = page.evaluate("trained().run.epochs.length")
    page.wait_for_function("(done) => trained().run.epochs.length > done", arg=done, timeout=ENOUGH)
    button(page, "Stop").click()
    wait_until_idle(page)
    assert len(kept(page)["run"]["epochs"]) == page.evaluate("trained().run.epochs.length") > 1


# The page's worker, within reach of the test.
WATCHED = """
  globalThis.workers = [];
  globalThis.Worker = class extends Worker {
    constructor(...given) { super(...given); workers.push(this); }
  };
"""


def test_a_worker_that_the_browser_ended_is_told_and_finished_epochs_go_on(visit):
    page = visit(SMALL.replace("epochs=2", "epochs=3"))
    page.add_init_script(WATCHED)
    page.clock.install()  # half a minute passes at once
    page.reload()
    button(page, "Train").click()
    wait_until_kept(page, 1)
    page.evaluate("workers.at(-1).terminate()")
    page.clock.run_for(32_000)
    note = page.locator(".lab-training .lt-quiet:visible", has_text="Nothing was heard")
    expect(note).to_contain_text("epochs that are done stay")
    assert "\n" not in note.inner_text()
    done = page.evaluate("trained().run.epochs.length")
    button(page, "Stop").click()
    page.clock.run_for(5000)
    expect(page.locator(".lab-training")).to_contain_text("Stopped: the")
    expect(note).to_be_hidden()
    assert page.evaluate("trained().run.epochs.length") == done == len(kept(page)["run"]["epochs"])
    button(page, "Go on from there").click()
    wait_until_kept(page, 3)
    wait_until_idle(page)


def test_without_memory_one_line_says_so_and_what_was_trained_stays(visit_trained):
    page = visit_trained()
    before = weights(page)

    def poor(route):
        refuse = "WebAssembly.Memory.prototype.grow = () => { throw new RangeError('refused'); };\n"
        route.fulfill(response=(answer := route.fetch()), body=refuse + answer.text())

    page.route("**/lab/worker.js", poor)
    page.reload()
    button(page, "Again with another seed (1)").click()
    said = problem(page, "Again with another seed (1)")
    assert said.startswith("This device has no memory for it (the engine found no memory for ")
    assert said.endswith("close other pages, or make the batch smaller.")
    assert weights(page) == before and "is kept in this browser" in page.inner_text(".lt-kept")


def test_damaged_storage_is_as_none(visit):
    page = visit()
    page.evaluate("localStorage['mnist-steps-lab-network'] = '{\"format\": 1, \"kept\": {}}'")
    page.evaluate("localStorage['mnist-steps-lab-runs'] = 'no JSON'")
    page.reload()
    expect(button(page, "Train")).to_be_enabled()
    expect(page.locator(".lt-kept")).to_be_hidden()


def test_a_rate_at_which_the_loss_is_no_number_is_told(visit):
    page = visit("lab=1&net=c64k5s4.c64k3.c10k4&batch=16&rate=2&epochs=1")
    button(page, "Train").click()
    said = "The loss is no number any more, in epoch 1: make the learning rate smaller."
    assert problem(page) == said


def test_a_design_that_cannot_be_trained_is_not(visit):
    page = visit()
    page.evaluate("design('lab=1&net=c10k5.n.r')")
    expect(button(page, "Train")).to_be_disabled()
    page.evaluate("(small) => design(small)", SMALL)
    expect(button(page, "Train")).to_be_enabled()


def test_the_page_stays_awake_while_it_trains(visit):
    page = visit(STAGE_11)
    button(page, "Train").click()
    wait_for_loss(page)
    longest = page.evaluate(
        """async () => {
          const tasks = [];
          new PerformanceObserver((list) => tasks.push(...list.getEntries()))
            .observe({ type: "longtask" });
          await new Promise((done) => setTimeout(done, 4000));
          return Math.max(0, ...tasks.map(({ duration }) => duration));
        }"""
    )
    print(f"\nthe longest task took {longest:.0f} ms")
    button(page, "Stop").click()
    assert longest < 200  # on a machine that does other things; at most 50 where it is alone
