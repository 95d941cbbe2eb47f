"""The site without a network: a service worker with the list of what it keeps.

It keeps what a reader may open, a few megabytes: pages and what they load. Notebooks and figures as
files are downloads; folder.js and the search index as a script are for pages opened from a folder.
"""

import hashlib
import json
from pathlib import Path

WORKER = "offline.js"
TEMPLATE = Path(__file__).parent / WORKER
LEFT_OUT = (".ipynb", ".py", ".map", ".gz", "/folder.js", "search_index.js", WORKER)


def write_worker(site: Path) -> None:
    """Write the worker into the root of a built site. All else must be there already."""
    digest = hashlib.sha256()
    addresses = []
    for file in sorted(site.rglob("*")):
        name = file.relative_to(site).as_posix()
        if file.is_dir() or name.endswith(LEFT_OUT) or file.parent.name == "figures":
            continue
        digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
        # A page's address is its folder; "./" is the index.
        addresses.append(name.removesuffix("index.html") or "./")
    text = TEMPLATE.read_text(encoding="utf-8")
    digest.update(text.encode())
    text = text.replace("__VERSION__", f"mnist-steps-{digest.hexdigest()[:16]}")
    listed = json.dumps(addresses).replace("\\", "\\\\").replace("'", "\\'")
    (site / WORKER).write_text(text.replace("__FILES__", listed), encoding="utf-8")
