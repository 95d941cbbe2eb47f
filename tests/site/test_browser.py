"""Every page of a built site in a real browser: both themes, a phone's width and a desk's.

MNIST_STEPS_SITE=site names the built site; without it there is nothing to look at and the tests
are skipped. axe-core comes with axe-playwright-python. MNIST_STEPS_SCREENSHOTS=folder keeps a
picture of each page as it was seen.
"""

import contextlib
import functools
import html
import inspect
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import barriers, outside, served, transferred, watch

from mnist_steps import data, runs, stages
from mnist_steps.experiments import study

SCREENSHOTS = os.environ.get("MNIST_STEPS_SCREENSHOTS")
WIDTHS = (1280, 400)
THEMES = {"light": "default", "dark": "slate"}
FIRST_VISIT = 350 * 1024  # bytes, compressed
LAYOUT_SHIFT = 0.05

if "MNIST_STEPS_SITE" not in os.environ:
    pytest.skip(
        "no site to look at: build one, then set MNIST_STEPS_SITE=site", allow_module_level=True
    )
SITE = Path(os.environ["MNIST_STEPS_SITE"]).resolve()
PAGES = sorted(file.relative_to(SITE).as_posix() for file in SITE.rglob("*.html"))
assert "index.html" in PAGES, f"{SITE} is no built site"
STAGE_PAGES = [name for name in PAGES if re.match(r"stages/|beyond/(09|10|11)_", name)]
LESSONS = [*STAGE_PAGES, "beyond/12_other_roads/index.html"]
# The path below which it is to stand, such as mnist-steps/, when it was built with its address.
CANONICAL = re.search(
    r'<link rel="canonical" href="([^"]*)"', (SITE / "index.html").read_text("utf-8")
)
BASE = urlsplit(CANONICAL[1]).path.lstrip("/") if CANONICAL else ""

OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll("main *")]
    .filter((one) => one.getBoundingClientRect().right > width + 1)
    .slice(0, 5).map((one) => `${one.tagName}.${one.className}`);
}"""
# From before the first script on: how far things moved that nobody had touched.
COUNT_SHIFTS = """globalThis.shifted = 0;
new PerformanceObserver((list) => {
  for (const { hadRecentInput, value } of list.getEntries())
    if (!hadRecentInput) globalThis.shifted += value;
}).observe({ type: "layout-shift", buffered: true });"""


# --- A site, a browser ------------------------------------------------------------------------


@contextlib.contextmanager
def online(folder):
    """The site on a server, at its path; gives its address. folder: an empty one."""
    place = folder / "server" / BASE.rstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(SITE, target_is_directory=True)
    with served(folder / "server") as address:
        yield address + BASE


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with online(tmp_path_factory.mktemp("online")) as address:
        yield address


# --- Every page -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_quiet_private_accessible_and_fits(browser, address, name):
    """In a context of its own: a first visit brings all that pages share, too."""
    context = browser.new_context(reduced_motion="reduce", service_workers="block")
    context.add_init_script(COUNT_SHIFTS)
    page, problems = watch(context.new_page()), []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if width == WIDTHS[0]:
            page.goto(address + name.removesuffix("index.html"), wait_until="load")
            taken = transferred(page)
            print(f"\n{name}: {taken / 1024:.0f} KB")
            if taken > FIRST_VISIT:
                problems.append(f"a first visit takes {taken / 1024:.0f} KB, as servers send it")
            if name in LESSONS:
                problems += what_a_lesson_lacks(page, name)
        else:  # loaded anew: a phone has its own moves while a page loads
            page.reload(wait_until="load")
        page.wait_for_timeout(100)  # the theme makes what scrolls reachable by keyboard
        shifted = page.evaluate("shifted")
        if shifted > LAYOUT_SHIFT:
            problems.append(f"at {width} px things move by {shifted:.3f} while it loads")
        for theme, scheme in THEMES.items():
            page.emulate_media(color_scheme=theme)
            page.wait_for_selector(f"body[data-md-color-scheme={scheme}]")
            where = f"{theme}, at {width} px"
            if SCREENSHOTS:
                keep(page, name, theme, width)
            found = barriers(page, dark=theme == "dark")
            problems += [f"axe, {where}: {one}" for one in found]
            problems += [f"too wide, {where}: {one}" for one in page.evaluate(OVERFLOWING)]
    problems += [f"dead link: {link}" for link in dead_links(page)]
    problems += [f"asked for {url}" for url in outside(page, address)]
    problems += page.complaints
    context.close()
    assert not problems, "\n".join([f"{name}:", *dict.fromkeys(problems)])


def keep(page, name, theme, width):
    stem = name.removesuffix("/index.html").removesuffix(".html").replace("/", "-")
    page.screenshot(path=Path(SCREENSHOTS, f"{stem}-{theme}-{width}.png"), full_page=True)


@functools.cache
def anchors(file):
    from site_tools import checks

    return checks._anchors(file)


def dead_links(page):
    """Links to this site, as the browser sees them, scripts and all, that lead to nothing."""
    here = urlsplit(page.url)
    links = page.evaluate("() => [...document.links].map((link) => link.href)")
    for link in sorted(set(links)):
        parts = urlsplit(link)
        if parts.netloc != here.netloc or parts.path == here.path:
            continue
        file = SITE / unquote(parts.path).lstrip("/").removeprefix(BASE)
        file = file / "index.html" if file.is_dir() else file
        known = file.is_file() and (
            not parts.fragment
            or "=" in parts.fragment  # a state of the page, which its script reads
            or file.suffix != ".html"
            or unquote(parts.fragment) in anchors(file)
        )
        if not known:
            yield link


# --- Search, and a folder instead of a server ---------------------------------------------------


def search(page, words):
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.wait_for_selector(".md-search-result__item a")
    return page.eval_on_selector_all(
        ".md-search-result__item > a.md-search-result__link", "links => links.map((a) => a.href)"
    )


def test_search_finds_each_stage_by_its_title(visit, address):
    page = visit()
    for name in STAGE_PAGES:
        heading = re.search(r"<h1[^>]*>([^<]+)", (SITE / name).read_text(encoding="utf-8"))[1]
        title = html.unescape(heading).strip()
        words = title.partition(". ")[2] or title
        page.goto(address)  # a new search
        found = search(page, words)
        place = name.removesuffix("index.html")
        assert any(place in link for link in found), f"{words!r} finds {found}"


def test_from_a_folder_pages_are_quiet_links_lead_to_pages_and_search_finds(visit):
    page = visit((SITE / "index.html").as_uri())
    page.click(".md-content a[href*='get-started']")
    page.wait_for_url("**/get-started/index.html")
    search(page, "schedule")
    page.click(".md-search-result__item a[href*='lr_scheduler']")
    page.wait_for_url("**/08_lr_scheduler/index.html*")
    assert page.title().startswith("8.")


def test_a_page_refuses_a_script_that_was_not_in_it_when_it_was_built(browser, address):
    page = browser.new_page(service_workers="block")
    page.goto(address)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.intruder = true";
          document.head.append(script);
        }"""
    )
    assert page.evaluate("window.intruder") is None
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => false, () => true)")
    assert refused
    page.close()


# --- Lessons ----------------------------------------------------------------------------------

TALLEST = 5_500  # pixels of a stage's page at 1,280 wide, folds closed
LONGEST = 120 * 1024  # bytes of a page's HTML without its figures
WORDS = 900  # of prose that shows
FIGURES = re.compile(r"<figure\b.*?</figure>|<svg\b.*?</svg>|data:image/[^\"']*", re.DOTALL)

