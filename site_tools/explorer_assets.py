"""The receptive-field explorer's script for a guide that was opened from a folder."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import packing

SCRIPTS = "javascripts/explorer"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add folder.js with the explorer's modules."""
    packed = packing.pack(Path(config.docs_dir, SCRIPTS, "explorer.js"))
    files.append(File.generated(config, f"{SCRIPTS}/folder.js", content=packed))
    return files
