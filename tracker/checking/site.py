"""Whose page is checked: the workspace's key and currency, and where this tracker answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tracker.destinations import OwnDomain
from tracker.models import Workspace

KEY = re.compile(r"w_[A-Za-z0-9_]{12}")


@dataclass(frozen=True, slots=True)
class Site:
    """`click_id` is the one that was sent along, empty where none was; `is_off`: the link followed adds none."""

    workspace: Workspace
    own: OwnDomain
    click_id: str = ""
    is_off: bool = False

    def is_ours(self, url: str) -> bool:
        """Whether this tracker answers there."""
        return self.own.is_at(url)

    def key_fault(self, key: str) -> str | None:
        """What is wrong with a key, as half a sentence; None when it is the workspace's."""
        if key == self.workspace.key:
            return None
        if not key:
            return "no key at all"
        kind = "the key of another workspace or installation" if KEY.fullmatch(key) else "no key of a workspace"
        return f"“{key[:40]}”, {kind}"


def split(url: str) -> SplitResult:
    """A URL's parts; all empty where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def host(url: str) -> str:
    return split(url).hostname or ""
