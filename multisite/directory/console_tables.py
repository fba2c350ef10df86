"""multisite's own tables for the operators of the console: who they are, their log-ins, and their sign-ins at sites.

They are for the whole of multisite, and no statement within a site can name them (`multisite.scoping.tables`). Times
are Unix time, in seconds. Random tokens are stored as hashes, so that a copy of the database does not contain them.
"""

from __future__ import annotations

import sqlalchemy as sa

from multisite.directory.tables import BigId, metadata

__all__ = [
    "attempts_table",
    "challenges_table",
    "log_ins_table",
    "operators_table",
    "passkeys_table",
    "sign_ins_table",
]

operators_table = sa.Table(
    "multisite_operators",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("login", sa.String(254), nullable=False),
    sa.Column("login_key", sa.String(254), nullable=False, unique=True),
    sa.Column("role", sa.String(12), nullable=False),
    sa.Column("password_hash", sa.String(255)),
    sa.Column("code_secret", sa.String(64), nullable=False),
    sa.Column("code_counter", sa.BigInteger, nullable=False),
    sa.Column("link_hash", sa.String(64), unique=True),
    sa.Column("link_expires", sa.BigInteger),
    sa.CheckConstraint("role IN ('look', 'run', 'everything')", name="role"),
)
"""The operators. `login_key` is the normalized login. `code_secret` is the secret of the second factor (RFC 6238), and
`code_counter` the time step of the last code that was accepted, since a code is good once. `link_hash` and
`link_expires` belong to the one link that is outstanding, and are NULL without one."""

log_ins_table = sa.Table(
    "multisite_operator_log_ins",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("operator_id", sa.BigInteger, sa.ForeignKey(operators_table.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("confirmed", sa.BigInteger, nullable=False),
    sa.Column("agent", sa.String(300), nullable=False),
    sa.Index("ix_multisite_operator_log_ins_operator_id", "operator_id"),
)
"""Their log-ins. `confirmed` is when the password and a code were entered last."""

attempts_table = sa.Table(
    "multisite_operator_attempts",
    metadata,
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Index("ix_multisite_operator_attempts_until", "until"),
)
"""How often a log-in was tried, as `multisite.people.attempts` counts."""

sign_ins_table = sa.Table(
    "multisite_sign_ins",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("site_id", sa.BigInteger, nullable=False),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("operator", sa.String(254), nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Index("ix_multisite_sign_ins_expires", "expires"),
)
"""The links by which an operator signs in on a site as one of its users."""

passkeys_table = sa.Table(
    "multisite_operator_passkeys",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("operator_id", sa.BigInteger, sa.ForeignKey(operators_table.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("credential_id", sa.LargeBinary, nullable=False),
    sa.Column("credential_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger),
    sa.Index("ix_multisite_operator_passkeys_operator_id", "operator_id"),
)
"""Their passkeys (WebAuthn): public keys, whose private ones are in their devices. `credential_hash` finds the one that
a browser names, and `sign_count` is what the device counted at its last use; many count nothing, and send 0."""

challenges_table = sa.Table(
    "multisite_operator_challenges",
    metadata,
    sa.Column("challenge_hash", sa.String(64), primary_key=True),
    sa.Column("operator_id", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Index("ix_multisite_operator_challenges_expires", "expires"),
)
"""What their devices are to sign, once and soon. `operator_id` is who adds a passkey; 0 for a log-in."""
