"""The texts of a compiled template are kept compressed, and are those that Mako would keep."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

import pytest
from mako.template import Template

from multisite.templates import SiteTemplates
from multisite.templates.module_texts import compress_texts

TEXT = "<%! import math %>\n% for each in all:\n<p>${each}: \N{SNOWMAN} ${math.pi}</p>\n% endfor\n" * 3


def compiled(text: str) -> Template:
    return Template(text, uri=f"texts_{abs(hash(text))}", default_filters=["h"])


def test_compressed_texts_are_those_of_mako() -> None:
    template = compiled(TEXT)
    source, code = template.source, template.code
    before = template.render(all=[1, 2])
    compress_texts(template)
    assert (template.source, template.code) == (source, code) != (code, source)
    assert template.render(all=[1, 2]) == before
    kept = [value for value in vars(template).values() if value in (source, code)]
    assert kept == []
    info: Any = template._mmarker
    assert (info.module_source, info.template_source) == (None, None)
    assert len(info._texts) < (len(source) + len(code)) / 2


def test_tracebacks_show_the_lines_of_a_module_in_memory() -> None:
    template = compiled(TEXT)
    lines = template.code.splitlines(keepends=True)
    compress_texts(template)
    name = template.module.__name__
    linecache.checkcache(name)
    assert linecache.getlines(name, vars(template.module)) == lines
    linecache.cache.pop(name, None)


@pytest.mark.parametrize("in_files", [False, True])
def test_views_have_all_attributes_of_their_template(tmp_path: Path, in_files: bool) -> None:
    """The classes of views inherit the options that the first file had, also if their own file was in a cache."""
    for name in ("one", "two"):
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "templates" / f"{name}.mako").write_text(f"{name} ${{1 + 1}}")
    options: dict[str, Any] = {"module_directory": tmp_path / "modules"} if in_files else {}
    expected = compiled("plain")
    for _start in range(2):
        templates = SiteTemplates(tmp_path / "sites", tmp_path / "templates", **options)
        for name in ("one", "two"):
            view = templates.lookup(None).get_template(f"/{name}.mako")
            assert (view.uri, view.render()) == (f"{name}.mako", f"{name} 2")
            for attribute in ("output_encoding", "encoding_errors", "cache_enabled", "cache_impl", "reserved_names"):
                assert getattr(view, attribute) == getattr(expected, attribute)
            assert view.source == f"{name} ${{1 + 1}}"
            assert "__M_BEGIN_METADATA" in view.code


def test_files_share_the_classes_of_their_views(tmp_path: Path) -> None:
    """A class takes more memory than most files; only another set of options needs another one."""
    (tmp_path / "templates").mkdir()
    for number in range(5):
        (tmp_path / "templates" / f"{number}.mako").write_text(f"${{'{number}'}}")
    (tmp_path / "templates" / "plain.mako").write_text("<%page enable_loop='False'/>${x}")
    lookup = SiteTemplates(tmp_path / "sites", tmp_path / "templates").lookup(None)
    views = [lookup.get_template(f"/{number}.mako") for number in range(5)]
    assert len({type(view) for view in views}) == 1
    assert [view.render() for view in views] == list("01234")
    assert len({view.module for view in views}) == len({view.source for view in views}) == 5
    assert {view.filename for view in views} == {str(path) for path in (tmp_path / "templates").glob("[0-9].mako")}
    assert lookup.get_template("/plain.mako").render(x=1) == "1"


def test_views_of_files_with_a_cache_and_without_have_their_own_arguments(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.mako").write_text("page")
    plain = SiteTemplates(tmp_path / "sites", tmp_path / "templates")
    cached = SiteTemplates(tmp_path / "sites", tmp_path / "templates", cache_args={"expire": 7})
    assert cached.lookup(None).get_template("/page.mako").cache_args == {"expire": 7}
    arguments: Any = plain.lookup(None).get_template("/page.mako").cache_args
    assert arguments.copy() == {}
    with pytest.raises(TypeError):
        arguments["expire"] = 7
