"""Plan how a table becomes scoped or unscoped.

Planning comes before any change, so that an impossible request is refused while the database is still unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from multisite.alembic.ddl_text import (
    clears_listed,
    mentions_site,
    with_name,
    with_on_delete,
    with_site,
    without_match_full,
    without_site,
)
from multisite.alembic.naming import Naming
from multisite.alembic.plan import Change, Plan, ScopeOptions, label, plain
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["plan_drop", "plan_scope"]

_CLEARS = ("SET NULL", "SET DEFAULT")
_INTEGERS = ("smallint", "integer", "bigint")
_ACTIONS = ("CASCADE", "RESTRICT", "NO ACTION", *_CLEARS)


def plan_scope(schema: Schema, table: Table, naming: Naming, options: ScopeOptions) -> Plan:
    """Return the plan that makes `table` scoped.

    Raises:
        MultisiteError: A column, key or reference of the table cannot be converted.
    """
    _check_site_column(table)
    planner = _Planner(schema, table, naming, options)
    planner.check_exclusions()
    keys = [planner.key_with_site(key) for key in table.keys if key.is_unique and planner.may_add_site(key)]
    unique = _unique_within_site(table, keys)
    references, incoming = [], []
    for reference in table.references:
        target = table if reference.target == table.name else schema.table(reference.target)
        if target is table:
            becomes_unique = set(reference.target_columns) in unique
        else:
            becomes_unique = target.is_scoped and target.is_unique({SITE_COLUMN, *reference.target_columns})
        if becomes_unique and planner.may_add_site(reference):
            references.append(planner.reference_with_site(reference))
    for reference in planner.incoming:
        if (
            set(reference.target_columns) in unique
            and planner.may_add_site(reference)
            and schema.table(reference.table).is_scoped
        ):
            incoming.append(planner.reference_with_site(reference))
        else:
            _check_key_remains(reference, table, keys)
    added = tuple(_missing_constraints(schema, table, keys, naming))
    return Plan(table, _distinct(keys, table), tuple(references), tuple(incoming), added)


def plan_drop(schema: Schema, table: Table, naming: Naming, options: ScopeOptions) -> Plan:
    """Return the plan that removes the scope of `table`.

    Raises:
        MultisiteError: The table is not scoped, `site_id` is part of an expression, or of a primary key that cannot
            be replaced.
    """
    if table.site_reference is None:
        raise MultisiteError(f"'{table.name}' is not scoped: it has no site_id that refers to sites")
    # A distributed table has the key (site_id, id), and keeps it if it is copied to a database that is not distributed.
    primary = schema.replaceable_primary_key(table) if SITE_COLUMN in table.primary_key else None
    if SITE_COLUMN in table.primary_key and (primary is None or not plain(table.primary_key)):
        raise MultisiteError(f"site_id is part of the primary key of '{table.name}': change that first")
    planner = _Planner(schema, table, naming, options)
    keys = [] if primary is None else [planner.primary_key_without_site(primary)]
    keys += [
        planner.key_without_site(key) for key in table.keys if mentions_site(key.definition) and planner.may_change(key)
    ]
    references = [planner.reference_without_site(each) for each in table.references if planner.will_drop_site(each)]
    incoming = [planner.reference_without_site(each) for each in planner.incoming if planner.will_drop_site(each)]
    return Plan(table, _distinct(keys, table), tuple(references), tuple(incoming))


class _Planner:
    """Plans the changes of single keys and references from and to one table."""

    def __init__(self, schema: Schema, table: Table, naming: Naming, options: ScopeOptions) -> None:
        self.schema = schema
        self.table = table
        self.naming = naming
        self.options = options
        self.incoming = schema.references_to(table.name)
        self._check_labels()

    def _check_labels(self) -> None:
        every = (*self.table.references, *self.incoming)
        references = {label(reference, self.table.name) for reference in every}
        known = references | {reference.name for reference in every if reference.name}
        known |= {label(key, self.table.name) for key in self.table.keys} | set(self.table.exclusions)
        for names, allowed in ((self.options.keep, known), (self.options.on_delete, references)):
            for each in names:
                if each not in allowed:
                    known_names = ", ".join(sorted(allowed)) or "nothing"
                    raise MultisiteError(
                        f"'{self.table.name}' has no key or reference named '{each}': it has {known_names}"
                    )

    def check_exclusions(self) -> None:
        """Check that no EXCLUDE constraint would still compare rows of different sites.

        Raises:
            MultisiteError: One would, and is not listed in `keep`.
        """
        for name, definition in self.table.exclusions.items():
            if name not in self.options.keep and not mentions_site(definition):
                raise MultisiteError(
                    f"{name} of '{self.table.name}' ({definition}) would apply across sites: drop it first, recreate "
                    f"it afterwards with site_id WITH =, or keep it unchanged with keep=['{name}']"
                )

    def may_change(self, item: Key | Reference) -> bool:
        """Return whether `item` is not listed in `keep`."""
        return not {item.name, label(item, self.table.name)} & self.options.keep

    def will_drop_site(self, reference: Reference) -> bool:
        """Return whether `reference` loses its `site_id`."""
        return SITE_COLUMN in reference.columns and self.may_change(reference)

    def may_add_site(self, item: Key | Reference) -> bool:
        """Return whether `item` has no `site_id` yet and is not listed in `keep`."""
        return self.may_change(item) and not (
            mentions_site(item.definition) if isinstance(item, Key) else SITE_COLUMN in item.columns
        )

    def key_with_site(self, key: Key) -> Change[Key]:
        """Return the change of a key that gets `site_id` as its first column."""
        return self._changed_key(key, (SITE_COLUMN, *key.columns), with_site(key.definition))

    def key_without_site(self, key: Key) -> Change[Key]:
        """Return the change of a key that loses `site_id`; it is dropped if nothing of use would remain.

        Raises:
            MultisiteError: An expression or predicate of the key uses `site_id`.
        """
        rest, columns = without_site(key.definition), plain(key.columns)
        if rest is None or (set(columns) == set(plain(self.table.primary_key)) and not key.is_index):
            return Change(key, None)
        if mentions_site(rest):
            name = label(key, self.table.name)
            raise MultisiteError(f"{name} of '{self.table.name}' is about site_id ({key.definition}): drop it first")
        return self._changed_key(key, columns, rest)

    def primary_key_without_site(self, key: Key) -> Change[Key]:
        """Return the change of a primary key of `site_id` and other columns, which keeps its name."""
        definition = without_site(key.definition) or key.definition
        return Change(key, replace(key, columns=plain(key.columns), definition=definition))

    def _changed_key(self, key: Key, columns: tuple[str, ...], definition: str) -> Change[Key]:
        name = self.naming.renamed(key, self.table.name, columns, ())
        if key.is_index and name is not None and name != key.name:
            definition = with_name(definition, self.schema.quote(name))
        return Change(key, replace(key, name=name, columns=columns, definition=definition))

    def reference_with_site(self, reference: Reference) -> Change[Reference]:
        """Return the change of a reference between scoped tables.

        Raises:
            MultisiteError: Its ON DELETE or ON UPDATE action would set `site_id` to NULL or its default.
        """
        name = label(reference, self.table.name)
        action = self._on_delete(reference)
        if action in _CLEARS and not (action == reference.on_delete and clears_listed(reference.definition)):
            raise MultisiteError(
                f"{reference} has ON DELETE {action}, which would clear site_id too: choose another action, "
                f"as in ondelete={{'{name}': 'NO ACTION'}}, or 'RESTRICT' or 'CASCADE', and clear the column in "
                f"code before deleting a row of {reference.target}"
            )
        if reference.on_update in _CLEARS:
            raise MultisiteError(
                f"{reference} has ON UPDATE {reference.on_update}, which would clear site_id too: change that first, "
                f"or keep the reference unchanged with keep=['{name}']"
            )
        columns, targets = (SITE_COLUMN, *reference.columns), (SITE_COLUMN, *reference.target_columns)
        return self._changed_reference(reference, columns, targets, with_site(self._drop_match_full(reference)))

    def _drop_match_full(self, reference: Reference) -> str:
        """Return the definition of `reference` without MATCH FULL, which requires all its columns to be NULL or none.

        `site_id` is never NULL. A reference with one column, or with columns that are all NOT NULL, means the same
        without MATCH FULL.

        Raises:
            MultisiteError: It would not mean the same.
        """
        definition = without_match_full(reference.definition)
        if not self.schema.has_match_full or definition == reference.definition:
            return reference.definition
        nullable = self.schema.table(reference.table).columns
        if len(reference.columns) > 1 and any(nullable[column] for column in reference.columns):
            raise MultisiteError(
                f"{reference} is MATCH FULL, which no row satisfies if one of {', '.join(reference.columns)} is "
                "NULL and site_id is not: make all of them NOT NULL, or keep the reference unchanged with "
                f"keep=['{label(reference, self.table.name)}']"
            )
        return definition

    def reference_without_site(self, reference: Reference) -> Change[Reference]:
        """Return the change of a reference that loses `site_id`; it is dropped if it has no other column."""
        rest = without_site(reference.definition)
        if rest is None or not plain(reference.columns):
            return Change(reference, None)
        return self._changed_reference(reference, plain(reference.columns), plain(reference.target_columns), rest)

    def _changed_reference(
        self, reference: Reference, columns: tuple[str, ...], targets: tuple[str, ...], definition: str
    ) -> Change[Reference]:
        action = self._on_delete(reference)
        new = replace(
            reference,
            name=self.naming.renamed(reference, reference.table, columns, targets),
            columns=columns,
            target_columns=targets,
            on_delete=action,
            definition=definition if action == reference.on_delete else with_on_delete(definition, action),
        )
        return Change(reference, new)

    def _on_delete(self, reference: Reference) -> str | None:
        """Return the new ON DELETE action of `reference`; None for NO ACTION."""
        action = self.options.on_delete.get(label(reference, self.table.name), reference.on_delete)
        if action is not None and action.upper() not in _ACTIONS:
            raise MultisiteError(f"ON DELETE {action} of {reference}: expected one of {', '.join(_ACTIONS)}")
        return None if action is None or action.upper() == "NO ACTION" else action.upper()


def _check_site_column(table: Table) -> None:
    if table.site_type not in (None, *_INTEGERS):
        raise MultisiteError(
            f"'{table.name}' already has a column site_id, of type {table.site_type}: expected bigint; rename it first"
        )
    for reference in table.references:
        if reference.columns == (SITE_COLUMN,) and reference.target.name != "sites":
            raise MultisiteError(
                f"'{table.name}' already has a column site_id, which refers to {reference.target}: rename it first"
            )


def _check_key_remains(reference: Reference, table: Table, keys: list[Change[Key]]) -> None:
    """Raise if an unscoped table refers to a key that is about to change."""
    for key in (change.old for change in keys):
        if set(key.columns) == set(reference.target_columns) != set(table.primary_key):
            raise MultisiteError(
                f"{reference} refers to {table.name} ({', '.join(reference.target_columns)}), which would only be "
                f"unique within a site: make {reference.table} scoped first, or keep the key with "
                f"keep=['{label(key, table.name)}']"
            )


def _unique_within_site(table: Table, keys: list[Change[Key]]) -> list[set[str]]:
    """Return the sets of columns that will be unique together with `site_id`, for references to use."""
    changed = {change.old for change in keys}
    holding = [key for key in table.keys if key.can_be_referenced and (key in changed or SITE_COLUMN in key.columns)]
    return [set(table.primary_key), *(set(plain(key.columns)) for key in holding)]


def _distinct(changes: list[Change[Key]], table: Table) -> tuple[Change[Key], ...]:
    """Return `changes`, keeping the old name where the new one is taken, as happens with short naming conventions."""
    changed = {change.old for change in changes}
    names = [change.new.name for change in changes if change.new is not None]
    names += [key.name for key in table.keys if key not in changed]
    return tuple(
        replace(change, new=replace(change.new, name=change.old.name))
        if change.new is not None and not change.new.is_index and names.count(change.new.name) > 1
        else change
        for change in changes
    )


def _missing_constraints(
    schema: Schema, table: Table, keys: list[Change[Key]], naming: Naming
) -> Iterator[Key | Reference]:
    """Yield the constraints that `table` lacks for its scope: UNIQUE (site_id, key) and the reference to `sites`."""
    columns = (SITE_COLUMN, *table.primary_key)
    become = [set(change.new.columns) for change in keys if change.new is not None and change.new.can_be_referenced]
    if table.primary_key and not table.is_unique(set(columns)) and set(columns) not in become:
        name = naming.of_site_key(table.name, columns)
        yield Key("unique constraint", name, columns, f"UNIQUE ({schema.quote(*columns)})")
    if table.site_reference is None:
        sites = TableName(None, "sites")
        given = naming.of_reference(table.name, (SITE_COLUMN,), sites, ("id",))
        definition = f"FOREIGN KEY ({SITE_COLUMN}) REFERENCES sites (id)"
        yield Reference(table.name, (SITE_COLUMN,), sites, ("id",), given, definition=definition)
