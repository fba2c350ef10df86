"""Planning from catalogues that a real Citus 13.2.2 had: the reference application before and after `distribute`.

`citus-13.2.json` is `dataclasses.asdict` of both, after revision content_0019.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multisite.sharding.catalog import Catalog, KeyInfo, ReferenceInfo, Server, TableInfo, TriggerInfo
from multisite.sharding.obstacles import find_obstacles
from multisite.sharding.placement import wanted_placements
from multisite.sharding.plan import plan_distribution, plan_undo
from multisite.sharding.saved import SavedStatement


def recorded(name: str) -> Catalog:
    found = json.loads((Path(__file__).parent / "citus-13.2.json").read_text("utf-8"))[name]
    return Catalog(
        Server(**found["server"]),
        {name: _table(values) for name, values in found["tables"].items()},
        tuple(ReferenceInfo(**_tuples(values)) for values in found["references"]),
        tuple(found["functions"]),
        tuple(SavedStatement(*values) for values in found["saved"]),
    )


def _table(values: dict[str, Any]) -> TableInfo:
    keys = tuple(KeyInfo(**_tuples(each)) for each in values.pop("keys"))
    triggers = tuple(TriggerInfo(**each) for each in values.pop("triggers"))
    return TableInfo(**_tuples(values), keys=keys, triggers=triggers)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


BEFORE, AFTER = recorded("before"), recorded("after")


def test_tables_are_where_the_plan_says() -> None:
    wanted = wanted_placements(BEFORE)
    found = {name: table.placement for name, table in AFTER.tables.items()}
    # Citus adds a local table to its metadata if a reference leads from it; its rows stay.
    assert {name: found[name] for name in wanted} == wanted
    assert set(found.values()) == {"local", "reference", "distributed"}
    assert {table.placement for table in BEFORE.tables.values()} == {"local"}


def test_each_key_of_a_distributed_table_has_the_site() -> None:
    tables = [table for table in AFTER.tables.values() if table.placement == "distributed"]
    assert len(tables) > 10
    assert [key.name for table in tables for key in table.keys if "site_id" not in key.columns] == []
    # The keys of before are saved, and those alone.
    without = [
        key.name
        for table in tables
        for key in BEFORE.tables[table.name].keys
        if key.kind == "p" and "site_id" not in key.columns
    ]
    assert sorted(each.name for each in AFTER.saved if each.kind == "key") == sorted(without)


def test_references_and_triggers_are_back_word_for_word() -> None:
    assert {(each.name, each.definition) for each in BEFORE.references} == {
        (each.name, each.definition) for each in AFTER.references
    }
    for name, table in BEFORE.tables.items():
        assert AFTER.tables[name].triggers == table.triggers


def test_triggers_are_the_only_obstacles() -> None:
    assert {each.kind for each in find_obstacles(BEFORE)} == {"trigger"}
    assert find_obstacles(BEFORE, allow_triggers=True) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_coordinator_without_workers_is_an_obstacle(workers: int) -> None:
    changed = replace(BEFORE, server=replace(BEFORE.server, workers=workers))
    assert bool(find_obstacles(changed, allow_triggers=True)) is (workers == 0)


def test_a_second_run_has_nothing_to_do_and_undo_leads_back() -> None:
    again = plan_distribution(AFTER, allow_triggers=True)
    assert [step.sql for batch in again.batches for step in batch.steps if "create_" in step.sql] == []
    undo = "\n".join(plan_undo(AFTER).statements())
    for name, table in AFTER.tables.items():
        assert (f"undistribute_table('{name}')" in undo) is (table.placement != "local")
    for each in AFTER.saved:
        assert each.sql in undo
    assert plan_undo(BEFORE).batches == ()


def test_what_the_plan_drops_it_brings_back() -> None:
    sent = list(plan_distribution(BEFORE, allow_triggers=True).statements())
    dropped = [each for each in BEFORE.references if any(f"DROP CONSTRAINT {each.name};" in one for one in sent)]
    assert len(dropped) > 10
    for each in dropped:
        added = [number for number, one in enumerate(sent) if f"ADD CONSTRAINT {each.name} FOREIGN" in one]
        removed = [number for number, one in enumerate(sent) if f"DROP CONSTRAINT {each.name};" in one]
        moved = [number for number, one in enumerate(sent) if f"create_distributed_table('{each.table}'" in one]
        assert max(removed) < min(moved) < max(added)
