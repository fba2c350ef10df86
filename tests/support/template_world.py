"""Support for tests of templates: the folders of an application on disk, and two sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mako.lookup import TemplateLookup

from multisite.core.site import Site
from multisite.templates import SiteTemplates

GARDEN = Site(1, "garden.example", "Garden", "garden")
KITCHEN = Site(2, "kitchen.example", "Kitchen", "kitchen")


class World:
    """The folders of an application on disk: `sites/<folder>/`, `templates/`, and files outside of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("sites/garden", "sites/kitchen", "templates", "outside"):
            (root / folder).mkdir(parents=True)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def templates(self, **options: Any) -> SiteTemplates:
        return SiteTemplates(self.root / "sites", self.root / "templates", **options)

    def plain_lookup(self, site: Site, **options: Any) -> TemplateLookup:
        """Return the lookup of an application without multisite: Mako's own, with the same two folders."""
        folders = [str(self.root / "sites" / site.folder), str(self.root / "templates")]
        return TemplateLookup(folders, default_filters=["h"], **options)


def render(templates: SiteTemplates, site: Site | None, name: str = "page.mako", **values: Any) -> str:
    page: str = templates.lookup(site).get_template(name).render_unicode(**values)
    return page.strip()


class Counter:
    """A preprocessor for Mako that counts compilations."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str) -> str:
        self.count += 1
        return text
