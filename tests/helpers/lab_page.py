"""A page with the Lab's training alone: for tests of it in a browser, and to measure it there."""

import shutil
from pathlib import Path

from site_tools import engine_assets, made, privacy, training_assets

DOCS = made.ROOT / "docs"

# The design is on the page what a test says; `design(fragment)` makes it another.
SCRIPT = """
import { read } from "../javascripts/lab/fragment.js";
import { mount } from "../javascripts/lab/training_panel.js";
const callbacks = [];
let now = read(location.hash, []).design;
const [train, after] = ["train", "after"].map((id) => document.getElementById(id));
const panel = mount(train, after, {
  design: () => now,
  onChange: (callback) => callbacks.push(callback),
});
globalThis.trained = panel.trained;
globalThis.design = (fragment) => {
  now = read(fragment, []).design;
  for (const callback of callbacks) callback();
};
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="stylesheets/extra.css">
<link rel="stylesheet" href="stylesheets/playground.css">
<link rel="stylesheet" href="stylesheets/lab_training.css"></head>
<body class="md-typeset" data-md-color-scheme="default" style="
 --md-default-bg-color: #fff; --md-default-fg-color: #222; font: 20px/1.5 sans-serif; margin: 1rem">
<main><h1>The Lab</h1><h2>Train</h2><section id="train" aria-label="Training"></section>
<h2>Then</h2><section id="after" aria-label="Your network"></section></main>
<script type="module" src="javascripts/lab/page.js"></script></body></html>
"""

SMALL = "lab=1&net=c10k5s4.n.r.c10k3.n.g&batch=128&epochs=2&schedule=one-cycle&peak=0.2"
STAGE_11 = (
    "lab=1&net=c24k4s3.n.r.c16k3.n.r.c16k3.n.r.c10k3.n.r.g&epochs=6&batch=128&schedule=one-cycle"
    "&peak=0.3&rotate=7&shift=0.84&views=1"
)


def write_page(folder: Path) -> None:
    """The scripts, the engine, the digits and the records, on a page with the site's policy."""
    for name in ("javascripts", "stylesheets"):
        shutil.copytree(DOCS / name, folder / name)
    shutil.copy(engine_assets.WASM, folder / engine_assets.ADDRESS)
    digits = folder / training_assets.DIGITS
    training_assets.write_data(digits)
    for path in (made.ROOT / "mnist_steps" / "mnist").glob("*.gz"):
        shutil.copy(path, digits)
    records = folder / training_assets.RECORDS
    records.parent.mkdir(parents=True)
    (digits / records.name).rename(records)
    script = SCRIPT.replace("../javascripts/lab/", "./")
    (folder / "javascripts" / "lab" / "page.js").write_text(script, encoding="utf-8")
    (folder / "index.html").write_text(privacy.restricted(PAGE), encoding="utf-8")
