"""The package's docstrings as Markdown, for the reference.

They are written for a reader of the source: a line such as `images: float tensor (N, 1, H, W)`
says what a parameter or a field is, one that begins with Raises says what goes wrong. On a page the
former becomes an item of a list, the latter a paragraph. Read by mkdocstrings from the source: the
package is not imported.
"""

import re
from typing import Any

import griffe

FIELD = re.compile(r"^([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): (.*)$")
INDENTED = re.compile(r"^(?: {4}|\t)")


def as_markdown(docstring: str) -> str:
    """Lists for what names fields, a paragraph for Raises and Returns; all else as it is."""
    lines: list[str] = []
    in_field = False
    for line in docstring.splitlines():
        found = FIELD.match(line)
        if found:
            names = ", ".join(f"`{name}`" for name in found[1].split(", "))
            if not in_field:
                lines.append("")
            lines.append(f"- {names}: {found[2]}")
        elif in_field and INDENTED.match(line):
            lines.append(line)
        else:
            ends_a_list = in_field and line
            if lines and (ends_a_list or line.startswith(("Raises ", "Returns "))):
                lines.append("")
            lines.append(line)
        in_field = bool(found) or (in_field and bool(INDENTED.match(line)))
    return "\n".join(lines).strip()


class Docstrings(griffe.Extension):
    """Rewrites every docstring when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
