"""The stores of media and templates on a server of S3's protocol, which has no folders and no renames."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from s3_server import s3_bucket

from multisite.core.settings import Settings
from multisite.errors import MultisiteError
from multisite.sites.media_store import MediaStore
from multisite.sites.template_store.mirror import TemplateMirror, site_tree
from multisite.sites.template_store.store import StoreUnavailable

SHOP = site_tree("shop.example")
KEY = "a3/a3f0-5d0c/leaves.jpg"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket() as url:
        yield url


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/{uuid4().hex}"


def test_media_of_two_machines(url: str) -> None:
    first, second = MediaStore(url), MediaStore(url)
    # Each has asked before there is anything: what a driver remembers of that is not taken for the truth.
    assert (first.site_ids(), second.site_ids(), list(second.folders(7))) == ([], [], [])
    first.write(7, KEY, io.BytesIO(b"leaves" * 100_000))
    first.write(8, KEY, io.BytesIO(b"of another site"))
    assert second.site_ids() == [7, 8]
    assert list(second.folders(7)) == [["a3/a3f0-5d0c"]]
    file, size = second.open(7, KEY)
    with file:
        assert (size, file.read()) == (600_000, b"leaves" * 100_000)
    assert abs(second.modified(7, "a3/a3f0-5d0c") - datetime.now(UTC)) < timedelta(minutes=5)
    second.write(7, "b4/b4f0-5d0c/roots.jpg", io.BytesIO(b"roots"))
    assert list(first.folders(7)) == [["a3/a3f0-5d0c"], ["b4/b4f0-5d0c"]]
    second.remove_folder(7, "a3/a3f0-5d0c")
    with pytest.raises(FileNotFoundError):
        first.open(7, KEY)
    assert list(first.folders(7)) == [["b4/b4f0-5d0c"]]
    second.remove_site(7)
    assert first.site_ids() == [8]
    file, size = first.open(8, KEY)
    with file:
        assert file.read() == b"of another site"


def test_no_key_leads_to_another_site(url: str) -> None:
    store = MediaStore(url)
    store.write(8, KEY, io.BytesIO(b"of another site"))
    for key in ("../8/a3/a3f0-5d0c/leaves.jpg", "a3/../../8/a3", "a3//x", "?x", "a3/a3f0-5d0c/%2e"):
        with pytest.raises(FileNotFoundError):
            store.open(7, key)
    store.remove_site(7)
    assert store.site_ids() == [8]


class Machine:
    """A machine with folders and a client of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        settings = Settings(sites_dir=folder / "sites", templates_dir=folder / "templates", templates_store=url)
        self.mirror, self.folder = TemplateMirror(settings), folder / "sites" / "shop.example"

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}.mako").write_text(text, "utf-8")

    def files(self) -> dict[str, str]:
        return {path.stem: path.read_text("utf-8") for path in self.folder.iterdir()}


@pytest.fixture
def machines(tmp_path: Path, url: str) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)


def test_templates_of_two_machines(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    with pytest.raises(StoreUnavailable, match="has no templates"):
        second.mirror.refresh(SHOP)
    first.write(page="one", layout="both")
    assert first.mirror.push(SHOP)
    assert second.mirror.refresh(SHOP)
    assert second.files() == {"page": "one", "layout": "both"}
    # The head is replaced under the same name: another ETag, and often the same size.
    for text in ("two", "six"):
        first.write(page=text)
        assert first.mirror.push(SHOP)
        assert second.mirror.refresh(SHOP)
        assert second.files() == {"page": text, "layout": "both"}
    assert not second.mirror.refresh(SHOP)
    second.write(page="elsewhere")
    assert second.mirror.push(SHOP)
    with pytest.raises(MultisiteError, match="has not seen"):
        first.write(page="late")
        first.mirror.push(SHOP)
    first.mirror.remove(SHOP)
    assert second.mirror.refresh(SHOP)
    assert not second.folder.exists()


def test_old_files_are_pruned(machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machines
    first.write(page="one")
    first.mirror.push(SHOP)
    first.write(page="two")
    first.mirror.push(SHOP)
    store = second.mirror.store
    assert store.prune() == 0
    monkeypatch.setattr("multisite.sites.template_store.store.KEEP_SECONDS", -60)
    assert store.prune() == 1
    assert store.prune() == 0
    second.mirror.refresh(SHOP)
    assert second.files() == {"page": "two"}


def test_a_server_that_is_down(machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.config

    first, _second = machines
    monkeypatch.setitem(fsspec.config.conf["s3"], "endpoint_url", "http://127.0.0.1:9")
    monkeypatch.setitem(fsspec.config.conf["s3"], "config_kwargs", {"retries": {"max_attempts": 1}})
    media = MediaStore("s3://shops/down")
    with pytest.raises(MultisiteError, match="cannot be written to multisite.media_url"):
        media.write(7, KEY, io.BytesIO(b"leaves"))
    with pytest.raises(MultisiteError, match="cannot be removed from multisite.media_url"):
        media.remove_site(7)
    first.write(page="one")
    down = Machine(first.folder.parents[1], "s3://shops/down")
    with pytest.raises(StoreUnavailable, match="cannot be"):
        down.mirror.push(SHOP)
    assert first.files() == {"page": "one"}
