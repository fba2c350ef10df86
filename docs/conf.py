"""How Sphinx builds these pages: `python3 dev.py docs`."""

from importlib.metadata import version as installed_version

project = "multisite"
author = "the multisite authors"
release = version = installed_version("pyramid-multisite")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"  # Docstrings write `name` as Markdown does.

# The highlighters do not know every fence: `console` is a shell session, `pycon` a Python session.
highlight_language = "text"

html_theme = "furo"
html_title = "multisite"


def setup(app):
    """Show CSV files as plain text: Pygments has no lexer for them."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("csv", TextLexer)
