"""The service worker: what it keeps is today's, and it is there when the network is not."""

import re

import pytest
from browser import Handler, served
from processes import wait_until

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


def version(page):
    """The name of the only kept copy; None while there is none yet, or still another."""
    names = page.evaluate("() => caches.keys()")
    return names[0] if len(names) == 1 else None


def kept(page):
    """The texts of what is kept, whoever would answer for it otherwise."""
    return page.evaluate(
        """() => caches.keys()
          .then(([name]) => caches.open(name))
          .then((cache) => Promise.all(["./", "about/"].map((file) => cache.match(file))))
          .then((answers) => Promise.all(answers.map((answer) => answer.text())))"""
    )


def test_after_a_rebuild_no_page_of_yesterday_is_kept(context, tmp_path):
    write(tmp_path, "yesterday")
    page = context.new_page()
    with served(tmp_path, Remembering) as address:
        page.goto(address + "about/")  # into the browser's own cache too, for an hour
        page.goto(address)
        page.evaluate(f"{REGISTER}.then(() => true)")
        wait_until(lambda: version(page), seconds=30)
        first = version(page)
        assert all("yesterday" in text for text in kept(page))
        write(tmp_path, "today")
        page.evaluate(f"{REGISTER}.then((registration) => registration.update()).then(() => true)")
        wait_until(lambda: version(page) not in (None, first), seconds=30)
        assert [re.sub("<.*?>", "", text) for text in kept(page)] == ["ttoday", "ttoday"]
