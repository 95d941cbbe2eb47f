"""What turns the project's pages into a site; `site_tools/hooks.py` is where MkDocs calls it."""
