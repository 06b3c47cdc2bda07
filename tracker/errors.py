"""Every exception the tracker raises on purpose.

TrackerError
├── SettingError        a setting is malformed: the program does not start
├── Invalid             input refused, a sentence per field          422 (400 where the message itself is malformed)
│   ├── Taken           a code or slug that exists                   409
│   ├── TooLong         more than is read of a message               413 (414 where it is the query)
│   ├── Unverified      a signature is missing or does not hold      401
│   ├── NotAllowed      not from this address                        403
│   ├── NotYours        somebody else's to change                    403
│   └── TooMany         more often than is taken                     429
├── NotFound            no such thing in this workspace              404
├── Busy                somebody else does the same work, or all that may be done at once
├── Unfetchable         a page that cannot or must not be fetched, with the reason's name
└── Forbidden           no token, a wrong token, no login            401
"""

from __future__ import annotations

from collections.abc import Mapping


class TrackerError(Exception):
    """The root: catching it catches all of ours and nothing else."""


class SettingError(TrackerError):
    """A setting has a value that cannot be used; the message names the setting."""


class Invalid(TrackerError):
    """Input refused. `errors` holds one sentence for each field at fault; nothing was stored."""

    status = 422
    title = "Some fields need another look"

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors.items()))
        self.errors = dict(errors)


class Malformed(Invalid):
    """The message cannot be read at all: no JSON, no form, too long."""

    status = 400
    title = "The message cannot be read"


class Taken(Invalid):
    """A name that must be unique exists already."""

    status = 409
    title = "This name is taken"


class TooLong(Malformed):
    """The message is longer than is read of one."""

    status = 413
    title = "The message is too long"

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(errors)
        if "query" in errors:
            self.status = 414


class Unverified(Invalid):
    """A signature is missing or does not hold; `reason` is its word."""

    status = 401
    title = "The signature does not hold"

    def __init__(self, errors: Mapping[str, str], reason: str) -> None:
        super().__init__(errors)
        self.reason = reason


class NotAllowed(Invalid):
    """Whoever asks from this address is not let in."""

    status = 403
    title = "This address may not report"
    reason = "address_not_allowed"


class NotYours(Invalid):
    """Only whoever made this can change it."""

    status = 403
    title = "This is somebody else's"


class TooMany(Invalid):
    """More requests than are taken in a minute. `retry_after_s` is how long it is until the next one is."""

    status = 429
    title = "Too many reports"

    def __init__(self, errors: Mapping[str, str], retry_after_s: float) -> None:
        super().__init__(errors)
        self.retry_after_s = retry_after_s


class NotFound(TrackerError):
    """Nothing of that name in this workspace."""


class Busy(TrackerError):
    """Others do the same work at this moment; nothing was done."""


class Unfetchable(TrackerError):
    """A page was not fetched. `name` says why, for programs; the sentence says it for people."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Forbidden(TrackerError):
    """The request shows no valid credential."""
