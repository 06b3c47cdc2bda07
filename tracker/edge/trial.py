"""Where a short link leads, as a visitor would be sent, without anything being recorded."""

from __future__ import annotations

from typing import NamedTuple

from tracker import clickid
from tracker.edge.decide import Moment, Pages, Request, click
from tracker.edge.linkcache import DatabaseAway, LinkCache

_NOBODY = Request(is_head=False, query="", address="", agent="", referrer="", language="", purpose="", gpc=False)


class Trial(NamedTuple):
    """`location` is None where the link leads nowhere; `click_id` is the one that stands in it, or empty."""

    location: str | None
    click_id: str


def follow(cache: LinkCache, key: clickid.Key, code: str, moment: Moment) -> Trial | None:
    """Follows a link; None where no link has the code, or nobody can tell."""
    try:
        target = cache.load(code)
    except DatabaseAway:
        return None
    answer, event = click(_NOBODY, code, target, moment, key, Pages(b"", b""), lambda _: None)
    if not event.link_id:
        return None
    location = answer.location.decode("ascii") if answer.location else None
    click_id = clickid.make(key, event.link_id, moment.at_ms, moment.nonce)
    return Trial(location, click_id if click_id in (location or "") else "")