COUNT_WORDS = """() => {
  const left = "math, code, pre, table, figure, details, .question, .page-buttons, .newly, nav";
  return [...document.querySelectorAll(".notebook :is(p, li, dd)")]
    .filter((one) => !one.closest(left) && !one.parentElement.closest("p, li, dd"))
    .map((one) => {
      const copy = one.cloneNode(true);
      copy.querySelectorAll(left).forEach((inner) => inner.remove());
      return (copy.textContent.match(/[A-Za-z][\\w'’-]*/g) ?? []).length;
    })
    .reduce((sum, words) => sum + words, 0);
}"""


def what_a_lesson_lacks(page, name):
    """A lesson is short, has formulas, and its audit in one fold at its end."""
    if page.locator("details[open]:not(nav *)").count():
        yield "a fold is open"
    height = page.evaluate("document.querySelector('article').getBoundingClientRect().height")
    words = page.evaluate(COUNT_WORDS)
    print(f"{name}: {height:.0f} px, {words} words")
    if name in STAGE_PAGES and height > TALLEST:
        yield f"it is {height:.0f} px high, expected {TALLEST} at most"
    if words > WORDS:
        yield f"it has {words} words, expected {WORDS} at most"

    heights = page.eval_on_selector_all(
        "math", "all => all.map((one) => one.getBoundingClientRect().height)"
    )
    if not any(heights) or "$" in page.locator("article").inner_text():
        yield "formulas are not set"
    rest = page.evaluate(
        """() => [...document.querySelectorAll("details.audit ~ h2")].map((one) => one.id)"""
    )
    judged = re.search(r"/(08|09|10|11)_", name)
    if page.locator("details.audit").count() != 1 or rest != (
        ["was-it-reached", "next"] if judged else ["next"]
    ):
        yield f"below the one fold of the audit there is {rest}"


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_light_without_its_figures(name):
    text = FIGURES.sub("", (SITE / name).read_text(encoding="utf-8"))
    print(f"\n{name}: {len(text.encode()) / 1024:.0f} KB")
    assert len(text.encode()) <= LONGEST


# --- Questions --------------------------------------------------------------------------------


def test_a_prediction_is_made_by_keyboard_and_kept(browser, address):
    context = browser.new_context(service_workers="block")
    page = watch(context.new_page())
    page.goto(f"{address}stages/08_lr_scheduler/")
    question = page.locator('[data-kind="prediction"]')
    assert not question.locator("details").is_visible(), "the answer hides until one is given"
    question.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert "Choose" in question.locator("[role=status]").inner_text()
    right = int(question.get_attribute("data-answer"))
    wrong = (right + 1) % 3
    radio = question.get_by_role("radio").nth(wrong)
    radio.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    measured = question.locator("label").nth(right).inner_text()
    verdict = question.locator("[role=status]").inner_text()
    assert verdict == f"Not as you predicted. Measured: {measured}."
    assert question.locator("details p").is_visible()

    page.reload()
    assert question.locator("[role=status]").inner_text() == verdict
    page.goto(address)
    assert "a surprise" in page.locator(".progress li", has_text="8. ").inner_text()
    page.goto(f"{address}stages/08_lr_scheduler/")
    question.get_by_role("button").click()
    assert question.locator("[role=status]").inner_text() == ""
    assert page.complaints == []
    assert outside(page, address) == []
    context.close()


