"""Operators: people who stand above the sites, with a role, a password and a second factor.

The commands from `add-operator` to `remove-operator` and the console call the functions of this module. Each takes the
engine of the directory, and writes into the operator log.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from multisite.console.codes import find_step, new_secret
from multisite.core import program
from multisite.directory.console_tables import log_ins_table, operators_table, passkeys_table
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError, escape_for_message
from multisite.sites.operator_log import record
from multisite.users import Account, fold_login, verify_password

__all__ = [
    "LINK_DAYS",
    "ROLES",
    "Operator",
    "add_operator",
    "check_password_and_code",
    "find_by_link",
    "find_operator",
    "find_operator_by_id",
    "get_operator",
    "hash_token",
    "list_operators",
    "may",
    "remove_operator",
    "reset_operator",
    "set_operator_role",
    "set_password",
    "use_link",
]

ROLES = ("look", "run", "everything")
"""The roles; each may do what those before it may.

`look` sees everything. `run` changes sites: domains, settings, theme, maintenance, and adds sites. `everything` also
removes and restores sites, signs in on them, and manages their users and the operators.
"""

LINK_DAYS = 3
"""How long a link to choose a password is valid."""

_table = operators_table.c


@dataclass(frozen=True)
class Operator:
    """An operator. `password_hash` is None until a password is chosen."""

    id: int
    login: str
    role: str
    password_hash: str | None
    code_secret: str

    @property
    def has_password(self) -> bool:
        """Whether the operator has chosen a password."""
        return self.password_hash is not None


_COLUMNS = (_table.id, _table.login, _table.role, _table.password_hash, _table.code_secret)


def may(operator: Operator, role: str) -> bool:
    """Return whether the operator has `role`, or one that may do more."""
    return ROLES.index(operator.role) >= ROLES.index(role)


def hash_token(purpose: str, token: str) -> str:
    """Return the hash by which the database knows a random token."""
    return sha256(f"{purpose}\0{token}".encode("utf-8", "replace")).hexdigest()


def list_operators(engine: Engine) -> Sequence[Operator]:
    """Return the operators, sorted by login."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [Operator(*row) for row in connection.execute(sa.select(*_COLUMNS).order_by(_table.login_key))]


def find_operator(connection: Connection, login: str) -> Operator | None:
    """Return the operator with this login, or None."""
    try:
        key = fold_login(login)
    except ValueError:
        return None
    row = connection.execute(sa.select(*_COLUMNS).where(_table.login_key == key)).one_or_none()
    return None if row is None else Operator(*row)


def find_operator_by_id(connection: Connection, operator_id: int) -> Operator | None:
    """Return the operator with this id, or None."""
    row = connection.execute(sa.select(*_COLUMNS).where(_table.id == operator_id)).one_or_none()
    return None if row is None else Operator(*row)


def get_operator(engine: Engine, login: str) -> Operator:
    """Return the operator with this login. Raises `MultisiteError` if there is none."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return _existing(connection, login)


def _existing(connection: Connection, login: str) -> Operator:
    found = find_operator(connection, login)
    if found is None:
        raise MultisiteError(
            f"there is no operator '{escape_for_message(login)}'; list them: {program.command('list-operators')}"
        )
    return found


def _new_link() -> tuple[str, dict[str, Any]]:
    """Return the token of a new link, and the columns of an operator who chooses a password with it."""
    token = secrets.token_urlsafe(32)
    return token, {
        "password_hash": None,
        "code_secret": new_secret(),
        "code_counter": 0,
        "link_hash": hash_token("link", token),
        "link_expires": int(time.time()) + LINK_DAYS * 86_400,
    }


def _check_role(role: str) -> str:
    if role not in ROLES:
        raise MultisiteError(f"a role is one of {', '.join(ROLES)}, not '{escape_for_message(role)}'")
    return role


def add_operator(engine: Engine, login: str, role: str = "look") -> str:
    """Add an operator without a password.

    Returns:
        The token of the link with which the operator chooses a password.

    Raises:
        MultisiteError: The login or the role is not valid, or the login is taken.
    """
    _check_role(role)
    try:
        key = fold_login(login)
    except ValueError as error:
        raise MultisiteError(str(error)) from error
    token, columns = _new_link()
    values = {"login": login.strip(), "login_key": key, "role": role, **columns}
    try:
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            connection.execute(sa.insert(operators_table).values(**values))
            record(connection, "add-operator", after={"operator": login.strip(), "role": role})
    except IntegrityError as error:
        raise MultisiteError(f"there is already an operator '{escape_for_message(login)}'") from error
    return token


def reset_operator(engine: Engine, login: str) -> str:
    """Remove an operator's password, second factor and passkeys, and end their log-ins.

    Returns:
        The token of the link with which the operator chooses a new password.

    Raises:
        MultisiteError: There is no such operator.
    """
    token, columns = _new_link()
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        found = _existing(connection, login)
        connection.execute(sa.update(operators_table).where(_table.id == found.id).values(**columns))
        _remove_passkeys(connection, found)
        end_log_ins(connection, found)
        record(connection, "reset-operator", after={"operator": found.login})
    return token


def set_operator_role(engine: Engine, login: str, role: str) -> None:
    """Give an operator another role. Raises `MultisiteError` if there is no such operator or role."""
    _check_role(role)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        found = _existing(connection, login)
        connection.execute(sa.update(operators_table).where(_table.id == found.id).values(role=role))
        named = {"operator": found.login}
        record(connection, "set-operator-role", before={**named, "role": found.role}, after={**named, "role": role})


def remove_operator(engine: Engine, login: str) -> None:
    """Remove an operator, and end their log-ins. Raises `MultisiteError` if there is none with this login."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        found = _existing(connection, login)
        end_log_ins(connection, found)
        _remove_passkeys(connection, found)
        connection.execute(sa.delete(operators_table).where(_table.id == found.id))
        record(connection, "remove-operator", before={"operator": found.login, "role": found.role})


