"""Make the plan by which a table is given to sites or taken from them.

A plan is made before anything is changed, so that whatever cannot be done is refused while all is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from multisite.alembic.definition import (
    SITE_COLUMN,
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

__all__ = ["plan_drop", "plan_scope"]

_CLEARS = ("SET NULL", "SET DEFAULT")
_INTEGERS = ("smallint", "integer", "bigint")
_ACTIONS = ("CASCADE", "RESTRICT", "NO ACTION", *_CLEARS)


def plan_scope(schema: Schema, table: Table, naming: Naming, options: ScopeOptions) -> Plan:
    """Return what makes `table` scoped. Raises `MultisiteError` for what cannot become part of a site."""
    _check_site_column(table)
    planner = _Planner(schema, table, naming, options)
    planner.check_exclusions()
    keys = [planner.key_with_site(key) for key in table.keys if key.unique and planner.may_add_site(key)]
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
    """Return what makes the scoped `table` an ordinary one. Raises `MultisiteError` where `site_id` is needed."""
    if table.site_reference is None:
        raise MultisiteError(f"'{table.name}' belongs to no sites: it has no site_id that refers to sites")
    if SITE_COLUMN in table.primary_key:
        raise MultisiteError(f"site_id is part of the primary key of '{table.name}': change that first")
    planner = _Planner(schema, table, naming, options)
    keys = [
        planner.key_without_site(key) for key in table.keys if mentions_site(key.definition) and planner.may_change(key)
    ]
    references = [planner.reference_without_site(each) for each in table.references if planner.will_drop_site(each)]
    incoming = [planner.reference_without_site(each) for each in planner.incoming if planner.will_drop_site(each)]
    return Plan(table, _distinct(keys, table), tuple(references), tuple(incoming))


class _Planner:
    """The changes of single keys and references of, and to, one table."""

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
        for said, allowed in ((self.options.keep, known), (self.options.on_delete, references)):
            for each in said:
                if each not in allowed:
                    there = ", ".join(sorted(allowed)) or "nothing"
                    raise MultisiteError(f"'{self.table.name}' has nothing called '{each}': it has {there}")

    def check_exclusions(self) -> None:
        """Refuse a constraint that would go on comparing rows of different sites."""
        for name, definition in self.table.exclusions.items():
            if name not in self.options.keep and not mentions_site(definition):
                raise MultisiteError(
                    f"{name} of '{self.table.name}' ({definition}) would hold across sites: drop it first and make it "
                    f"again afterwards with site_id WITH = in it, or let it be as it is with keep=['{name}']"
                )

    def may_change(self, item: Key | Reference) -> bool:
        """Return whether the author does not want to keep `item` as it is."""
        return not {item.name, label(item, self.table.name)} & self.options.keep

    def will_drop_site(self, reference: Reference) -> bool:
        """Return whether `site_id` is to be taken from `reference`."""
        return SITE_COLUMN in reference.columns and self.may_change(reference)

    def may_add_site(self, item: Key | Reference) -> bool:
        """Return whether `item` may get `site_id`: it has none yet, and the author does not want to keep it."""
        return self.may_change(item) and not (
            mentions_site(item.definition) if isinstance(item, Key) else SITE_COLUMN in item.columns
        )

    def key_with_site(self, key: Key) -> Change[Key]:
        return self._changed_key(key, (SITE_COLUMN, *key.columns), with_site(key.definition))

    def key_without_site(self, key: Key) -> Change[Key]:
        rest, columns = without_site(key.definition), plain(key.columns)
        if rest is None or (set(columns) == set(self.table.primary_key) and not key.is_index):
            return Change(key, None)
        if mentions_site(rest):
            raise MultisiteError(f"{key} of '{self.table.name}' is about site_id ({key.definition}): drop it first")
        return self._changed_key(key, columns, rest)

    def _changed_key(self, key: Key, columns: tuple[str, ...], definition: str) -> Change[Key]:
        name = self.naming.renamed(key, self.table.name, columns, ())
        if key.is_index and name is not None and name != key.name:
            definition = with_name(definition, self.schema.quote(name))
        return Change(key, replace(key, name=name, columns=columns, definition=definition))

    def reference_with_site(self, reference: Reference) -> Change[Reference]:
        """Return the change of a reference between scoped tables, which cannot clear its columns any more."""
        said = label(reference, self.table.name)
        action = self._on_delete(reference)
        if action in _CLEARS and not (action == reference.on_delete and clears_listed(reference.definition)):
            raise MultisiteError(
                f"{reference} has ON DELETE {action}, which would clear site_id too. Say what is to be instead, "
                f"as in ondelete={{'{said}': 'NO ACTION'}}, or 'RESTRICT' or 'CASCADE', and clear the column in "
                f"code before a row of {reference.target} is deleted"
            )
        if reference.on_update in _CLEARS:
            raise MultisiteError(
                f"{reference} has ON UPDATE {reference.on_update}, which would clear site_id too: change that first, "
                f"or let the reference be as it is with keep=['{said}']"
            )
        columns, targets = (SITE_COLUMN, *reference.columns), (SITE_COLUMN, *reference.target_columns)
        return self._changed_reference(reference, columns, targets, with_site(self._drop_match_full(reference)))

    def _drop_match_full(self, reference: Reference) -> str:
        """Return the definition of `reference` without MATCH FULL, which says that all of its columns are NULL or none.

        `site_id` never is. Where it is of one column, or none of them may be NULL, it means the same without it.
        """
        definition = without_match_full(reference.definition)
        if not self.schema.has_match_full or definition == reference.definition:
            return reference.definition
        nullable = self.schema.table(reference.table).columns
        if len(reference.columns) > 1 and any(nullable[column] for column in reference.columns):
            raise MultisiteError(
                f"{reference} is MATCH FULL, which no row satisfies where one of {', '.join(reference.columns)} is "
                "NULL and site_id is not: let none of them be NULL, or let the reference be as it is with "
                f"keep=['{label(reference, self.table.name)}']"
            )
        return definition

    def reference_without_site(self, reference: Reference) -> Change[Reference]:
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
        """Return what `reference` is to do ON DELETE, None for NO ACTION."""
        action = self.options.on_delete.get(label(reference, self.table.name), reference.on_delete)
        if action is not None and action.upper() not in _ACTIONS:
            raise MultisiteError(f"ON DELETE {action} of {reference}: expected one of {', '.join(_ACTIONS)}")
        return None if action is None or action.upper() == "NO ACTION" else action.upper()


def _check_site_column(table: Table) -> None:
    if table.site_type not in (None, *_INTEGERS):
        raise MultisiteError(
            f"'{table.name}' has a column site_id already, of the type {table.site_type}: expected bigint; rename it "
            "first"
        )
    for reference in table.references:
        if reference.columns == (SITE_COLUMN,) and reference.target.name != "sites":
            raise MultisiteError(
                f"'{table.name}' has a column site_id already, which refers to {reference.target}: rename it first"
            )


def _check_key_remains(reference: Reference, table: Table, keys: list[Change[Key]]) -> None:
    """Refuse to change the key that a table without sites refers to."""
    for key in (change.old for change in keys):
        if set(key.columns) == set(reference.target_columns) != set(table.primary_key):
            raise MultisiteError(
                f"{reference} refers to {table.name} ({', '.join(reference.target_columns)}), which would be unique "
                f"within a site only: make {reference.table} scoped first, or keep the key with "
                f"keep=['{label(key, table.name)}']"
            )


def _unique_within_site(table: Table, keys: list[Change[Key]]) -> list[set[str]]:
    """Return the columns that will be unique together with `site_id`, for references to turn to."""
    changed = {change.old for change in keys}
    holding = [key for key in table.keys if key.is_whole and (key in changed or SITE_COLUMN in key.columns)]
    return [set(table.primary_key), *(set(plain(key.columns)) for key in holding)]


def _distinct(changes: list[Change[Key]], table: Table) -> tuple[Change[Key], ...]:
    """Return `changes` with the old name where the new one would be another's, as short conventions make them."""
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
    """Yield the constraints that a scoped table has and this one has not: its key within a site, and its site."""
    columns = (SITE_COLUMN, *table.primary_key)
    become = [set(change.new.columns) for change in keys if change.new is not None and change.new.is_whole]
    if table.primary_key and not table.is_unique(set(columns)) and set(columns) not in become:
        yield Key(naming.of_site_key(table.name, columns), columns, True, False, f"UNIQUE ({schema.quote(*columns)})")
    if table.site_reference is None:
        sites = TableName(None, "sites")
        given = naming.of_reference(table.name, (SITE_COLUMN,), sites, ("id",))
        definition = f"FOREIGN KEY ({SITE_COLUMN}) REFERENCES sites (id)"
        yield Reference(given, table.name, (SITE_COLUMN,), sites, ("id",), None, None, definition)
