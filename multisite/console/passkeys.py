"""Passkeys of operators (WebAuthn): a log-in by a device that asks for its PIN, a finger or a face.

A passkey takes the place of login, password and code: the device is one factor, and what it asks for the other, so user
verification is required. It is bound to `multisite.console_host`, and no other host can use it. The challenge that the
device signs is random, good once and for five minutes; the database holds its hash.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from multisite.console.operators import Operator, find_operator_by_id, hash_token
from multisite.console.texts import N_
from multisite.directory.console_tables import challenges_table, passkeys_table
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.operator_log import record

try:
    import webauthn
    from webauthn.helpers import (
        parse_authentication_credential_json,
        parse_client_data_json,
        parse_registration_credential_json,
    )
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )
except ModuleNotFoundError as error:
    if error.name != "webauthn":
        raise
    raise ImportError("multisite.console needs webauthn: pip install 'pyramid-multisite[console]'") from error

__all__ = [
    "MAX_NAME_CHARACTERS",
    "MAX_PASSKEYS",
    "Passkey",
    "RelyingParty",
    "add_passkey",
    "check_passkey",
    "list_passkeys",
    "log_in_options",
    "registration_options",
    "remove_passkey",
    "rename_passkey",
]

log = logging.getLogger(__name__)

CHALLENGE_SECONDS = 300
"""How long a challenge is good: a device may have to be fetched."""

MAX_PASSKEYS = 20
"""How many passkeys an operator may have."""

MAX_NAME_CHARACTERS = 100

LOG_IN = 0
"""The operator of a challenge for a log-in: who it will be is not known yet."""

_table = passkeys_table.c
_challenge = challenges_table.c


@dataclass(frozen=True)
class RelyingParty:
    """Whom a passkey is for: the host of the console, and the origin of its pages, such as `https://host:port`."""

    host: str
    origin: str


@dataclass(frozen=True)
class Passkey:
    """A passkey, for its operator to recognize. Times are Unix time, in seconds; `used` is None before the first."""

    id: int
    name: str
    created: int
    used: int | None


def list_passkeys(engine: Engine, operator: Operator) -> Sequence[Passkey]:
    """Return the passkeys of an operator, beginning with the oldest."""
    statement = sa.select(_table.id, _table.name, _table.created, _table.used)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        found = connection.execute(statement.where(_table.operator_id == operator.id).order_by(_table.id))
        return [Passkey(*row) for row in found]


def registration_options(engine: Engine, operator: Operator, party: RelyingParty) -> str:
    """Return the options with which a browser makes a passkey for `operator`, as JSON.

    Raises:
        MultisiteError: The operator has as many as there may be.
    """
    own = sa.select(_table.credential_id).where(_table.operator_id == operator.id)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        known = list(connection.scalars(own))
    if len(known) >= MAX_PASSKEYS:
        raise MultisiteError(N_("you have as many passkeys as there may be: remove one first"))
    options = webauthn.generate_registration_options(
        rp_id=party.host,
        rp_name="multisite",
        user_id=_user_handle(operator),
        user_name=operator.login,
        challenge=_new_challenge(engine, operator.id),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
        # It has to be found by a browser that does not say who logs in.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
    )
    return webauthn.options_to_json(options)


def add_passkey(engine: Engine, operator: Operator, credential: str, name: str, party: RelyingParty) -> None:
    """Add a passkey that a browser has made by `registration_options`, and record it in the operator log.

    Raises:
        MultisiteError: The browser's answer is not valid, or came too late, or the passkey is known.
    """
    try:
        challenge = _challenge_of(parse_registration_credential_json(credential))
        _use_challenge(engine, challenge, operator.id)
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except Exception as refused:  # The library has many kinds of errors for what is not well-formed.
        log.info("a passkey was refused: %s", refused)
        raise MultisiteError(N_("the passkey is not valid, or took too long: try again")) from refused
    printable = "".join(c if c.isprintable() else " " for c in name)
    shown = " ".join(printable.split())[:MAX_NAME_CHARACTERS] or "passkey"
    values = {
        "operator_id": operator.id,
        "credential_id": verified.credential_id,
        "credential_hash": _credential_hash(verified.credential_id),
        "public_key": verified.credential_public_key,
        "sign_count": verified.sign_count,
        "name": shown,
        "created": int(time.time()),
    }
    try:
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            connection.execute(sa.insert(passkeys_table).values(**values))
            record(connection, "add-passkey", after={"operator": operator.login, "passkey": shown})
    except IntegrityError as refused:
        raise MultisiteError(N_("this passkey is known already")) from refused


def rename_passkey(engine: Engine, operator: Operator, passkey_id: int, name: str) -> bool:
    """Rename a passkey of `operator`, and record it.

    Returns:
        Whether there is one with this id.

    Raises:
        MultisiteError: The name is empty, too long or not printable.
    """
    shown = " ".join(name.split())
    if not shown or len(shown) > MAX_NAME_CHARACTERS or not shown.isprintable():
        raise MultisiteError(f"the name of a passkey has 1 to {MAX_NAME_CHARACTERS} printable characters")
    own = _table.operator_id == operator.id, _table.id == passkey_id
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        before = connection.scalar(sa.select(_table.name).where(*own).with_for_update())
        if before is None:
            return False
        connection.execute(sa.update(passkeys_table).where(*own).values(name=shown))
        named = {"operator": operator.login}
        record(connection, "rename-passkey", before={**named, "passkey": before}, after={**named, "passkey": shown})
    return True


def remove_passkey(engine: Engine, operator: Operator, passkey_id: int) -> bool:
    """Remove a passkey of `operator`, and record it. Return whether there was one with this id."""
    own = _table.operator_id == operator.id, _table.id == passkey_id
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        name = connection.scalar(sa.delete(passkeys_table).where(*own).returning(_table.name))
        if name is not None:
            record(connection, "remove-passkey", before={"operator": operator.login, "passkey": name})
    return name is not None


def log_in_options(engine: Engine, party: RelyingParty) -> str:
    """Return the options with which a browser asks for any passkey of the console, as JSON.

    They are the same for everybody, so that they do not tell which operators there are.
    """
    options = webauthn.generate_authentication_options(
        rp_id=party.host,
        challenge=_new_challenge(engine, LOG_IN),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def check_passkey(engine: Engine, credential: str, party: RelyingParty) -> Operator | None:
    """Return the operator whose passkey has signed a challenge of `log_in_options`; None if it is not valid.

    Each answer is good once: its challenge is removed first, and the device's counter has to rise.
    """
    try:
        parsed = parse_authentication_credential_json(credential)
        challenge = _challenge_of(parsed)
        _use_challenge(engine, challenge, LOG_IN)
        passkey_id, public_key, sign_count, operator = _find(engine, parsed.raw_id, parsed.response.user_handle)
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except Exception as refused:  # As above.
        log.info("a log-in by a passkey was refused: %s", refused)
        return None
    # Of two answers with the same count, only one is accepted.
    used = sa.update(passkeys_table).where(_table.id == passkey_id, _table.sign_count == sign_count)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        values = {"sign_count": verified.new_sign_count, "used": int(time.time())}
        return operator if connection.execute(used.values(**values)).rowcount == 1 else None


def _find(engine: Engine, credential_id: bytes, user_handle: bytes | None) -> tuple[int, bytes, int, Operator]:
    """Return the id, the public key, the count and the operator of a passkey.

    Raises:
        LookupError: There is none, or it is not that of the operator whom the device has named.
    """
    columns = _table.id, _table.public_key, _table.sign_count, _table.operator_id
    statement = sa.select(*columns).where(_table.credential_hash == _credential_hash(credential_id))
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        row = connection.execute(statement).one_or_none()
        operator = None if row is None else find_operator_by_id(connection, row.operator_id)
    if row is None or operator is None or not compare_digest(user_handle or b"", _user_handle(operator)):
        raise LookupError("there is no such passkey")
    return row.id, row.public_key, row.sign_count, operator


def _challenge_of(credential: Any) -> bytes:
    return parse_client_data_json(credential.response.client_data_json).challenge


def _new_challenge(engine: Engine, operator_id: int) -> bytes:
    challenge, now = secrets.token_bytes(32), int(time.time())
    row = {"operator_id": operator_id, "expires": now + CHALLENGE_SECONDS}
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(challenges_table).where(_challenge.expires <= now))
        connection.execute(sa.insert(challenges_table).values(challenge_hash=_challenge_hash(challenge), **row))
    return challenge


def _use_challenge(engine: Engine, challenge: bytes, operator_id: int) -> None:
    """Remove a challenge. Raises `LookupError` unless it was made for this operator, and is still good."""
    own = _challenge.challenge_hash == _challenge_hash(challenge), _challenge.operator_id == operator_id
    statement = sa.delete(challenges_table).where(*own, _challenge.expires > int(time.time()))
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        if connection.execute(statement).rowcount != 1:
            raise LookupError("the challenge is unknown, was used, or is too old")


def _challenge_hash(challenge: bytes) -> str:
    return hash_token("challenge", challenge.hex())


def _credential_hash(credential_id: bytes) -> str:
    return hash_token("passkey", credential_id.hex())


def _user_handle(operator: Operator) -> bytes:
    """Return the name by which a device knows the operator; it must not tell who that is."""
    return sha256(f"operator\0{operator.id}".encode()).digest()