def test_a_check_says_why_a_choice_is_wrong_and_counts_the_first_try(browser, address):
    context = browser.new_context(service_workers="block")
    page = watch(context.new_page())
    page.goto(f"{address}stages/08_lr_scheduler/")
    checks = page.locator('[data-kind="check"]')
    number = checks.count()
    reasons = checks.first.locator(".question-reason").all_text_contents()
    right = int(checks.first.get_attribute("data-answer"))
    wrong = (right + 1) % len(reasons)
    status = checks.first.locator("[role=status]")
    choose(page, checks.first, wrong)
    assert status.text_content() == f"No. {reasons[wrong]} Choose again."
    assert not checks.first.locator("details").is_visible()
    choose(page, checks.first, right)
    assert status.text_content() == f"Right. {reasons[right]}"
    assert checks.first.locator("details").is_visible(), "now all reasons may be read"
    for check in checks.all()[1:]:
        choose(page, check, int(check.get_attribute("data-answer")))

    page.goto(address)
    progress = page.locator(".progress")
    said = progress.locator("[role=status]").inner_text()
    all_checks = sum(
        text.count('data-kind="check"')
        for text in (
            (SITE / name).read_text(encoding="utf-8") for name in STAGE_PAGES if "stages/" in name
        )
    )
    assert said.startswith(f"1 of 8 read, {number - 1} of {all_checks} right at the first try.")
    row = progress.locator("li", has_text="8. ")
    assert row.inner_text().endswith(f"{number - 1} of {number} right")
    progress.get_by_role("button").click()
    assert progress.locator("[role=status]").inner_text() == "Your answers are erased."
    assert page.evaluate("localStorage.getItem('mnist-steps.progress')") is None
    page.goto(f"{address}stages/08_lr_scheduler/")
    assert status.inner_text() == ""
    assert page.complaints == []
    context.close()


def choose(page, check, place):
    check.get_by_role("radio").nth(place).focus()
    page.keyboard.press("Space")
    check.get_by_role("button").focus()
    page.keyboard.press("Enter")


def test_damaged_answers_are_put_aside_and_new_ones_kept(browser, address):
    context = browser.new_context(service_workers="block")
    page = watch(context.new_page())
    page.goto(address)
    for damaged in ("{", "[1]", "null", '{"a": {"first": "one", "last": 0, "right": true}}'):
        page.evaluate("(text) => localStorage.setItem('mnist-steps.progress', text)", damaged)
        page.reload()
        said = page.locator(".progress [role=status]").inner_text()
        assert "could not be read; it was put aside as mnist-steps.progress.damaged" in said
        assert stored(page, ".damaged") == damaged
    page.goto(f"{address}stages/08_lr_scheduler/")
    choose(page, page.locator('[data-kind="prediction"]'), 0)
    assert stored(page, ".damaged") == damaged
    assert list(json.loads(stored(page)).values())[0]["first"] == 0
    assert page.complaints == []
    context.close()


def stored(page, end=""):
    return page.evaluate("(end) => localStorage.getItem(`mnist-steps.progress${end}`)", end)


def test_without_scripts_questions_stand_there_with_their_answers_in_folds(visit):
    page = visit("stages/08_lr_scheduler/", java_script_enabled=False)
    for question in page.locator(".question").all():
        assert question.locator("> ol > li").count() >= 2
        answer = question.locator("details > :last-child")
        assert not answer.is_visible()
        question.locator("summary").click()
        assert answer.is_visible()


# --- Words that are explained, and figures that are taken away ---------------------------------


def test_a_word_is_explained_by_pointing_by_keyboard_and_without_a_script(visit, address):
    page = visit("stages/08_lr_scheduler/")
    term, bubble = page.locator("a.term").first, page.locator("#term-meaning")
    meaning = term.get_attribute("data-meaning")
    assert not bubble.is_visible()
    term.hover()
    assert bubble.inner_text() == meaning
    page.mouse.move(0, 0)
    bubble.wait_for(state="hidden")
    term.focus()
    assert bubble.is_visible() and term.get_attribute("aria-describedby") == "term-meaning"
    box = bubble.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    page.keyboard.press("Escape")
    assert not bubble.is_visible()
    assert term.evaluate("(one) => one === document.activeElement"), "focus stays on the word"
    plain = visit("stages/08_lr_scheduler/", java_script_enabled=False)
    plain.locator("a.term").first.click()
    assert "/glossary/#" in plain.url


