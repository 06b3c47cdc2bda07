"""Short codes: made without look-alikes, checked, and kept off the paths the tracker itself answers."""

from __future__ import annotations

import secrets
from uuid import UUID

import shortuuid

LENGTH = 7
LENGTH_MAX = 64
OTHERS = "*"  # stands for unknown codes beyond those of a day that are told apart
RESERVED = frozenset(
    {
        *("api", "app", "s", "static", "c", "h", "i", "t"),
        *("healthz", "readyz", "metrics", "robots", "favicon", "well-known", "apple-app-site-association"),
        *("docs", "login", "logout", "setup", "privacy"),
    }
)

_generator = shortuuid.ShortUUID()
_LETTERS = len(_generator.get_alphabet())


def generate(length: int = LENGTH) -> str:
    """A random code from shortuuid's 57 letters (no 0, O, 1, l or I): of 7 characters there are 2 * 10^12.

    One random number is written in those letters: drawn letter by letter a code takes three times as long.
    """
    return _generator.encode(UUID(int=secrets.randbelow(_LETTERS**length)), pad_length=length)


def is_code(text: str) -> bool:
    """Whether a text is 1 to 64 of A-Z, a-z, 0-9, `-` and `_`."""
    plain = text.replace("-", "a").replace("_", "a")
    return len(text) <= LENGTH_MAX and plain.isalnum() and plain.isascii()


def refusal(code: str) -> str | None:
    """Why a custom code cannot be used, as a sentence; `None` when it can."""
    if not code or len(code) > LENGTH_MAX:
        return f"A code has 1 to {LENGTH_MAX} characters."
    if not is_code(code):
        return "A code is made of the letters A-Z and a-z, digits, “-” and “_” only."
    if code.lower() in RESERVED:
        return f"“{code}” is reserved for the tracker itself; choose another code."
    return None
