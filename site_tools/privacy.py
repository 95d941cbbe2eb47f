"""What a built page may load, told to the browser: a Content-Security-Policy in every page.

The check of the site finds addresses that lead outside; the policy forbids them to whatever a
script might do later. Scripts come from the site's own files. The theme has a few inside its
pages, the same few everywhere: they are allowed one by one, by their digests. Styles may stand
inside pages, for figures carry theirs in every line of their SVG.
"""

import base64
import hashlib
import re
from pathlib import Path

SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
START = re.compile(r'<meta charset="utf-8">')

RULES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


def policy_of(page: str) -> str:
    """The policy under which a page works: the rules, and the digests of its own scripts."""
    digests = sorted({_digest(script) for script in _scripts_inside(page)})
    rules = RULES | {"script-src": " ".join([RULES["script-src"], *digests])}
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


def restricted(page: str) -> str:
    """The page with its policy, before anything that the policy is about."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy_of(page)}">'
    return START.sub(lambda found: f"{found[0]}\n      {meta}", page, count=1)


def restrict(site: Path) -> None:
    """Give each page of a built site its policy."""
    for file in site.rglob("*.html"):
        file.write_text(restricted(file.read_text(encoding="utf-8")), encoding="utf-8")


def _scripts_inside(page: str) -> list[str]:
    """Of those that run: neither a script's address nor data in a script's clothes."""
    return [
        content
        for attributes, content in SCRIPT.findall(page)
        if "src=" not in attributes and "application/json" not in attributes
    ]


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
