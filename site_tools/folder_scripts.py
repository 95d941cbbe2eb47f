"""For pages opened from a folder: each set of modules that reads no files, as one script."""

import posixpath
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import packing

ENTRIES = ("javascripts/explorer/explorer.js", "javascripts/compare/compare.js")

# Moving figures lie in one folder: a page needs some of them, each by its name.
FIGURES = "javascripts/figures"
MOUNTS = 'mount("'  # what a module of that folder does with its own name when it is a figure


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add folder.js beside each module that a page starts, and a script for each figure."""
    for entry in ENTRIES:
        packed = packing.pack(Path(config.docs_dir, entry))
        address = f"{posixpath.dirname(entry)}/folder.js"
        files.append(File.generated(config, address, content=packed))
    for figure in figures(Path(config.docs_dir)):
        address = f"{FIGURES}/{figure.stem}.folder.js"
        files.append(File.generated(config, address, content=packing.pack(figure)))
    return files


def figures(docs: Path) -> list[Path]:
    """The modules that put a figure into its places; the others of their folder help them."""
    modules = sorted((docs / FIGURES).glob("*.js"))
    return [one for one in modules if f'\n{MOUNTS}{one.stem}"' in one.read_text(encoding="utf-8")]
