"""Where mail goes out: a server named by an address, and messages handed to it, never without a limit of time."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import parseaddr
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

TIMEOUT_S = 10
PORTS = {"smtp": 587, "smtps": 465}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
REASON_MAX = 300
ADDRESS_MAX = 254


class Server(NamedTuple):
    """`security` is `tls` from the first byte, `starttls` (required, never merely tried), or `off`."""

    host: str
    port: int
    user: str
    password: str
    security: str


class NotSent(Exception):
    """A message did not go out. `is_for_good`: the server will not take it later either."""

    def __init__(self, reason: str, *, is_for_good: bool = False) -> None:
        super().__init__(reason)
        self.is_for_good = is_for_good


def read(text: str) -> Server:
    """A server from `smtp://user:password@host:587?starttls=required` or `smtps://…`. Raises ValueError, with why."""
    parts = urlsplit(text)
    if parts.scheme not in PORTS:
        raise ValueError("it begins with smtp:// or smtps://")
    if not parts.hostname or parts.path not in ("", "/") or parts.fragment or not text.isprintable():
        raise ValueError("it names a host, and nothing behind it but ?starttls=")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = options.pop("starttls", "required")
    if options or starttls not in ("required", "off") or (parts.scheme == "smtps" and parts.query):
        raise ValueError("the only option is starttls, of smtp:// alone: required, as it is without, or off")
    try:
        port = PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError("a port is a number from 1 to 65535")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("a user has a password, and a password a user")
    security = "tls" if parts.scheme == "smtps" else "starttls" if starttls == "required" else "off"
    if password and security == "off" and parts.hostname not in LOOPBACK:
        raise ValueError("a password goes over TLS only, unless the server is this machine")
    return Server(parts.hostname, port, user, password, security)


def is_address(text: str) -> bool:
    """Whether a text is one plain address: nothing that could begin another header, or name a second recipient."""
    name, at, host = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' ,;:<>()[]"\\')
    return bool(name and at and plain and "@" not in name and len(text) <= ADDRESS_MAX) and all(
        label and not label.startswith("-") and not label.endswith("-") and label.replace("-", "a").isalnum()
        for label in host.split(".")
    )


def is_sender(text: str) -> bool:
    """Whether a text is an address, or a name and one in angle brackets."""
    name, address = parseaddr(text)
    return is_address(address) and text.isprintable() and text in (address, f"{name} <{address}>")


@contextmanager
def connected(server: Server, context: ssl.SSLContext | None = None) -> Iterator[smtplib.SMTP]:
    """A connection that is signed in; each step of it takes at most TIMEOUT_S seconds. Raises NotSent."""
    context = context or ssl.create_default_context()
    try:
        if server.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"{server.host}:{server.port} cannot be reached: {_said(error)}") from None
    try:
        if server.security == "starttls":
            connection.starttls(context=context)
        if server.user:
            connection.login(server.user, server.password)
    except (OSError, smtplib.SMTPException) as error:
        connection.close()
        raise NotSent(f"{server.host}:{server.port} does not let us in: {_said(error)}") from None
    try:
        yield connection
    finally:
        # A message that was taken is taken, whatever the farewell.
        try:
            connection.quit()
        except (OSError, smtplib.SMTPException):
            connection.close()


def send(connection: smtplib.SMTP, message: EmailMessage, sender: str, recipient: str) -> None:
    """Hands one message over. Raises NotSent."""
    try:
        connection.send_message(message, sender, [recipient])
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = error.recipients[recipient]
        raise NotSent(f"{recipient} is refused: {_text(code, answer)}", is_for_good=code >= 500) from None
    except smtplib.SMTPResponseException as error:
        reason = _text(error.smtp_code, error.smtp_error)
        raise NotSent(f"The message is refused: {reason}", is_for_good=error.smtp_code >= 500) from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"The connection broke: {_said(error)}") from None


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _text(error.smtp_code, error.smtp_error)
    return (str(error) or type(error).__name__)[:REASON_MAX]


def _text(code: int, reason: bytes | str) -> str:
    """What a server answered, on one line."""
    said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    return " ".join(f"{code} {said}".split())[:REASON_MAX]
