"""Every page of a built site in a real browser: both themes, a phone's width and a desk's.

MNIST_STEPS_SITE=site names the built site; without it there is nothing to look at and the tests
are skipped. They need Chromium, playwright and axe-core, which comes with axe-playwright-python;
without these they are skipped, and under CI they fail. Screenshots are kept in .cache/screenshots.
"""

import functools
import http.server
import os
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
SCREENSHOTS = ROOT / ".cache" / "screenshots"
WIDTHS = (1280, 400)
THEMES = {"light": "default", "dark": "slate"}

if "MNIST_STEPS_SITE" not in os.environ:
    pytest.skip(
        "no site to look at: build one, then set MNIST_STEPS_SITE=site", allow_module_level=True
    )
SITE = Path(os.environ["MNIST_STEPS_SITE"]).resolve()
PAGES = sorted(file.relative_to(SITE).as_posix() for file in SITE.rglob("*.html"))
assert "index.html" in PAGES, f"{SITE} is no built site"

try:
    import axe_playwright_python
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).is_file():
        raise FileNotFoundError(f"{CHROMIUM} does not exist (set CHROMIUM to another)")
except (ImportError, FileNotFoundError) as missing:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip(f"no browser to test in: {missing}", allow_module_level=True)

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] }))
  .violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id} (${help}): ${node.html.slice(0, 160)} ${node.target}`))"""
OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll("main *")]
    .filter((one) => one.getBoundingClientRect().right > width + 1)
    .slice(0, 5).map((one) => `${one.tagName}.${one.className}`);
}"""


# --- A server, a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def address():
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(SITE))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def contexts(browser):
    contexts = {
        theme: browser.new_context(color_scheme=theme, reduced_motion="reduce") for theme in THEMES
    }
    yield contexts
    for context in contexts.values():
        context.close()


def watched(context):
    """A page that keeps what it asks for and complains about."""
    page = context.new_page()
    page.requests, page.complaints = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on(
        "response",
        lambda answer: (
            page.complaints.append(f"{answer.status}: {answer.url}")
            if answer.status >= 400
            else None
        ),
    )
    page.on("requestfailed", lambda request: page.complaints.extend(failure(request)))
    page.on("console", lambda message: page.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    return page


def failure(request):
    """Leaving a page breaks off what it still asks for; that is no failure."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"failed: {request.url}"]


def outside(page, origin):
    return [url for url in page.requests if not url.startswith((origin, "data:", "blob:"))]


# --- Every page -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme", THEMES)
def test_a_page_is_quiet_private_accessible_and_fits(contexts, address, theme, name):
    page = watched(contexts[theme])
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(address + name.removesuffix("index.html"), wait_until="load")
    assert page.get_attribute("body", "data-md-color-scheme") == THEMES[theme]
    page.evaluate(AXE)  # the page's own policy would refuse it as a script
    problems = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)  # the theme makes what now scrolls reachable by keyboard
        keep(page, name, theme, width)
        problems += [f"axe at {width} px: {found}" for found in page.evaluate(RUN_AXE)]
        problems += [f"too wide at {width} px: {found}" for found in page.evaluate(OVERFLOWING)]
    problems += [f"dead link: {link}" for link in dead_links(page)]
    problems += [f"asked for {url}" for url in outside(page, address)]
    problems += page.complaints
    page.close()
    assert not problems, "\n".join([f"{name}, {theme}:", *dict.fromkeys(problems)])


def keep(page, name, theme, width):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    stem = name.removesuffix("/index.html").removesuffix(".html").replace("/", "-")
    page.screenshot(path=SCREENSHOTS / f"{stem}-{theme}-{width}.png", full_page=True)


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
        file = SITE / unquote(parts.path).lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        known = file.is_file() and (
            not parts.fragment or file.suffix != ".html" or unquote(parts.fragment) in anchors(file)
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


def test_search_finds_each_stage_by_its_title(contexts, address):
    page = watched(contexts["light"])
    page.goto(address)
    stages = sorted(name.split("/")[1] for name in PAGES if name.startswith("stages/"))
    for stage in stages:
        page.goto(f"{address}stages/{stage}/")
        title = page.evaluate("document.querySelector('h1').firstChild.textContent").strip()
        words = title.partition(". ")[2] or title
        page.goto(address)
        found = search(page, words)
        assert any(f"stages/{stage}/" in link for link in found), f"{words!r} finds {found}"
    assert not page.complaints
    page.close()


def test_from_a_folder_pages_are_quiet_links_lead_to_pages_and_search_finds(contexts):
    page = watched(contexts["light"])
    page.goto((SITE / "index.html").as_uri())
    page.click(".md-content a[href*='get-started']")
    page.wait_for_url("**/get-started/index.html")
    search(page, "schedule")
    page.click(".md-search-result__item a[href*='lr_scheduler']")
    page.wait_for_url("**/08_lr_scheduler/index.html*")
    assert page.title().startswith("8.")
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "about:"))] == []
    page.close()


def test_a_page_refuses_a_script_that_was_not_in_it_when_it_was_built(contexts, address):
    page = contexts["light"].new_page()
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


# --- Predict first --------------------------------------------------------------------------------


def test_a_prediction_is_made_by_keyboard_kept_counted_and_erased(browser, address):
    context = browser.new_context()
    page = watched(context)
    page.goto(f"{address}stages/08_lr_scheduler/")
    question = page.locator(".predict")
    assert not question.locator("details").is_visible(), "the answer hides until one is given"
    page.focus(".predict .md-button")
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
    ladder = page.locator(".predictions")
    assert ladder.locator("[role=status]").inner_text().startswith("1 of 8 predicted, 0 as")
    assert ladder.locator("li", has_text="8. ").inner_text().endswith("a surprise")
    ladder.get_by_role("button").click()
    assert ladder.locator("[role=status]").inner_text() == "Your answers are erased."
    assert page.evaluate("localStorage.getItem('mnist-steps.predictions')") is None
    page.goto(f"{address}stages/08_lr_scheduler/")
    assert question.locator("[role=status]").inner_text() == ""
    assert page.complaints == []
    assert outside(page, address) == []
    context.close()


def test_without_scripts_a_question_stands_there_with_its_answer_in_a_fold(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}stages/08_lr_scheduler/")
    question = page.locator(".predict")
    assert question.locator("li").count() == 3
    answer = question.locator("details p")
    assert not answer.is_visible()
    question.locator("summary").click()
    assert answer.is_visible()
    context.close()
