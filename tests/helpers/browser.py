"""A real browser for tests of pages, and a server: fixtures that conftest.py takes over.

They need Chromium (CHROMIUM names another one) and playwright. Its shell without windows is taken
where there is one: for every context Chromium opens a whole window, with all that is around a page.
Where one of them is missing the tests that use them fail under CI; elsewhere they are skipped, and
one line at the end says why.
"""

import contextlib
import functools
import gzip
import http.server
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

INSTALLED = ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(os.path.exists, INSTALLED), INSTALLED[-1])
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
MISSING = "no browser to test in"


def missing(what):
    """Fail under CI, skip elsewhere: what is missing there was forgotten, not left out."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).is_file():
        missing(f"{MISSING}: {CHROMIUM} does not exist (set CHROMIUM to another)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        missing(f"{MISSING}: {error}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def pytest_terminal_summary(terminalreporter):
    skipped = [
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and MISSING in report.longrepr[2]
    ]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests were skipped: {skipped[0]}", yellow=True)


# --- What keeps people out of a page --------------------------------------------------------------

# In the dark nothing but colours differs.
ABOUT_COLOURS = ["color-contrast", "link-in-text-block"]
RUN_AXE = """async ([within, rules]) =>
  (await axe.run(within ?? document, {
    resultTypes: ["violations"], preload: false, ...(rules && { runOnly: rules }) }))
  .violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id} (${help}): ${node.html.slice(0, 200)} ${node.target}`))"""


def barriers(page, within=None, dark=False):
    """What axe-core finds, in words. within: a selector; dark: by the rules about colours alone"""
    try:
        import axe_playwright_python
    except ImportError as error:
        missing(f"{MISSING}: {error}")
    if not page.evaluate("'axe' in globalThis"):  # its own policy would refuse it as a script
        file = Path(axe_playwright_python.__file__).with_name("axe.min.js")
        page.evaluate(file.read_text(encoding="utf-8"))
    return page.evaluate(RUN_AXE, [within, ABOUT_COLOURS if dark else None])


# --- A server -----------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, compressed as servers of static sites compress them."""

    protocol_version = "HTTP/1.1"
    COMPRESSED = (".html", ".css", ".js", ".json", ".svg", ".xml")

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802, the base class names it
        file = Path(self.translate_path(self.path))
        file = file / "index.html" if file.is_dir() and self.path_ends_in_folder() else file
        if not (file.is_file() and file.name.endswith(self.COMPRESSED)):
            return super().do_GET()
        content = compressed(file, file.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(file)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def path_ends_in_folder(self):
        return urlsplit(self.path).path.endswith("/")


@functools.cache
def compressed(file, _changed):
    return gzip.compress(file.read_bytes(), compresslevel=6)


@contextlib.contextmanager
def served(folder, handler=Handler):
    """The folder on a server of this machine; gives its address, which ends in a slash."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def address(site):
    """Of the module's own `site`, a folder."""
    with served(site) as address:
        yield address


# --- A page that is watched -----------------------------------------------------------------------


def watch(page):
    """Let a page keep what it asks for, in `requests`, and what goes wrong, in `complaints`."""
    page.requests, page.complaints = [], []
    complain = page.complaints.append

    def judge(answer):
        if answer.status >= 400:
            complain(f"{answer.status}: {answer.url}")

    page.on("request", lambda request: page.requests.append(request.url))
    page.on("response", judge)
    page.on("requestfailed", lambda request: page.complaints.extend(failure(request)))
    page.on("console", lambda message: page.complaints.extend(said(message)))
    page.on("pageerror", lambda error: complain(str(error)))
    return page


def said(message):
    """Contexts of tests refuse the worker that keeps the site for offline; that is no failure."""
    refused = "Service Worker registration blocked by Playwright"
    return [] if message.text == refused else [f"{message.type}: {message.text}"]


def failure(request):
    """Leaving a page breaks off what it still asks for; that is no failure."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"failed: {request.url}"]


def outside(page, origin):
    """What was asked for elsewhere. A folder's pages may ask for files."""
    return [url for url in page.requests if not url.startswith((origin, "data:", "blob:"))]


def transferred(page):
    """Bytes that the page's first visit took, compressed as they came, once all is there.

    The theme's search fetches its index last.
    """
    page.wait_for_function(
        """() => performance.getEntriesByType("resource").some(
          ({ name, encodedBodySize }) => encodedBodySize && name.endsWith("search_index.json"))"""
    )
    page.wait_for_load_state("networkidle")
    return page.evaluate(
        """() => ["navigation", "resource"]
          .flatMap((kind) => performance.getEntriesByType(kind))
          .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    )


@pytest.fixture
def visit(browser, address):
    """Open a page in a context of its own; at the end it must have been quiet and private.

    visit(to, wait_for=selector, before=script that runs before the page's own, **options of the
    context)
    """
    with visits(browser, address) as open_page:
        yield open_page


@contextlib.contextmanager
def visits(browser, address):
    """As the fixture, for pages that several tests look at."""
    opened = []
    with contextlib.ExitStack() as stack:

        def open_page(to="", wait_for=None, before=None, **options):
            settings = {"viewport": {"width": 1280, "height": 1000}, "reduced_motion": "reduce",
                        "service_workers": "block"}  # fmt: skip
            context = browser.new_context(**settings | options)
            stack.callback(context.close)
            if before:
                context.add_init_script(before)
            page = watch(context.new_page())
            to = to if to.startswith("file:") else address + to
            page.goto(to)
            opened.append((page, "file:" if to.startswith("file:") else address))
            if wait_for:
                page.wait_for_selector(wait_for)
            return page

        yield open_page
        for page, origin in opened:
            assert page.complaints == []
            assert outside(page, origin) == []
