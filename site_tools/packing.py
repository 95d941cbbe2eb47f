"""JavaScript modules as one classic script, for pages that were opened from a folder.

A page from a folder (file://) may neither import modules nor fetch files; what it may do is run a
classic script. Each module becomes a function that is called once and returns its exports; the
files that modules read come along as text.
"""

import json
import os
import re
from pathlib import Path

IMPORT = re.compile(r'^import (\{[^}]*\}|\* as \w+) from "(\.\.?/[\w./-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const|let) (\w+))", re.MULTILINE)


def pack(entry: Path, files: dict[str, str] | None = None) -> str:
    """A module with all that it imports, and files by address; a module's name begins each name.

    entry: the module to start, such as playground.js
    files: what the modules read, see files.js of the playground
    """
    prefix = entry.stem
    parts = ["// Made by the site's build from its modules, for pages opened from a folder."]
    if files is not None:
        parts.append(f"globalThis.packedFiles = {json.dumps(files)};")
    parts.append(f"const {prefix}Modules = {{}};")

    for module in _in_order_of_import(entry, []):
        code = module.read_text(encoding="utf-8")
        exports = ", ".join(found[2] for found in EXPORT.finditer(code))
        code = EXPORT.sub(r"\1", code)

        def imported(found: re.Match[str], module: Path = module) -> str:
            name = _name(_target(module, found[2]), entry)
            return f'const {found[1].removeprefix("* as ")} = {prefix}Modules["{name}"];'

        code = IMPORT.sub(imported, code)
        parts.append(
            f'{prefix}Modules["{_name(module, entry)}"] = (() => {{\n{code}\n'
            f"return {{ {exports} }};\n}})();"
        )
    return "\n".join(parts) + "\n"


def _in_order_of_import(module: Path, found: list[Path]) -> list[Path]:
    """A module after all that it imports."""
    for imported in IMPORT.finditer(module.read_text(encoding="utf-8")):
        target = _target(module, imported[2])
        if target not in found:
            _in_order_of_import(target, found)
    found.append(module)
    return found


def _target(module: Path, address: str) -> Path:
    return Path(os.path.normpath(module.parent / address))


def _name(module: Path, entry: Path) -> str:
    return Path(os.path.relpath(module, entry.parent)).as_posix()
