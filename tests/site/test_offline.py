"""The service worker: what it keeps is today's, and it is there when the network is not."""

import pytest
from browser import Handler, served

from site_tools import offline


class Remembering(Handler):
    """As servers of static sites are: a browser may keep what it gets, for an hour."""

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()


REGISTER = (
    "navigator.serviceWorker.register('/offline.js').then(() => navigator.serviceWorker.ready)"
)


def write(site, text):
    for folder in ("", "about/"):
        (site / folder).mkdir(exist_ok=True)
        (site / folder / "index.html").write_text(f"<title>t</title><p>{text}</p>")
    offline.write_worker(site)


@pytest.fixture
def context(browser):
    context = browser.new_context()
    yield context
    context.close()


def settled(page):
    """Wait until the newest worker answers for the page, and no older one's files are left."""
    page.evaluate(f"{REGISTER}.then((registration) => registration.update())")
    page.wait_for_function(
        """() => navigator.serviceWorker.getRegistration().then((registration) =>
          registration.active && !registration.installing && !registration.waiting)"""
    )
    page.wait_for_function("() => caches.keys().then((names) => names.length === 1)")


def test_after_a_rebuild_no_page_of_yesterday_is_kept(context, tmp_path):
    write(tmp_path, "yesterday")
    page = context.new_page()
    with served(tmp_path, Remembering) as address:
        page.goto(address + "about/")  # into the browser's own cache too, for an hour
        page.goto(address)
        settled(page)
        first = page.evaluate("() => caches.keys()")
        write(tmp_path, "today")
        settled(page)
        page.wait_for_function(f"() => caches.keys().then(([name]) => name !== {first[0]!r})")
        settled(page)
    # Without a server: what was kept answers, unless the browser's own cache does.
    kept = page.evaluate(
        """() => caches.keys()
          .then(([name]) => caches.open(name))
          .then((cache) => Promise.all(["./", "about/"].map((file) => cache.match(file))))
          .then((answers) => Promise.all(answers.map((answer) => answer.text())))"""
    )
    assert all("today" in text for text in kept)