def test_a_word_is_explained_by_a_tap_and_its_entry_opens_by_the_next(visit):
    page = visit("stages/08_lr_scheduler/", viewport={"width": 360, "height": 740}, has_touch=True)
    term, bubble = page.locator("a.term").first, page.locator("#term-meaning")
    term.tap()
    assert bubble.is_visible() and "stages/" in page.url
    box = bubble.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    term.tap()
    page.wait_for_url("**/glossary/#*")


def test_a_figure_is_taken_away_as_a_file(visit):
    page = visit("stages/08_lr_scheduler/")
    links = page.locator("figure.plot .take a:visible")
    with page.expect_download() as download:
        links.first.click()
    assert re.fullmatch(r"08_lr_scheduler-\d+\.svg", download.value.suggested_filename)
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.startswith("<svg") and "MNIST, step by step" in text and "var(" not in text


# --- The index --------------------------------------------------------------------------------


def test_the_first_screen_of_the_index_answers_opens_three_doors_and_lets_draw(visit):
    page = visit(viewport={"width": 1280, "height": 800})
    verdict = study.verdict_of(study.Store().outcomes(stages.get(8)))
    assert f"{verdict.mean:.3f} %" in page.locator(".hero-answer").inner_text()
    assert page.locator(".doors li").count() == 3
    for selector in (".hero-promise", ".hero-answer", ".doors li >> nth=2", "#taste-pad"):
        box = page.locator(selector).bounding_box()
        assert box["y"] + box["height"] <= 800, f"{selector} ends at {box['y'] + box['height']:.0f}"
    assert page.locator("#taste-pad").bounding_box()["width"] >= 300, "room for a hand"


def test_the_ladder_shows_one_view_or_nine_by_keyboard_and_without_a_script(visit):
    for options in ({}, {"java_script_enabled": False}):
        page = visit(**options)
        one, nine = page.locator(".ladder-1"), page.locator(".ladder-9")
        assert one.is_visible() and not nine.is_visible()
        page.locator(".ladder input").first.focus()
        page.keyboard.press("ArrowDown")
        assert nine.is_visible() and not one.is_visible()
        assert "9 views" in nine.locator("svg").first.text_content()
        assert "9 views" not in one.locator("svg").first.text_content()


@pytest.mark.parametrize("where", ["server", "folder"])
def test_a_digit_drawn_on_the_index_is_read(visit, where):
    page = visit("" if where == "server" else (SITE / "index.html").as_uri())
    assert not any(url.endswith("weights.bin") for url in page.requests)
    box = page.locator("#taste-pad").bounding_box()
    for i, (x, y) in enumerate([(54, 18), (52, 40), (49, 62), (47, 82)]):
        page.mouse.move(box["x"] + x / 100 * box["width"], box["y"] + y / 100 * box["height"])
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.getElementById('taste-verdict').textContent.includes('as 1')")
    page.click("#taste-clear")
    assert page.inner_text("#taste-verdict") == "Nothing drawn yet."


# --- Compare ----------------------------------------------------------------------------------


def digits_in(page, number):
    """How many digits the page says are read by the stage of that number alone."""
    summary = page.locator(".compare-digits summary", has_text=f"Stage {number} reads these")
    return int(summary.inner_text().rpartition(": ")[2])


