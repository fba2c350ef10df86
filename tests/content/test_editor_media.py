"""Uploads in the editor: forms with files, the media of the site, and who may do what."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, browser_of, change, csrf_token, editor_sites, log_in, rows_of, write
from media_files import photo, remove_all, stored
from PIL import Image
from script_payloads import SCRIPT_PAYLOADS
from sqlalchemy.orm import Session
from webtest import TestApp, Upload

from multisite.content.editor import uploads
from multisite.content.editor.media_pages import markdown_of
from multisite.content.models import Media
from multisite.content.tables import Autosave, Revision
from multisite.media.uploads import MAX_BYTES

MINE = f"http://{GARDEN}"
ROLES = {"author": "author", "other": "author", "editor": "editor", "owner": "owner"}
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("media")) as sites,
    ):
        for site in (sites.garden, sites.sternwarte):
            for login, role in ROLES.items():
                add_user(sites, site, login, role)
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    remove_all(world)
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        session.execute(sa.delete(Autosave))
        session.execute(sa.delete(Revision))
    return world


def picture(color: str = "red") -> bytes:
    """Return a small PNG."""
    target = io.BytesIO()
    Image.new("RGB", (4, 3), color).save(target, "PNG")
    return target.getvalue()


def upload(browser: TestApp, content: bytes | None = None, name: str = "leaf.png", **fields: Any) -> Any:
    """Send a file as the script does."""
    status, token = fields.pop("status", 200), fields.pop("token", None) or csrf_token(browser)
    parts = {"csrf_token": token, "file": Upload(name, picture() if content is None else content), **fields}
    return browser.post("/edit/media", parts, content_type="multipart/form-data", headers=JSON, status=status)


def described(browser: TestApp, address: str, status: int = 200, **fields: str) -> Any:
    return browser.post(address, {"csrf_token": csrf_token(browser), **fields}, headers=JSON, status=status)


# With a script.


def test_a_picture_is_uploaded_described_and_shown(sites: ContentSites) -> None:
    author, reader = log_in(sites, GARDEN, "author"), sites.browser(GARDEN)
    (found,) = upload(author, photo(), "Leaf mould.jpeg").json["files"]
    assert found["markdown"] is None  # What it shows is asked first.
    assert described(author, found["address"], 400, alt=" ").json["error"].startswith("Say what the picture shows")
    markdown = described(author, found["address"], alt="Wet *leaves* [1]").json["markdown"]
    assert re.fullmatch(r"!\[Wet \\\*leaves\\\* \\\[1\\\]\]\(/media/[0-9a-f]{64}/leaf-mould\.jpg\)", markdown)
    write(author, body=f"Look:\n\n{markdown}")
    image = reader.get("/entries/leaf-mould").html.select_one(".entry-body img")
    assert (image["alt"], image["width"], image["height"]) == ("Wet *leaves* [1]", "900", "600")
    for address in (image["src"], found["thumbnail"]):
        assert reader.get(address).content_type.startswith("image/")
        sites.browser(STERNWARTE).get(address, status=404)


def test_a_decorative_picture_and_another_file(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (found,) = upload(author).json["files"]
    markdown = described(author, found["address"], decorative="1", alt="ignored").json["markdown"]
    assert markdown.startswith("![](/media/")
    (again,) = upload(author, name="again.png").json["files"]
    assert again["markdown"] == markdown  # It was answered already.
    (pdf,) = upload(author, b"%PDF-1.7\n%%EOF\n", "Plan_b.pdf").json["files"]
    assert pdf["markdown"].startswith("[plan-b.pdf](/media/")


def test_several_files_in_one_form(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    parts = [("csrf_token", csrf_token(author)), ("file", Upload("a.png", picture("red")))]
    parts += [("file", Upload("b.svg", b"<svg/>")), ("file", Upload("c.png", picture("blue")))]
    answer = author.post("/edit/media", parts, content_type="multipart/form-data", headers=JSON).json
    assert [each["name"] for each in answer["files"]] == ["a.png", "c.png"]
    assert answer["error"] == "b.svg was not accepted: SVG can contain scripts: convert it to PNG or WebP."


@pytest.mark.parametrize(("host", "reason"), [(GARDEN, "it is empty"), (STERNWARTE, "sie ist leer")])
def test_a_refused_file_leaves_nothing(sites: ContentSites, host: str, reason: str) -> None:
    author = log_in(sites, host, "author")
    assert reason in upload(author, b"", status=400).json["error"]
    for name, content in (
        ("x.html", b"<script>alert(1)</script>"),
        ("../../x.png", picture()),
        ("x.png", photo()[:1000]),
        ("x.pdf", picture()),
        ("<img src=x onerror=alert(1)>.png", b"GIF89a"),
    ):
        assert upload(author, content, name, status=400).json["files"] == []
    assert (rows_of(sites, sites.garden)["media"], stored(sites)) == ([], [])


# Without a script.


def test_the_form_of_an_entry_takes_a_file_and_keeps_the_text(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    for address, text in (("/edit/new", "My text."), (write(author, "save"), "")):
        form = author.get(address).forms[0]
        form["title"], form["body"], form["tags"] = "Mine", text, "soil"
        form["file"] = Upload("leaf.png", picture())
        form.enctype = "multipart/form-data"
        asked = form.submit("action", value="upload", status=400)
        assert "Say what the picture shows" in asked.html.select_one("[role=alert]").text
        form["alt"] = "A leaf"
        page = form.submit("action", value="upload")
        back = page.forms[0]
        assert (back["title"].value, back["tags"].value, back["version"].value) == (
            "Mine",
            "soil",
            form["version"].value,
        )
        body = back["body"].value.strip()
        assert re.fullmatch(re.escape(text) + r"\s*!\[A leaf\]\(/media/\S+\)", body)
        saved = back.submit("action", value="save", status=303)
        assert author.get(saved.location.removeprefix(MINE)).forms[0]["body"].value.strip() == body


def test_a_refused_file_loses_no_text(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    form = author.get("/edit/new").forms[0]
    form["body"], form["decorative"], form["file"] = "My text.", True, Upload("x.svg", b"<svg/>")
    form.enctype = "multipart/form-data"
    page = form.submit("action", value="upload", status=400)
    assert "SVG can contain scripts" in page.html.select_one("[role=alert]").text
    assert page.forms[0]["body"].value.strip() == "My text."
    form["file"] = Upload("", b"")
    assert "Choose a file." in form.submit("action", value="upload", status=400).text
    # Nor when the log-in has ended.
    author.reset()
    asked = form.submit("action", value="upload", status=403).forms[0]
    asked["login"], asked["password"] = "author", "correct horse battery staple"
    again = asked.submit().forms[0].submit(status=400)  # The text is there; the file is to be chosen again.
    assert again.forms[0]["body"].value.strip() == "My text."


def test_the_page_of_media_takes_a_file(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    form = author.get("/edit/media").forms[0]
    form["file"] = Upload("leaf.png", picture())
    assert "Say what the picture shows" in form.submit(status=400).text
    form["alt"] = "A leaf"
    page = form.submit(status=303).follow()
    assert page.html.select_one("pre").text.startswith("![A leaf](/media/")
    assert "In no text." in page.text
    assert page.html.select_one("main img")["alt"] == "A leaf"


# The media of the site.


def test_media_are_listed_with_the_quota_and_their_use(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    (used,) = upload(author, name="used.png").json["files"]
    (unused,) = upload(author, picture("blue"), "unused.png").json["files"]
    markdown = described(author, used["address"], alt="x").json["markdown"]
    write(author, body=markdown, title="With a picture")
    page = author.get("/edit/media")
    assert [each.text.strip() for each in page.html.select(".tiles a")] == ["unused.png", "used.png"]
    folder = Path(sites.settings["multisite.media_url"])
    assert page.html.select_one("meter")["value"] == str(sum((folder / each).stat().st_size for each in stored(sites)))
    assert [each.text.strip() for each in author.get("/edit/media?unused=1").html.select(".tiles a")] == ["unused.png"]
    assert "With a picture" in author.get(used["address"]).html.select_one("main ul").text
    # An author of another entry learns that it is used, and not where.
    other = log_in(sites, GARDEN, "other").get(used["address"])
    assert "With a picture" not in other.text
    assert "In 1 other or earlier texts." in other.text
    # What is removed by mistake is in a text.
    token = csrf_token(editor)
    editor.post(used["address"], {"csrf_token": token, "action": "remove"}, status=400)
    editor.post(unused["address"], {"csrf_token": token, "action": "remove"}, status=303)
    assert len(stored(sites)) == 1
    editor.post(used["address"], {"csrf_token": token, "action": "remove", "sure": "1"}, status=303)
    assert (stored(sites), rows_of(sites, sites.garden)["media"]) == ([], [])


def test_a_picture_of_a_text_that_is_not_saved_is_used(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (found,) = upload(author).json["files"]
    fields = {"key": "new-0123456789abcdef", "body": f"![x]({found['address'].replace('/edit', '')}/leaf.png)"}
    author.post("/edit/autosave", {"csrf_token": csrf_token(author), **fields}, status=204)
    assert author.get("/edit/media?unused=1").html.select(".tiles a") == []


def test_a_full_site_refuses_and_says_so(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    library = sites.app.registry["multisite.media_library"]
    monkeypatch.setattr(library, "_quota", lambda site: 10)
    author = log_in(sites, GARDEN, "author")
    assert "of the 10 bytes for media of this site 0 are in use" in upload(author, status=400).json["error"]
    assert stored(sites) == []


def test_a_long_list_of_media_has_pages(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.content.editor.media_pages.LIST_SIZE", 2)
    author = log_in(sites, GARDEN, "author")
    for number in range(3):
        upload(author, picture(f"#00000{number}"), f"{number}.png")
    page = author.get("/edit/media")
    assert len(page.html.select(".tiles li")) == 2
    older = page.html.find("a", string="Older files")["href"]
    assert author.get(older).html.select_one(".tiles a").text.strip() == "0.png"


# Who may do what.


def test_who_is_logged_out_uploads_nothing(sites: ContentSites) -> None:
    browser = browser_of(sites, GARDEN)
    before = rows_of(sites, sites.garden)
    for path in ("/edit/media", "/edit/new", f"/edit/media/{'0' * 64}"):
        browser.get(path, status=403)
    upload(browser, token="x", status=403)
    form = {"file": Upload("leaf.png", picture())}
    browser.post("/edit/new", form, content_type="multipart/form-data", status=403)
    assert (rows_of(sites, sites.garden), stored(sites)) == (before, [])


def test_a_form_with_files_needs_its_token_and_its_origin(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    upload(author, token="x", status=400)
    upload(author, token=csrf_token(editor), status=400)
    upload(author, token=csrf_token(log_in(sites, STERNWARTE, "author")), status=400)
    token = csrf_token(author)
    author.extra_environ["HTTP_ORIGIN"] = f"http://{STERNWARTE}"
    upload(author, token=token, status=400)
    assert stored(sites) == []


def test_media_of_another_site_are_not_found(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (found,) = upload(author).json["files"]
    described(author, found["address"], alt="Ours")
    before, files = rows_of(sites, sites.garden), stored(sites)
    for login in ROLES:
        stranger = log_in(sites, STERNWARTE, login)
        token = csrf_token(stranger)
        stranger.get(found["address"], status=404)
        for fields in ({"alt": "Theirs"}, {"action": "remove", "sure": "1"}):
            stranger.post(found["address"], {"csrf_token": token, **fields}, status=404)
        assert stranger.get("/edit/media").html.select(".tiles a") == []
    # The same bytes are another row and another file.
    (own,) = upload(log_in(sites, STERNWARTE, "author"), name="own.png").json["files"]
    assert (own["address"], own["alt"]) == (found["address"], "")
    assert {name: rows for name, rows in rows_of(sites, sites.garden).items() if name != "log_ins"} == {
        name: rows for name, rows in before.items() if name != "log_ins"
    }
    assert len(stored(sites)) == len(files) * 2


def test_an_author_removes_no_files(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (found,) = upload(author).json["files"]
    assert "Remove this file" not in author.get(found["address"]).text
    author.post(found["address"], {"csrf_token": csrf_token(author), "action": "remove"}, status=403)
    assert len(stored(sites)) == 1


# The picture of an entry.


def test_the_picture_of_an_entry_is_in_its_head_and_in_the_feed(sites: ContentSites) -> None:
    author, reader = log_in(sites, GARDEN, "author"), sites.browser(GARDEN)
    found = [upload(author, picture(color), f"{color}.png").json["files"][0] for color in ("red", "blue")]
    body = described(author, found[0]["address"], alt="x").json["markdown"]
    address = write(author, body=body, picture=found[1]["picture"])
    page = reader.get("/entries/leaf-mould")
    assert page.html.select_one("meta[property='og:image']")["content"] == f"{MINE}{found[1]['picture']}"
    assert f'rel="enclosure" type="image/png" href="{MINE}{found[1]["picture"]}"' in reader.get("/feed.xml").text
    assert author.get("/edit/media?unused=1").html.select(".tiles a") == []
    # By default it is the first in the text; revisions know both, and restore both.
    change(author, address, picture="")
    page = reader.get("/entries/leaf-mould")
    assert page.html.select_one("meta[property='og:image']")["content"] == f"{MINE}{found[0]['picture']}"
    assert "enclosure" not in reader.get("/feed.xml").text
    changes = author.get(f"{address}/revisions").html.select_one("section a")["href"]
    assert author.get(changes).html.select_one("main h2").text == "Picture"
    author.get(f"{address}/revisions").forms[0].submit(status=303)
    assert author.get(address).forms[0]["picture"].value == found[1]["picture"]


def test_the_picture_of_an_entry_is_one_of_the_site(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (theirs,) = upload(log_in(sites, STERNWARTE, "author")).json["files"]
    (pdf,) = upload(author, b"%PDF-1.7\n%%EOF\n", "plan.pdf").json["files"]
    (ours,) = upload(author, picture("blue")).json["files"]
    fields = {"csrf_token": csrf_token(author), "title": "T", "action": "publish"}
    for bad in (
        theirs["picture"],
        pdf["markdown"].partition("(")[2][:-1],
        ours["picture"] + "x",
        "//evil.example" + ours["picture"],
        "javascript:alert(1)",
        "/media/",
    ):
        page = author.post("/edit/new", {**fields, "picture": bad}, status=400)
        assert page.html.select_one("#picture-fault").text == "Choose a picture of the site."
    assert rows_of(sites, sites.garden)["entries"] == []
    author.post("/edit/new", {**fields, "picture": ours["picture"]}, status=303)


# Hostile forms.


def raw(browser: TestApp, body: bytes, status: int, path: str = "/edit/media", boundary: str = "x") -> Any:
    kind = f"multipart/form-data; boundary={boundary}"
    return browser.post(path, body, headers={**JSON, "Content-Type": kind}, status=status)


def test_forms_that_no_browser_sends_are_refused(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    author = log_in(sites, GARDEN, "author")
    token = csrf_token(author).encode()
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    head = part % (b"csrf_token", b"", token)
    file = b'; filename="a.png"'
    raw(author, head + part % (b"file", file, picture()), 400)  # Truncated.
    raw(author, b"", 400)
    raw(author, head + b"--x--\r\n", 400, boundary="")
    raw(author, head + part % (b"alt", b"", b"\xff\xfe") + b"--x--\r\n", 400)
    raw(author, head + part % (b"a", b"", b"") * uploads.MAX_PARTS + b"--x--\r\n", 413)
    raw(author, head + part % (b"file", file, b"x") * (uploads.MAX_FILES + 1) + b"--x--\r\n", 413)
    raw(author, head + b"--x\r\nContent-Disposition: form-data; name=a; " + b"b=c; " * 2_000 + b"\r\n\r\n", 413)
    monkeypatch.setattr(uploads, "MAX_TEXT_BYTES", 1000)
    raw(author, head + part % (b"alt", b"", b"x" * 1001) + b"--x--\r\n", 413)
    # A page that takes no files.
    raw(author, head + b"--x--\r\n", 415, "/edit/account")
    assert (stored(sites), rows_of(sites, sites.garden)["media"]) == ([], [])
    # A body that says to be longer than any form is not read.
    long = {"CONTENT_LENGTH": str(MAX_BYTES * 2), "CONTENT_TYPE": "multipart/form-data; boundary=x"}
    request = author.RequestClass.blank("/edit/media", method="POST", environ={**author.extra_environ, **long})
    request.headers["Cookie"] = "; ".join(f"{cookie.name}={cookie.value}" for cookie in author.cookiejar)
    assert request.get_response(sites.app).status_int == 413


def test_a_description_is_text_wherever_it_is_shown(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    (found,) = upload(author).json["files"]
    known = author.get(found["address"])
    tags = [each.name for each in known.html.find_all(True)]
    for payload in SCRIPT_PAYLOADS[::2]:
        markdown = described(author, found["address"], alt=payload).json["markdown"]
        page = author.get(found["address"])
        assert [each.name for each in page.html.find_all(True)] == tags
        assert page.html.select_one("pre").text == markdown
    address = write(author, body=markdown)
    for payload in SCRIPT_PAYLOADS[::5]:
        change(author, address, body=described(author, found["address"], alt=payload).json["markdown"])
        image = sites.browser(GARDEN).get("/entries/leaf-mould").html.select_one(".entry-body img")
        assert image["alt"] == " ".join(payload.split())
        assert not [name for name in image.attrs if name.startswith("on")]


def test_markdown_of_a_name() -> None:
    media = Media(digest="0" * 64, name="a.pdf", width=None)
    assert markdown_of(media) == f"[a.pdf](/media/{'0' * 64}/a.pdf)"
    media = Media(digest="0" * 64, name="a.png", width=1)
    assert markdown_of(media, "a](javascript:x) \n ![") == f"![a\\](javascript:x) !\\[](/media/{'0' * 64}/a.png)"
