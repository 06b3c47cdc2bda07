"""Servers of other people, as a fetcher meets them: whatever bytes they please, on a port of this machine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "certificates" / "shop.example.pem"  # for shop.example, signed by itself
Answer = bytes | Callable[[socket.socket], None]


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP answer. Names of headers have `_` for `-`."""
    given = {"content_type": "text/html", "content_length": str(len(body))} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, location=location)


class Peer:
    """Answers each path with what `pages` has for it; keeps what it was asked."""

    def __init__(self, *, secure: bool = False) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context = None
        if secure:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(CERTIFICATE)
        self._open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def url(self, path: str, host: str = "shop.example") -> str:
        return f"{'https' if self._context else 'http'}://{host}:{self.port}{path}"

    def _serve(self) -> None:
        while self._open:
            connection, _ = self._listener.accept()
            with suppress(OSError):
                self._answer(connection)
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        if not self._open:
            return
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            connection.settimeout(10)
            request = b""
            # A greeting of TLS has no such end; a server without TLS answers it at once.
            while (
                not request.startswith(b"\x16") and b"\r\n\r\n" not in request and (received := connection.recv(4096))
            ):
                request += received
            if not request:
                return
            self.requests.append(request.decode("latin-1"))
            path = self.requests[-1].partition(" ")[2].partition(" ")[0].partition("?")[0]
            page = self.pages.get(path, answer(b"nothing here", "404 Not Found"))
            if isinstance(page, bytes):
                connection.sendall(page)
            else:
                page(connection)

    def close(self) -> None:
        self._open = False
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()


@contextmanager
def peer(*, secure: bool = False) -> Iterator[Peer]:
    found = Peer(secure=secure)
    try:
        yield found
    finally:
        found.close()
