"""`dev.py test` puts the files of the tests into memory if there is enough of it."""

from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("status", "folder"),
    [
        ({"f_bavail": 2 << 20}, "/dev/shm"),
        ({"f_bavail": 2 << 19}, None),
        ({"f_bavail": 2 << 20, "f_flag": os.ST_NOEXEC}, None),
    ],
    ids=["enough", "too small", "no programs"],
)
def test_a_folder_in_memory_is_used_if_it_suffices(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, status: dict[str, int], folder: str | None
) -> None:
    found = SimpleNamespace(**{"f_frsize": 4096, "f_flag": 0, **status})
    monkeypatch.setattr(dev.os, "statvfs", lambda _folder: found)
    monkeypatch.setattr(dev.Path, "read_text", lambda *_: "MemTotal: 99 kB\nMemAvailable:   20000000 kB\n")
    assert dev.memory_folder() == folder


def test_a_folder_in_memory_is_not_used_if_memory_is_short(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.os, "statvfs", lambda _folder: SimpleNamespace(f_bavail=2 << 20, f_frsize=4096, f_flag=0))
    monkeypatch.setattr(dev.Path, "read_text", lambda *_: "MemAvailable:   8000000 kB\n")
    assert dev.memory_folder() is None


def test_without_such_a_folder_the_files_are_on_the_disk(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(folder: str) -> None:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(dev.os, "statvfs", missing)
    assert dev.memory_folder() is None