def _remove_passkeys(connection: Connection, operator: Operator) -> None:
    connection.execute(sa.delete(passkeys_table).where(passkeys_table.c.operator_id == operator.id))


def end_log_ins(connection: Connection, operator: Operator, *, but: int | None = None) -> None:
    """End all log-ins of an operator, but the one with the id `but`."""
    ended = sa.delete(log_ins_table).where(log_ins_table.c.operator_id == operator.id)
    connection.execute(ended if but is None else ended.where(log_ins_table.c.id != but))


def _has_link(token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.link_hash == hash_token("link", token), _table.link_expires > int(time.time())


def find_by_link(engine: Engine, token: str) -> Operator | None:
    """Return the operator whose link has `token`; None if it was used, or is too old."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(*_has_link(token))).one_or_none()
    return None if row is None else Operator(*row)


def use_link(engine: Engine, token: str, password: str, code: str | None) -> Operator | None:
    """Set the password of the operator whose link has `token`, if `code` shows that the second factor is set up.

    Without a code (None), the second factor is not checked: for `multisite.console_second_factor = false`.

    Returns:
        The operator; None if the link or the code is not valid. The link stays valid after a wrong code.

    Raises:
        ValueError: The password is too short or too long. The link stays valid.
    """
    found = find_by_link(engine, token)
    step = 0 if found is None or code is None else find_step(found.code_secret, code)
    if found is None or step is None:
        return None
    columns = {"password_hash": Account.new_password_hash(password), "link_hash": None, "link_expires": None}
    # One statement reads and clears the link, so that of two requests with the same link only one succeeds.
    statement = sa.update(operators_table).where(*_has_link(token)).values(**columns, code_counter=step)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        if connection.execute(statement).rowcount != 1:
            return None
        end_log_ins(connection, found)
        return find_operator(connection, found.login)


def set_password(engine: Engine, operator: Operator, password: str, log_in_id: int) -> None:
    """Change an operator's password, and end all their log-ins but the one with this id.

    Raises:
        ValueError: The password is too short or too long.
    """
    hashed = Account.new_password_hash(password)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(operators_table).where(_table.id == operator.id).values(password_hash=hashed))
        end_log_ins(connection, operator, but=log_in_id)
        record(connection, "change-password", after={"operator": operator.login})


def check_password_and_code(engine: Engine, login: str, password: str, code: str | None) -> Operator | None:
    """Return the operator with this login, password and code; None if any of them is wrong.

    Without a code (None), the second factor is not checked, as for `use_link`. An unknown login takes the same time as
    a wrong password. A code is good once.
    """
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        found = find_operator(connection, login)
    is_right = verify_password(Account.password_hasher, None if found is None else found.password_hash, password)
    # A code is compared for an unknown login too.
    step = 0 if code is None else find_step(_NOBODY if found is None else found.code_secret, code)
    if found is None or not is_right or step is None:
        return None
    if code is None:
        return found
    use = sa.update(operators_table).where(_table.id == found.id, _table.code_counter < step).values(code_counter=step)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        return found if connection.execute(use).rowcount == 1 else None


_NOBODY = new_secret()
