"""A small mail server on a free port of this machine: it speaks SMTP over a real socket and keeps what it is given."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, cast


@dataclass
class MailServer:
    """What it took, and how it behaves. `mails` are (sender, recipient, message)."""

    port: int = 0
    mails: list[tuple[str, str, EmailMessage]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    tls_used: list[bool] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    refused: dict[str, str] = field(default_factory=dict)  # what is answered to RCPT, by recipient
    wants_login: tuple[str, str] | None = None
    silent: threading.Event | None = None  # says nothing until this is set
    reached: threading.Event = field(default_factory=threading.Event)


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        mail: MailServer = cast(Any, self.server).mail
        mail.reached.set()
        if mail.silent is not None:
            mail.silent.wait()
            return
        secure, sender, recipient, signed_in = False, "", "", False
        self.say("220 mail.test")
        while line := self.rfile.readline():
            text = line.decode().strip()
            verb = text.partition(" ")[0].upper()
            if verb == "EHLO":
                offers = ["mail.test", "8BITMIME"]
                offers += ["STARTTLS"] if mail.tls and not secure else []
                offers += ["AUTH PLAIN"] if mail.wants_login else []
                for offer in offers[:-1]:
                    self.say(f"250-{offer}")
                self.say(f"250 {offers[-1]}")
            elif verb == "STARTTLS" and mail.tls:
                self.say("220 go on")
                self.request = mail.tls.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
                secure = True
            elif verb == "AUTH":
                user, password = base64.b64decode(text.split()[2]).decode().split("\0")[1:]
                mail.logins.append((user, password))
                signed_in = (user, password) == mail.wants_login
                self.say("235 welcome" if signed_in else "535 5.7.8 wrong user or password")
            elif verb == "MAIL":
                sender, recipient = text[text.index("<") + 1 : text.index(">")], ""
                self.say("250 ok" if signed_in or not mail.wants_login else "530 sign in first")
            elif verb == "RCPT":
                recipient = text[text.index("<") + 1 : text.index(">")]
                self.say(mail.refused.get(recipient, "250 ok"))
            elif verb == "DATA":
                self.say("354 go on")
                mail.mails.append((sender, recipient, self.message()))
                mail.tls_used.append(secure)
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok" if verb in ("RSET", "NOOP") else "502 not here")

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def message(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        return cast(EmailMessage, email.message_from_bytes(b"".join(lines), policy=email.policy.default))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    mail: MailServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is what some tests are about."""


@contextmanager
def mail_server(**given: Any) -> Iterator[MailServer]:
    mail = MailServer(**given)
    with _Server(("127.0.0.1", 0), _Session) as server:
        server.mail = mail
        mail.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield mail
        finally:
            if mail.silent is not None:
                mail.silent.set()
            server.shutdown()
            thread.join()
