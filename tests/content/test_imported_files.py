"""Pictures and other files of a blog come along with its texts: into the media of the site, and nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from click.testing import CliRunner
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import fresh_database
from PIL import Image
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content.imports.importing import ImportReport, import_entries
from multisite.content.imports.local_files import blog_folder
from multisite.content.markup.markdown import render
from multisite.content.media import find_uploaded
from multisite.content.models import Entry, Media
from multisite.media import MEDIA_LIBRARY, MediaLibrary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        content_sites(url, tmp_path_factory.mktemp("files")) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def empty(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        with Session(sites.engine, info={"site": site}) as session:
            for media in session.scalars(sa.select(Media)).all():
                library_of(sites).remove(session, site, media)
            session.execute(sa.delete(Entry))
            session.commit()
    assert stored(sites) == []


def library_of(sites: ContentSites) -> MediaLibrary:
    found: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    return found


def stored(sites: ContentSites) -> list[str]:
    folder = Path(sites.settings["multisite.media_url"])
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def import_from(sites: ContentSites, *paths: Path, site: Site | None = None, **options: Any) -> ImportReport:
    return import_entries(sites.engine, site or sites.garden, paths, library_of=lambda: library_of(sites), **options)


def picture(path: Path, size: tuple[int, int] = (30, 20), color: str = "teal") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def write(path: Path, body: str, *, title: str = "A title", plain: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    front = f"Title: {title}\nDate: 2024-05-05\n\n" if plain else f"---\ntitle: {title}\ndate: 2024-05-05\n---\n"
    path.write_text(f"{front}{body}\n", "utf-8")
    return path


def html_of(sites: ContentSites, slug: str, site: Site | None = None) -> BeautifulSoup:
    with Session(sites.engine, info={"site": site or sites.garden}) as session:
        return BeautifulSoup(session.scalars(sa.select(Entry.body_html).where(Entry.slug == slug)).one(), "html.parser")


def addresses(sites: ContentSites, slug: str) -> list[str]:
    """Return the addresses in an entry, of media by their file name."""
    found = [str(tag.get("src") or tag["href"]) for tag in html_of(sites, slug).select("[src], [href]")]
    return [address.rpartition("/")[2] if address.startswith("/media/") else address for address in found]


def notes(report: ImportReport) -> list[tuple[str, int | None, str, str]]:
    return [(Path(note.path).name, note.line, note.kind, note.text) for note in report.notes]


# The folders of the tools.


def test_pictures_of_a_blog_of_hugo(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "hugo.toml").write_text("title = 'A blog'")
    bundle = tmp_path / "content" / "posts" / "trip"
    picture(bundle / "Sea view.jpg", (700, 300))
    picture(bundle / "img" / "hut.png", color="red")
    picture(tmp_path / "static" / "images" / "map.png", color="blue")
    picture(tmp_path / "assets" / "logo.png", color="green")
    write(
        bundle / "index.md",
        "![The *sea*](Sea%20view.jpg)\n![Hut](./img/hut.png?v=2 'A hut')\n![Map](/images/map.png)\n\n"
        '{{< figure src="/logo.png" title="Our logo" >}}\n',
    )
    report = import_from(sites, tmp_path / "content")
    assert notes(report) == []
    assert addresses(sites, "trip") == ["sea-view.jpg", "hut.png", "map.png", "logo.png"]
    first = html_of(sites, "trip").find("img")
    assert first is not None
    path = str(first["src"])
    assert (first["width"], first["height"], first["alt"]) == ("700", "300", "The sea")
    stem = path.removesuffix(".jpg")
    assert first["srcset"] == f"{stem}-320.webp 320w, {stem}-640.webp 640w, {path} 700w"
    assert (first["sizes"], first["loading"]) == ("auto, 100vw", "lazy")
    assert sites.browser(GARDEN).get(path).content_type == "image/jpeg"
    sites.browser(STERNWARTE).get(path, status=404)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert {media.name: media.alt for media in session.scalars(sa.select(Media))}["hut.png"] == "Hut"


def test_pictures_of_a_blog_of_jekyll(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "_config.yml").write_text("baseurl: /blog")
    picture(tmp_path / "assets" / "img" / "one.png")
    picture(tmp_path / "images" / "two.gif", color="red")
    write(
        tmp_path / "_posts" / "2024-05-05-first.md",
        "![]({{ site.baseurl }}/assets/img/one.png) ![](/images/two.gif)\n\n"
        "![](/blog/images/two.gif)\n\n[second]({% post_url 2024-05-05-second %})",
    )
    write(tmp_path / "_posts" / "2024-05-05-second.md", "Second.", title="Second")
    report = import_from(sites, tmp_path / "_posts")
    assert notes(report) == []
    assert addresses(sites, "first") == ["one.png", "two.png", "two.png", "/entries/second"]
    assert stored(sites) == ["one.png", "two.png"]


def test_pictures_of_a_blog_of_pelican(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "pelicanconf.py").write_text("SITENAME = 'A blog'")
    content = tmp_path / "content"
    picture(content / "images" / "one.png")
    picture(content / "travel" / "two.png", color="red")
    picture(content / "travel" / "three.jpg", color="blue")
    (content / "files").mkdir()
    (content / "files" / "talk.pdf").write_bytes(b"%PDF-1.7 slides")
    write(
        content / "travel" / "first.md",
        "![]({static}/images/one.png) ![](|filename|/images/one.png) ![]({attach}two.png) ![]({attach}./three.jpg)\n\n"
        "[slides]({static}/files/talk.pdf) [second]({filename}../second.md#a) [second]({filename}/second.md)",
        plain=True,
    )
    write(content / "second.md", "Second.", title="Second", plain=True)
    report = import_from(sites, content)
    assert notes(report) == []
    assert addresses(sites, "first") == [
        "one.png", "one.png", "two.png", "three.jpg", "talk.pdf", "/entries/second#user-content-a", "/entries/second",
    ]  # fmt: skip


def test_elements_of_html(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(99))
    (tmp_path / "static" / "talk.mp3").write_bytes(b"ID3\x04" + bytes(99))
    picture(tmp_path / "a & b.png", (60, 40))
    write(
        tmp_path / "first.md",
        '<video controls src="/static/film.mp4">Download the film</video>\n\n'
        '<audio controls><source src="/static/talk.mp3"></audio>\n\n'
        "Text <img src='a &amp; b.png' width=\"30\" alt='A &quot;b&quot;' onerror=alert(1)> "
        '<a href="a%20%26%20b.png">large</a> ![](https://other.example/c.png)\n',
    )
    assert notes(import_from(sites, tmp_path)) == []
    assert addresses(sites, "first") == [
        "film.mp4", "talk.mp3", "a-b.png", "a-b.png", "https://other.example/c.png",
    ]  # fmt: skip
    image = html_of(sites, "first").find("img")
    assert image is not None
    assert (image["width"], image.get("height"), image["alt"]) == ("30", None, 'A "b"')
    assert "onerror" not in image.attrs


@pytest.mark.parametrize(
    ("files", "imported", "expected"),
    [
        (["content/posts/a.md"], "content/posts", ""),
        (["_posts/a.md"], "_posts/a.md", ""),
        (["_posts/a.md"], "_posts", ""),
        (["_posts/a.md"], ".", ""),
        (["blog/a.md"], "blog", "blog"),
        (["content/1/2/3/a.md"], "content/1/2/3", ""),
        (["content/1/2/3/4/a.md"], "content/1/2/3/4", "content/1/2/3/4"),
    ],
)
def test_the_folder_of_a_blog(tmp_path: Path, files: list[str], imported: str, expected: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert blog_folder(tmp_path / imported) == tmp_path / expected


def test_an_imported_entry_keeps_its_pictures_when_it_is_edited(sites: ContentSites, tmp_path: Path) -> None:
    picture(tmp_path / "a & b.png", (700, 300))
    write(tmp_path / "second.md", "Second.", title="Second")
    write(
        tmp_path / "first.md",
        "![A](<a & b.png>) ![A](a%20&amp;%20b.png 'A') ![A][ref] [second](second.md#x) [other](other.md)\n\n"
        "<img alt='A' src=\"a & b.png\">\n\n`![A](a%20&%20b.png)`\n\n```\n![A](second.md)\n```\n\n"
        "[ref]: a%20&%20b.png\n",
    )
    import_from(sites, tmp_path)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        entry = session.scalars(sa.select(Entry).where(Entry.slug == "first")).one()
        (path,) = (media.path for media in session.scalars(sa.select(Media)))
        assert entry.body == (
            f"![A](<{path}>) ![A]({path} 'A') ![A][ref] [second](/entries/second#user-content-x) [other](other.md)\n\n"
            f"<img alt='A' src=\"{path}\">\n\n`![A](a%20&%20b.png)`\n\n```\n![A](second.md)\n```\n\n[ref]: {path}"
        )
        # As the editor renders it.
        edited = BeautifulSoup(render(entry.body, find_file=find_uploaded(session)).html, "html.parser")
    for found in (edited, html_of(sites, "first")):
        images = found.select("img")
        assert [(image["src"], image["width"]) for image in images] == [(path, "700")] * 4
        assert all(str(image["srcset"]).endswith(f"{path} 700w") for image in images)
    assert import_from(sites, tmp_path).unchanged == 2
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        assert "srcset" not in render(f"![A]({path})", find_file=find_uploaded(session)).html


# What is not imported.


def test_missing_and_refused_files_are_reported_with_their_line(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "page.png").write_text("<script>alert(1)</script>")
    path = write(
        tmp_path / "first.md",
        "Text.\n\n![](missing.png)\n![](drawing.svg)\n\n![](broken.png)\n\n<p>\n<img src='page.png'>\n"
        '<img src="gone/other.jpg"></p>\n\n![](missing.png) ![](/static/served.png) [other](other.md)\n',
    )
    report = import_from(sites, path)
    kind = "file that is not imported"
    broken = "it begins as PNG, but cannot be read as such"
    assert [(line, text.partition(", ")[0]) for _, line, _, text in notes(report)] == [
        (7, "missing.png"),
        (8, "drawing.svg"),
        (10, "broken.png: it begins as PNG"),
        (13, "page.png: its format is not known: accepted are JPEG"),
        (14, "gone/other.jpg"),
        (16, "other.md"),
    ]
    assert [text for _, _, _, text in notes(report)][2] == f"broken.png: {broken}"
    assert {found for _, _, found, _ in notes(report)} == {kind, "link to a file that is not imported"}
    assert stored(sites) == []
    assert "/static/served.png" in addresses(sites, "first")


OUTSIDE = [
    "../secret.png",
    "../../secret.png",
    "..%2Fsecret.png",
    "/../secret.png",
    "/static/../../secret.png",
    "posts/../../secret.png",
    "link.png",
    "folder/secret.png",
    ".hidden/secret.png",
    "/.hidden/secret.png",
    "{static}/../secret.png",
    "{attach}../secret.png",
    "file:///secret.png",
    "\\..\\secret.png",
    "secret.png%00.png",
]


def test_no_file_outside_of_the_blog_is_read(sites: ContentSites, tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    blog = tmp_path / "blog"
    picture(blog / ".hidden" / "secret.png")
    (blog / "link.png").symlink_to(secret)
    (blog / "folder").symlink_to(tmp_path)
    absolute = [str(secret), f"/{secret}"]
    body = "\n\n".join(f"![]({address})\n\n<img src='{address}'>" for address in [*OUTSIDE, *absolute])
    path = write(blog / "first.md", body)
    for paths in ([path], [blog], [blog, tmp_path / "nowhere"]):
        report = import_from(sites, *paths)
        assert report.added + report.updated + report.unchanged == 1
        assert stored(sites) == []
        assert not [each for each in addresses(sites, "first") if each.startswith("/media/") or each == "secret.png"]
    # Negative control: the same addresses find the file if it belongs to the blog.
    import_from(sites, tmp_path)
    assert stored(sites) == ["secret.png"]


def test_addresses_that_are_no_file_names(sites: ContentSites, tmp_path: Path) -> None:
    names = [f"{'a' * 5000}.png", f"{'a/' * 3000}b.png", "%ED%A0%80.png", "b%0A.png", "CON.png"]
    report = import_from(sites, write(tmp_path / "first.md", "\n\n".join(f"![]({name})" for name in names)))
    assert (report.added, len(notes(report))) == (1, len(names))


def test_a_folder_with_the_name_of_a_picture(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    os.mkfifo(tmp_path / "b.png")
    report = import_from(sites, write(tmp_path / "first.md", "![](a.png) ![](b.png)"))
    assert [text for _, _, _, text in notes(report)] == ["a.png", "b.png"]


# Repeated, rolled back and dry.


def test_a_repeated_import_changes_nothing(sites: ContentSites, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "first.md", "![A](a.png)")
    write(tmp_path / "second.md", "![B](a.png)", title="Second")
    assert import_from(sites, tmp_path).added == 2
    before, html = stored(sites), str(html_of(sites, "first"))
    assert import_from(sites, tmp_path).unchanged == 2
    assert (stored(sites), str(html_of(sites, "first"))) == (before, html)
    import_from(sites, tmp_path, site=sites.sternwarte)
    assert stored(sites) == before * 2


@pytest.mark.parametrize("options", [{"dry_run": True}, {"strict": True}])
def test_what_is_rolled_back_leaves_no_file(sites: ContentSites, tmp_path: Path, options: dict[str, bool]) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write(tmp_path / "first.md", "![A](a.png) ![B](b.png)")
    (tmp_path / "second.md").write_text("no front matter")
    report = import_from(sites, tmp_path, **options)
    assert report.rolled_back
    assert [text for _, _, _, text in notes(report)] == ["b.png: it begins as PNG, but cannot be read as such"]
    assert stored(sites) == []
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalars(sa.select(Media)).all() == []
    (tmp_path / "second.md").unlink()
    assert import_from(sites, tmp_path, strict=True).added == 1
    assert stored(sites) == ["a.png"]


def test_a_batch_that_is_repeated_keeps_its_pictures(
    sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multisite.content.imports import upsert

    picture(tmp_path / "a.png")
    write(tmp_path / "first.md", "![A](a.png)")
    save, calls = upsert._save, []

    def fail_once(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        save(*arguments, **options)
        if len(calls) == 1:
            raise sa.exc.IntegrityError("INSERT", {}, Exception("taken by another import"))

    monkeypatch.setattr(upsert, "_save", fail_once)
    assert import_from(sites, tmp_path).added == 1
    assert len(calls) == 2
    path = str(html_of(sites, "first").find("img")["src"])  # type: ignore[index]
    assert sites.browser(GARDEN).get(path).content_type == "image/png"


def test_a_site_without_room_is_reported(sites: ContentSites, tmp_path: Path) -> None:
    library = library_of(sites)
    small = MediaLibrary(library.model, library.store, lambda _site: 100, {})
    picture(tmp_path / "a.png", (300, 300))
    write(tmp_path / "first.md", "![A](a.png)")
    report = import_entries(sites.engine, sites.garden, [tmp_path], library_of=lambda: small)
    (note,) = notes(report)
    assert note[3].startswith("a.png: it takes ")
    assert stored(sites) == []


def test_an_application_without_media_reports_the_files(sites: ContentSites, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    report = import_entries(sites.engine, sites.garden, [write(tmp_path / "first.md", "![A](a.png)")])
    (note,) = notes(report)
    assert note[2:] == (
        "file that is not imported",
        "a.png: the application has no media: pip install 'pyramid-multisite[media]'",
    )


def test_the_library_is_only_asked_for_files_that_exist(sites: ContentSites, tmp_path: Path) -> None:
    def library() -> MediaLibrary:
        raise AssertionError

    write(tmp_path / "first.md", "![](a.png) [home](/) [b](b/) ![](https://other.example/c.png) <img src='d.png'>")
    report = import_entries(sites.engine, sites.garden, [tmp_path], library_of=library)
    assert [text for _, _, _, text in notes(report)] == ["a.png", "d.png"]


FRONT_PICTURES = {
    "---\nimage: a.png\n": "a.png",
    "---\nimage:\n  path: '{{ site.baseurl }}/assets/b.png'\n  alt: Leaves\n": "b.png",
    "---\nimage: /assets/b.png\n": "b.png",
    "---\nheader:\n  teaser: /assets/b.png\n": "b.png",
    "---\ncover:\n  image: a.png\n  alt: Leaves\n": "a.png",
    "---\nfeatured_image: c.png\nimage: a.png\n": "c.png",
    "---\nfeatured: true\nthumbnail: a.png\n": "a.png",
    "+++\nimages = ['a.png']\n": "a.png",
    "+++\n[[resources]]\nname = 'cover'\nsrc = 'a.png'\n": "a.png",
    "+++\n[extra]\nbanner = '/assets/b.png'\n": "b.png",
    "Image: {static}/images/c.png\n": "c.png",
    "Cover: images/c.png\n": "c.png",
}


def test_the_picture_in_the_front_matter(sites: ContentSites, tmp_path: Path) -> None:
    for number, name in enumerate(("content/posts/a.png", "assets/b.png", "images/c.png", "content/images/c.png")):
        picture(tmp_path / name, (30 + number, 20))
    for number, (front, _) in enumerate(FRONT_PICTURES.items()):
        mark = front[:3]
        text = f"{front}title: x\ndate: 2024-05-05\n{mark}\n"
        if mark == "+++":
            text = f"+++\ntitle = 'x'\ndate = 2024-05-05\n{front[4:]}+++\n"
        elif mark != "---":
            text = f"Title: x\nDate: 2024-05-05\n{front}\n"
        path = tmp_path / "content" / "posts" / f"p{number}.md"
        path.write_text(f"{text}Text.\n", "utf-8")
    report = import_from(sites, tmp_path / "content")
    assert (report.notes, report.added) == ([], len(FRONT_PICTURES))
    with Session(sites.engine, info={"site": sites.garden}) as session:
        found = dict(session.execute(sa.select(Entry.slug, Entry.picture)).all())
        names = [str(found[f"p{number}"]).rpartition("/")[2] for number in range(len(FRONT_PICTURES))]
        assert names == list(FRONT_PICTURES.values())
        assert session.scalars(sa.select(Media.alt).where(Media.name == "b.png")).one() == "Leaves"
    page = sites.browser(GARDEN).get("/entries/p0").html
    assert page.find("meta", property="og:image")["content"].endswith("/a.png")
    sites.browser(STERNWARTE).get(str(found["p0"]), status=404)
    again = import_from(sites, tmp_path / "content")
    assert (again.unchanged, again.updated) == (len(FRONT_PICTURES), 0)


def test_a_picture_in_the_front_matter_that_cannot_come_along_is_listed(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    (tmp_path / "secret").mkdir()
    picture(tmp_path / "secret" / "s.png")
    fronts = {
        "gone.png": "gone.png",
        "https://images.example/a.jpg": "https://images.example/a.jpg: it is on another server",
        "a.svg": "a.svg",
        "../secret/s.png": "../secret/s.png",
    }
    for number, address in enumerate(fronts):
        path = tmp_path / "blog" / f"p{number}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"---\ntitle: x\ndate: 2024-05-05\nimage: {address}\n---\n", "utf-8")
    report = import_from(sites, tmp_path / "blog")
    assert [text for _, _, _, text in notes(report)] == list(fronts.values())
    assert stored(sites) == []


def test_the_command_takes_pictures_along(sites: ContentSites, tmp_path: Path) -> None:
    ini = tmp_path / "test.ini"
    lines = "\n".join(f"{key} = {value.replace('%', '%%')}" for key, value in sites.settings.items())
    ini.write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{lines}\n[server:main]\nuse = egg:waitress#main\n")
    picture(tmp_path / "blog" / "a.png")
    write(tmp_path / "blog" / "first.md", "![A](a.png) ![B](b.png)")
    done = CliRunner().invoke(main, ["-c", str(ini), "import-entries", GARDEN, str(tmp_path / "blog"), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["added"], [note["text"] for note in report["notes"]]) == (1, ["b.png"])
    assert stored(sites) == ["a.png"]
    used = CliRunner().invoke(main, ["-c", str(ini), "list-media", GARDEN, "--unused", "--json"])
    assert json.loads(used.stdout) == []


# Cleaning.


@pytest.mark.parametrize(
    "attributes",
    [
        'srcset="https://evil.example/a.png 1x"',
        f'srcset="/media/{"0" * 64}/a.webp 320w, https://evil.example/a.png 640w"',
        'srcset="javascript:alert(1) 1x"',
        f'srcset="/media/{"0" * 64}/../../a.webp 320w"',
        'sizes="(max-width: 9px) 1px"',
    ],
)
def test_other_srcsets_of_authors_are_removed(attributes: str) -> None:
    html = render(f'<img src="/a.png" {attributes}>').html
    assert "srcset" not in html
    assert "sizes" not in html


def test_a_srcset_of_media_is_kept() -> None:
    srcset = f"/media/{'0' * 64}/a-320.webp 320w, /media/{'0' * 64}/a.jpg 900w"
    html = render(f'<img src="/media/{"0" * 64}/a.jpg" srcset="{srcset}" sizes="auto, 100vw">').html
    assert f'srcset="{srcset}"' in html
    assert 'sizes="auto, 100vw"' in html
