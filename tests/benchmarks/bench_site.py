"""How soon the built site's pages show: first visits in Chromium, at a simulated 4G.

    python tests/benchmarks/bench_site.py [SITE] [--runs 3]

Prints, for every page, the kilobytes that a first visit transfers (compressed, shared files
included), the largest contentful paint and the layout shift, the median of the runs each, and the
machine's load, without which times say little.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from browser import CHROMIUM, QUIET, served, transferred  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

# Chromium's own "Fast 4G": milliseconds, and bytes a second.
FAST_4G = {"offline": False, "latency": 60, "downloadThroughput": 9_000_000 / 8,
           "uploadThroughput": 1_500_000 / 8}  # fmt: skip

OBSERVE = """globalThis.seen = { paint: 0, shift: 0 };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) seen.paint = entry.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


def first_visit(browser, address):
    """Kilobytes, milliseconds to the largest paint, and layout shift, with empty caches."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, service_workers="block")
    context.add_init_script(OBSERVE)
    page = context.new_page()
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", FAST_4G)
    page.goto(address, wait_until="load")
    kilobytes = transferred(page) / 1024
    page.wait_for_function("seen.paint > 0")
    seen = page.evaluate("seen")
    context.close()
    return kilobytes, seen["paint"], seen["shift"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", nargs="?", type=Path, default=Path("site"))
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    pages = sorted(file.relative_to(given.site).as_posix() for file in given.site.rglob("*.html"))
    if "index.html" not in pages:
        parser.error(f"{given.site} is no built site: build one with `make site`")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {given.runs} runs a page")
    print(f"{'page':40} {'KB':>6} {'paint, ms':>10} {'shift':>6}")
    with served(given.site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for name in pages:
            visits = [
                first_visit(browser, address + name.removesuffix("index.html"))
                for _ in range(given.runs)
            ]
            size, paint, shift = (statistics.median(column) for column in zip(*visits, strict=True))
            print(f"{name:40} {size:6.0f} {paint:10.0f} {shift:6.3f}", flush=True)
        browser.close()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
