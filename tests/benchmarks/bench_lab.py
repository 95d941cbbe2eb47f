"""The Lab in Chromium: stage 11 from the click to the trained network, with five seeds.

Run it from the repository's root, on a machine that does nothing else, with what tests need:

    PYTHONPATH=tests/helpers python tests/benchmarks/bench_lab.py [FILE.json]

The digits are fetched once before, as a reader has them from the second training on; then each
seed begins on a page that was loaded anew. Seconds are the page's own, from the click until it says
that the training is finished, the judgements on the validation images included. Each network is
judged on the test images, by one view and by nine. Memory is the most that all of the browser's
processes had together, what they share counted once (Linux's proportional set size).
"""

import json
import re
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import torch
from browser import CHROMIUM, QUIET, served
from lab_page import STAGE_11, write_page
from playwright.sync_api import sync_playwright

from mnist_steps import data, training

SEEDS = 5
ENOUGH = 600_000  # ms

CLICK = """() => {
  const start = performance.now();
  globalThis.seconds = new Promise((done) => {
    const spoken = document.querySelector(".lt-unseen");
    new MutationObserver(() => {
      if (spoken.textContent.includes("finished")) done((performance.now() - start) / 1000);
    }).observe(spoken, { childList: true, characterData: true, subtree: true });
  });
  document.querySelector(".lt-buttons button").click();
}"""
TRAINS = "() => /loss/.test(document.querySelector('.lt-figures').textContent)"
KEPT = "JSON.parse(localStorage['mnist-steps-lab-network']).run"


class Memory(threading.Thread):
    """Looks at this process's children twice a second; `most` is in megabytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.done = 0.0, threading.Event()

    def run(self):
        while not self.done.wait(0.5):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    if "chrom" in child.name():
                        total += child.memory_full_info().pss
                except psutil.Error:
                    pass  # it has just ended
            self.most = max(self.most, total / 1e6)


def train(page):
    """Train the next seed on a page that was loaded anew; what came of it."""
    page.reload()
    page.wait_for_selector(".lt-buttons button")
    page.wait_for_timeout(3000)  # the time of the design is measured
    estimated = re.search(r"about (.+?) on this device", page.inner_text("#train"))
    page.evaluate(CLICK)
    seconds = page.evaluate("seconds")
    page.get_by_role("button", name="Open the test set").click()
    page.wait_for_function(f"() => {KEPT}.test", timeout=ENOUGH)
    run = page.evaluate(KEPT)

    def percent(judged):
        return round(100 * judged["right"] / judged["images"], 2)

    return {
        "seed": run["seed"],
        "seconds": round(seconds, 1),
        "estimated": estimated and estimated[1],
        **{
            f"{where}_{name}": percent(judged[way])
            for where, judged in (("validation", run["epochs"][-1]), ("test", run["test"]))
            for name, way in (("one_view", "oneView"), ("nine_views", "nineViews"))
        },
    }


def main():
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    memory = Memory()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_page(folder)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        with served(folder) as address:
            page = browser.new_context().new_page()
            page.set_default_timeout(ENOUGH)
            page.goto(f"{address}#{STAGE_11}")
            page.get_by_role("button", name="Train").click()  # the digits come, and are kept
            page.wait_for_function(
                "() => /loss/.test(document.querySelector('.lt-figures').textContent)"
            )
            page.get_by_role("button", name="Stop").click()
            memory.start()
            rows = []
            for _ in range(SEEDS):
                rows.append(train(page))
                print(rows[-1], file=sys.stderr)
        memory.done.set()
        version = browser.version
        browser.close()
    machine = training.describe_environment(torch.device("cpu"), ())
    found = {
        "rows": rows,
        "most_seconds": max(row["seconds"] for row in rows),
        "mean_test_nine_views": round(statistics.fmean(row["test_nine_views"] for row in rows), 3),
        "mean_test_one_view": round(statistics.fmean(row["test_one_view"] for row in rows), 3),
        "most_megabytes": round(memory.most),
        "chromium": version,
        **{name: getattr(machine, name) for name in ("date", "processor")},
    }
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if target is not None:
        data.write_atomically(target, text.encode())


if __name__ == "__main__":
    main()
