"""What tests/support/start_costs.py lets libraries remember is what they would find again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mako.template
import pytest
from mako.template import Template
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError
from pyramid.util import TopologicalSorter
from start_costs import project_templates

TEXT = (Path(__file__).parents[2] / "templates" / "base.mako").read_bytes()


def constants(code: Any) -> list[Any]:
    """Return the file name, the name, the lines and the constants of a code object, and of those inside it."""
    found = [code.co_filename, code.co_name, list(code.co_lines()), code.co_code]
    return found + [constants(value) if hasattr(value, "co_consts") else value for value in code.co_consts]


def test_a_template_of_the_project_is_compiled_as_mako_compiles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TEXT in project_templates()
    for folder, now in (("/one/of/the/folders", 1234.5), ("/another", 6789.25)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        template = Template(TEXT, filename=f"{folder}/base.mako", uri=f"{folder}/uri/base.mako", strict_undefined=True)
        plain, _lexer = mako.template._compile.__wrapped__(template, TEXT, template.filename, False)
        assert str(template.code) == plain
        assert template.module._modified_time == now
        code = mako.template.compile(template.code, template.module_id, "exec")  # type: ignore[attr-defined]
        assert constants(code) == constants(compile(plain, template.module_id, "exec"))


def test_an_order_is_found_again_after_a_change() -> None:
    sorter = TopologicalSorter()
    sorter.add("a", 1)
    sorter.add("b", 2)
    first = sorter.sorted()
    assert sorter.sorted() == first
    sorter.add("c", 3, before="a")
    assert [name for name, _value in sorter.sorted()].index("c") < 2
    sorter.remove("c")
    sorter.add("a", 4)
    assert dict(sorter.sorted()) == {"a": 4, "b": 2}


def test_a_conflict_shows_both_lines() -> None:
    config = Configurator()
    config.add_route("home", "/one")
    config.add_route("home", "/two")
    with pytest.raises(ConfigurationConflictError) as caught:
        config.commit()
    assert 'config.add_route("home", "/one")' in str(caught.value)
    assert 'config.add_route("home", "/two")' in str(caught.value)
    assert __file__ in str(caught.value)
