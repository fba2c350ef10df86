"""Render the templates of the console with Mako: they are the package's own, and no site can replace them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mako.lookup import TemplateLookup

__all__ = ["TemplateRenderers"]

FOLDER = Path(__file__).parent / "templates"


class TemplateRenderers:
    """A renderer factory for names of templates in the folder `templates` of the console."""

    def __init__(self) -> None:
        # Undefined names are errors, instead of texts in a page.
        self._lookup = TemplateLookup([str(FOLDER)], default_filters=["h"], strict_undefined=True)

    def __call__(self, info: Any) -> Any:
        """Return the renderer of the template `info.name`."""
        template = self._lookup.get_template(info.name)

        def render(value: dict[str, Any], _system: dict[str, Any]) -> str:
            text: str = template.render_unicode(**value)
            return text

        return render
