"""What of the spool could not be stored: kept in files of its own, for as long as it may be.

A record that can be read is set aside without its visitor's address, and of a conversion only with what the loader
would have understood. What cannot be read may hold anything: it is emptied after a day, and its empty file goes on
saying that something was lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_plus, urlsplit

import orjson

from tracker import customers
from tracker.claims import KNOWN
from tracker.days import DAY_MS
from tracker.events import BadRecord, Event, Kind, decode, encode

FOLDER = "aside"
READABLE = ".refused"
# No address outlives 48 hours: a day, and time enough for a machine that was off over night.
UNREADABLE_KEPT_MS = DAY_MS
READABLE_KEPT_MS = 30 * DAY_MS
# A customer who is not sealed by now is left out: only the hash may lie about for as long as that.
KEPT_PARAMS = {*KNOWN, customers.SEALED}
KEPT_PARAMS -= {customers.NAME}


def keep(spool: Path, name: str, content: bytes) -> None:
    """Keeps bytes under a name, once however often it is called."""
    (spool / FOLDER).mkdir(exist_ok=True)
    (spool / FOLDER / name).write_bytes(content)


def keep_record(spool: Path, name: str, line: bytes) -> None:
    """Keeps a whole line, without the person where it can be read."""
    try:
        keep(spool, name + READABLE, encode(_reduced(decode(line))))
    except BadRecord:
        keep(spool, name + ".bad", line)


def _reduced(event: Event) -> Event:
    params = event.params
    if event.kind == Kind.CONVERSION:
        params = "&".join(part for part in params.split("&") if _is_kept(*part.partition("=")))
    elif event.kind == Kind.CALLBACK:
        params = _reduced_json(params)
    return event._replace(address="", referrer=_host_of(event.referrer), params=params)


def _is_kept(name: str, _mark: str, value: str) -> bool:
    name = unquote_plus(name)
    known = name in KEPT_PARAMS or (name.lower() in KNOWN and name.lower() != customers.NAME)
    return known and (name != customers.SEALED or customers.is_hash(value))


def _reduced_json(text: str) -> str:
    """The same of a callback's parameters; nothing where they are none."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    # Of one that waited for the database the rest is its signature, and may be all of its message.
    said = found.get("said", found)
    if not isinstance(said, dict):
        return ""
    return orjson.dumps({name: value for name, value in said.items() if _is_kept(name, "=", str(value))}).decode()


def _host_of(referrer: str) -> str:
    """A referrer down to its host, still as a URL: what reads it asks for the host."""
    try:
        parts = urlsplit(referrer)
        return f"{parts.scheme}://{parts.hostname}/" if parts.hostname else ""
    except ValueError:
        return ""


def count(spool: Path) -> int:
    """How many records and torn tails could not be stored; those that were emptied since among them."""
    try:
        return len(os.listdir(spool / FOLDER))
    except FileNotFoundError:
        return 0


def tidy(spool: Path, now_ms: int) -> None:
    """Empties what has been kept for its time."""
    try:
        found = sorted((spool / FOLDER).iterdir())
    except FileNotFoundError:
        return
    for path in found:
        kept_ms = READABLE_KEPT_MS if path.suffix == READABLE else UNREADABLE_KEPT_MS
        with suppress(FileNotFoundError):  # somebody has looked at it and taken it away
            is_old = path.stat().st_mtime_ns // 1_000_000 <= now_ms - kept_ms
            if is_old and path.stat().st_size:
                os.truncate(path, 0)