def test_two_stages_are_picked_by_keyboard_compared_and_linked(visit):
    page = visit("compare/?a=3&b=8", wait_for=".compare-result")
    assert page.get_by_label("First stage").input_value() == "3"
    wrong = {n: runs.load(n).predictions.long() != data.mnist().test.labels for n in (3, 4, 8)}
    assert digits_in(page, 8) == int((wrong[3] & ~wrong[8]).sum())
    page.get_by_label("Second stage").focus()
    page.keyboard.type("4")
    assert page.url.endswith("compare/?a=3&b=4")
    assert digits_in(page, 4) == int((wrong[3] & ~wrong[4]).sum())
    assert digits_in(page, 3) == int((wrong[4] & ~wrong[3]).sum())
    lines = page.eval_on_selector_all(
        ".compare .highlight span", "all => all.map((one) => one.textContent)"
    )
    for number, signs in ((3, " -"), (4, " +")):
        kept = "".join(line[2:] for line in lines if line[0] in signs)
        assert kept == inspect.getsource(stages.get(number).model)
    assert page.locator(".is-different th").all_inner_texts() == ["batch size"]
    studied = [number for number in (3, 4) if study.Store().outcomes(stages.get(number))]
    assert page.locator(".compare-curves polyline").count() == 2 + len(studied)
    page.get_by_role("button", name="Swap").click()
    assert page.url.endswith("compare/?a=4&b=3")


def test_the_comparison_opens_on_the_stages_that_differ_by_their_schedule_alone(visit):
    page = visit("compare/", wait_for=".compare-result")
    assert page.get_by_label("First stage").input_value() == "7"
    assert page.get_by_label("Second stage").input_value() == "8"


def test_the_table_of_stages_is_sorted_and_filtered(visit):
    page = visit("compare/", wait_for=".compare-result")
    rows = page.locator(".all-stages tbody tr")
    heading = page.locator(".all-stages th", has=page.get_by_role("button", name="parameters"))
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    counts = [
        int(text.replace(",", "")) for text in rows.locator("td:nth-child(2)").all_inner_texts()
    ]
    assert counts == sorted(counts) and heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    again = [
        int(text.replace(",", "")) for text in rows.locator("td:nth-child(2)").all_inner_texts()
    ]
    assert again == counts[::-1] and heading.get_attribute("aria-sort") == "descending"
    page.get_by_label("Show stages with").fill("pooling")
    shown = [text for text in rows.locator("th").all_inner_texts() if text]
    assert [row.is_visible() for row in rows.all()].count(True) == 1
    assert any("Global average pooling" in text for text in shown)


def test_without_scripts_the_stages_stand_in_a_table_with_links_to_what_each_changes(visit):
    page = visit("compare/", java_script_enabled=False)
    assert page.locator(".all-stages tbody th a").count() >= 8
    links = page.locator(".compare a")
    assert links.first.is_visible() and "stages/" in links.first.get_attribute("href")


def test_stages_are_compared_from_a_folder(visit):
    page = visit((SITE / "compare" / "index.html").as_uri(), wait_for=".compare-result")
    page.get_by_label("First stage").select_option("1")
    assert "class SetupNet" in page.locator(".compare .highlight").inner_text()


# --- Without a network, and on paper -------------------------------------------------------------


def test_after_one_visit_the_site_works_without_a_network(browser, tmp_path):
    with online(tmp_path) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.wait_for_function("navigator.serviceWorker.controller")
    watch(page)  # the server is gone
    for name in ("stages/08_lr_scheduler/", "playground/", "compare/?a=3&b=8"):
        page.goto(address + name)
    page.wait_for_selector(".compare-result")
    page.goto(address + "playground/")
    page.wait_for_selector("#pg-layers canvas")
    found = search(page, "schedule")
    assert any("08_lr_scheduler" in link for link in found)
    assert page.complaints == []
    context.close()


def test_a_page_prints_without_what_only_a_screen_needs(visit):
    page = visit("stages/08_lr_scheduler/", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    for selector in (".md-header", ".md-sidebar", ".page-buttons", ".md-footer"):
        assert not any(one.is_visible() for one in page.locator(selector).all()), selector
    paper, ink = page.evaluate(
        """() => [document.body, document.querySelector("h1")].map((one, i) =>
          getComputedStyle(one)[i ? "color" : "backgroundColor"].match(/[\\d.]+/g).map(Number))"""
    )
    assert min(paper[:3]) > 240 or paper[3:] == [0]
    assert max(ink[:3]) < 100
