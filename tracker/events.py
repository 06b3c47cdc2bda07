"""The event: one stored request, and its line in the spool.

The edge writes lines, the loader reads them; this format is all that the two share.
A line is eight hex digits of CRC-32, a space, a JSON array whose first item is the format's version, and a line feed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

import orjson

VERSION = 2
AGENT_MAX = 512
REFERRER_MAX = 1024
LANGUAGE_MAX = 64
CODE_MAX = 64
PARAMS_MAX = 65536
# A hit says by this parameter of its query that it is a test; a report of a conversion calls it `test`.
TEST_PARAM = "tracker_test"
TEST_CODE_MIN, TEST_CODE_MAX = 4, 32
# In lower case, the values by which it says that it is none.
NO_TEST = frozenset({"", "0", "false"})


class Kind(IntEnum):
    """What was asked for."""

    IMPRESSION = 1
    CLICK = 2
    CONVERSION = 3
    HONEYPOT = 4
    CALLBACK = 5

    @property
    def word(self) -> str:
        return self.name.lower()


class Verdict(IntEnum):
    """Whether an event counts, and if not, why not. Numbers are stored: never renumber."""

    COUNTED = 0
    HEAD = 1
    PREFETCH = 2
    BOT = 3
    SCANNER = 4
    DOUBLE_CLICK = 5
    FLOOD = 6
    MACHINE_OPEN = 7
    INTERNAL = 8
    UNKNOWN_CODE = 9
    INACTIVE = 10
    TEST = 11

    @property
    def word(self) -> str:
        return self.name.lower()


def is_test_code(text: str) -> bool:
    """Whether a text can be the code of a test, issued or not: 4 to 32 ASCII letters and digits."""
    return TEST_CODE_MIN <= len(text) <= TEST_CODE_MAX and text.isascii() and text.isalnum()


class Event(NamedTuple):
    """A request to a public endpoint. `at_ms` (since 1970, UTC) and `nonce` (40 bits) are its id, and a click's id too.

    `verdict` is the edge's: what it could tell without parsing an agent. `link_id` is 0 where the edge did not know the
    link. `code` is the link's code, or the workspace's key for a conversion. `params` is the raw query of a conversion
    pixel, a callback's parameters in JSON, what a prefetch says of itself, or the code of a test; `applied` says that
    the conversion has been recorded already. `cost` is what the link's query said of a click's cost, as it stood there.
    """

    kind: int
    at_ms: int
    nonce: int
    verdict: int
    link_id: int
    code: str
    address: str
    agent: str
    referrer: str
    language: str
    gpc: bool
    params: str = ""
    applied: bool = False
    cost: str = ""


def encode(event: Event) -> bytes:
    """One line for the spool."""
    body = orjson.dumps([VERSION, *event])
    return b"%08x %b\n" % (crc32(body), body)


# How many fields the lines of a version have; those of an earlier one lack the last ones. A spool outlives an update.
_FIELDS = {1: 13, VERSION: len(Event._fields)}
_KINDS = frozenset(Kind)
_NUL = b"\\u0000"  # as it stands in JSON
_VERDICTS = frozenset(Verdict)
_TYPES = (int, int, int, int, int, str, str, str, str, str, bool, str, bool, str)


def _is_sound(event: Event) -> bool:
    """Whether every value is one that can be stored: a record may be whole and still be nonsense."""
    kind, at_ms, nonce, verdict, link_id = event[:5]
    return (
        tuple(map(type, event)) == _TYPES
        and kind in _KINDS
        and verdict in _VERDICTS
        and 0 <= at_ms < 2**42
        and 0 <= nonce < 2**40
        and 0 <= link_id < 2**32
    )


def storable(text: str) -> str:
    """A stranger's text as every database takes it: PostgreSQL stores no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


class BadRecord(ValueError):
    """A line that is torn, changed, or of an unknown version."""


def decode(line: bytes) -> Event:
    """The event of one line, its line feed included. Raises BadRecord."""
    if len(line) < 10 or line[-1:] != b"\n":
        raise BadRecord("torn")
    body = line[9:-1]
    try:
        if line[:9] != b"%08x " % crc32(body):
            raise BadRecord("checksum")
        version, *fields = orjson.loads(body)
        if _FIELDS.get(version) != len(fields):
            raise BadRecord("version")
        event = Event(*fields)
        if not _is_sound(event):
            raise BadRecord("values")
        # The code is asked for before anything is stored; the other texts are looked after where they are.
        return event._replace(code=storable(event.code)) if _NUL in body else event
    except (ValueError, TypeError) as error:
        raise BadRecord(str(error)) from None
