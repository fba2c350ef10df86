"""How Sphinx builds these pages: `python3 dev.py docs`."""

from importlib.metadata import version as installed_version

project = "multisite"
author = "the multisite authors"
release = version = installed_version("pyramid-multisite")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

# The highlighters do not know every fence: `console` is a shell session, `pycon` a Python session.
highlight_language = "text"

html_theme = "furo"
html_title = "multisite"
