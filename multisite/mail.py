"""Send mail of a site by the SMTP server that `multisite.mail` names.

    send(settings, make_message(site, to="jane@example.com", subject="Welcome", text="..."))

The sender is the site setting `mail_from`, if the application declares it, else `noreply@` the site's domain.
"""

from __future__ import annotations

import smtplib
import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from multisite.core.settings import PREFIX, Settings
from multisite.core.site import Site
from multisite.errors import MultisiteError, SettingError

__all__ = ["MailError", "check_address", "make_message", "send"]

TIMEOUT_SECONDS = 10.0
"""How long each step of the connection to the mail server may take."""

MAX_ADDRESS_CHARACTERS = 254
"""Maximum length of an address (RFC 5321 section 4.5.3.1.3, without the brackets)."""


class MailError(MultisiteError):
    """A message could not be sent."""


def check_address(address: str) -> None:
    """Raise `ValueError` if `address` is not an e-mail address."""
    try:
        parsed = Address(addr_spec=address)
    except (ValueError, IndexError, MessageError):
        parsed = None
    is_complete = parsed is not None and parsed.username and parsed.domain
    if not is_complete or not address.isprintable() or len(address) > MAX_ADDRESS_CHARACTERS:
        raise ValueError("an e-mail address such as jane@example.com")


def make_message(site: Site, *, to: str, subject: str, text: str) -> EmailMessage:
    """Return a plain-text message from `site`. Raises `MailError` if an address is not valid."""
    sender = site.settings.get("mail_from") if site.settings_provider is not None else None
    message = EmailMessage()
    try:
        check_address(to)
        message["From"] = Address(_one_line(site.name), addr_spec=sender or f"noreply@{site.host}")
        message["To"] = Address(addr_spec=to)
    except ValueError as error:
        raise MailError(f"a message from {site} cannot be sent: its sender or recipient is not {error}") from error
    message["Subject"] = _one_line(subject)
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=site.host)
    # So that no machine replies, such as one that announces a holiday (RFC 3834 section 5).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def send(settings: Settings, message: EmailMessage) -> None:
    """Send `message`, which may take some seconds.

    Raises:
        SettingError: `multisite.mail` is not set.
        MailError: The server cannot be reached, or rejects the message.
    """
    if settings.mail is None:
        raise SettingError(PREFIX + "mail", "(not set)", "the URL of a mail server, such as smtp://localhost")
    parts = urlsplit(settings.mail)
    host = parts.hostname or ""
    try:
        with _connect(parts.scheme, host, parts.port) as server:
            if parts.username is not None:
                if not isinstance(server.sock, ssl.SSLSocket):
                    raise MailError(
                        f"the mail server {host} does not offer STARTTLS, which a password requires: use smtps://"
                    )
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        # smtplib's errors may be several lines long, and contain bytes of the server.
        raise MailError(f"the mail server {host} rejected the message: {' '.join(str(error).split())}") from error


def _connect(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(host, port or 25, timeout=TIMEOUT_SECONDS)
    try:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _one_line(text: str) -> str:
    """Return `text` without line breaks and control characters, which a header must not contain."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
