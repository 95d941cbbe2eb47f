"""What turns the project's pages into a site; `site_hooks.py` is where MkDocs calls it."""
