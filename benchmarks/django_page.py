"""The page in Django, whose sites are found by django-multisite2 and limited by Django's CurrentSiteManager.

    python -m benchmarks.django_page FOLDER

prepares the database of `benchmarks.pieces` in FOLDER for it. The package of django-multisite2 is called `multisite` as
well, so nothing here may import the other one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.page import ENTRIES, TEMPLATES, host_of

__all__ = ["main", "prepare"]

DATABASE = "django.db"


def _configure(folder: Path) -> None:
    import django
    from django.conf import settings

    from multisite import SiteID

    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="0f" * 32,
        SITE_ID=SiteID(default=1),
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sites", "multisite"],
        MIDDLEWARE=["multisite.middleware.DynamicSiteMiddleware"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / DATABASE),
                "ATOMIC_REQUESTS": True,
                "CONN_MAX_AGE": None,
            }
        },
        # The layout is also valid Jinja, which Flask renders.
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [str(TEMPLATES / "django"), str(TEMPLATES / "jinja")],
            }
        ],
        ROOT_URLCONF="benchmarks.django_page",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=False,
    )
    django.setup()


def prepare(folder: Path) -> None:
    """Copy the database and add Django's tables, with one site."""
    shutil.copy(folder / "bench.db", folder / DATABASE)
    _configure(folder)
    from django.contrib.sites.models import Site
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    # The signals of django-multisite2 add the alias by which it finds the site.
    Site.objects.update_or_create(pk=1, defaults={"domain": host_of(1), "name": "Bench"})


def main(folder: Path) -> Any:
    """Return the application. Only once in a process."""
    _configure(folder)
    from django.contrib.sites.managers import CurrentSiteManager
    from django.contrib.sites.models import Site
    from django.core.handlers.wsgi import WSGIHandler
    from django.db import models
    from django.shortcuts import render
    from django.urls import path

    class Entry(models.Model):  # type: ignore[misc]  # Django has no types.
        slug = models.CharField(max_length=100)
        title = models.CharField(max_length=200)
        summary = models.TextField()
        published = models.DateTimeField()
        site = models.ForeignKey(Site, models.CASCADE)
        on_site = CurrentSiteManager()

        class Meta:
            app_label = "benchmarks"
            db_table = "entries"
            managed = False

    def home(request: Any) -> Any:
        return render(request, "home.html", {"entries": Entry.on_site.order_by("-published")[:ENTRIES]})

    globals()["urlpatterns"] = [path("", home)]
    return WSGIHandler()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.prefix, "peers")))
    prepare(Path(sys.argv[1]))
