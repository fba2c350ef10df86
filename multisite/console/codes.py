"""The second factor: codes of an app for one-time passwords (RFC 6238), and the QR code that sets it up."""

from __future__ import annotations

import time

try:
    import pyotp
    import segno
except ModuleNotFoundError as error:
    if error.name not in {"pyotp", "segno"}:
        raise
    raise ImportError("multisite.console needs pyotp and segno: pip install 'pyramid-multisite[console]'") from error

__all__ = ["find_step", "new_secret", "qr_code", "setup_uri"]

STEP_SECONDS = 30
"""The step of RFC 6238, which all apps support."""

WINDOW = 1
"""How many steps a code may be early or late: the clock of a phone may be wrong, and typing takes time."""


def new_secret() -> str:
    """Return a new random secret of 160 bits, in Base32."""
    return pyotp.random_base32()


def find_step(secret: str, code: str) -> int | None:
    """Return the time step of `code`; None if it is not valid now."""
    digits = "".join(code.split())
    if len(digits) != 6 or not digits.isascii() or not digits.isdigit():
        return None
    totp, now = pyotp.TOTP(secret), int(time.time()) // STEP_SECONDS
    steps = range(now - WINDOW, now + WINDOW + 1)
    # All of them are compared, so that the time does not tell which one matches.
    found = [step for step in steps if pyotp.utils.strings_equal(totp.generate_otp(step), digits)]
    return found[-1] if found else None


def setup_uri(secret: str, login: str, host: str) -> str:
    """Return the address that sets up an app for the operator `login`."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=host)


def qr_code(text: str) -> str:
    """Return a QR code as an SVG element, without inline styles."""
    return segno.make(text, error="m").svg_inline(scale=5, border=4, light="#fff", dark="#000", omitsize=True)
