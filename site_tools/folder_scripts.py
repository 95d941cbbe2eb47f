"""For pages opened from a folder: each set of modules that reads no files, as one script."""

import posixpath
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import packing

ENTRIES = ("javascripts/explorer/explorer.js", "javascripts/compare/compare.js")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add folder.js beside each module that a page starts."""
    for entry in ENTRIES:
        packed = packing.pack(Path(config.docs_dir, entry))
        address = f"{posixpath.dirname(entry)}/folder.js"
        files.append(File.generated(config, address, content=packed))
    return files
