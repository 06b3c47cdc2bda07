"""What can be told of a hit only beside its visitor's other hits: double clicks, floods, sweeps of mail scanners.

A state machine over judged hits, without clock or database. Hits come about in the order of time; one that comes late
is held against those after it as well as against those before it, so that a short disorder changes no sum.
"""

from __future__ import annotations

from bisect import insort

from tracker.events import Kind, Verdict
from tracker.pipeline.rules import Rules
from tracker.pipeline.verdicts import VIA_PROXY, Judgement
from tracker.stores import Revision, StoredEvent

MINUTE_MS = 60_000
# How far before and after a sweep its visitor's hits are the scanner's. One fetches the pictures of a mail seconds
# after it was sent and follows its links within minutes.
SWEEP_REACH_MS = 10 * MINUTE_MS
# So many different links within so many milliseconds. A person takes half a second for each aimed click, so three
# within one second are no person's; whoever opens a digest's articles in tabs comes to one in two seconds, half of the
# second rate. Both are to be out of reach of strangers, too, whom one address and one agent make one visitor.
SWEEPS = ((3, 1_000), (5, 5_000))
# Bounds of what is remembered: hits of everybody (some 300 bytes each; who comes again on another link costs as much as
# three); of one visitor hits, places, latest links and, on each link, latest clicks that count.
HITS_MAX = 500_000
TRAIL_MAX = 500
PLACES_MAX = 256
LINKS_MAX = 16
CLICKS_MAX = 4
HONEYPOT = "honeypot"

Id = tuple[int, int]
# A sweep may take back what these say; nothing but a look at other hits speaks for them.
FROM_WINDOWS = frozenset({int(Verdict.COUNTED), int(Verdict.DOUBLE_CLICK), int(Verdict.FLOOD)})
# Clicks that are evidence of a sweep. A HEAD is, too: nobody's browser asks links for their headers.
EVIDENCE = FROM_WINDOWS | {int(Verdict.SCANNER), int(Verdict.HEAD)}
# As many as one visitor may be: these say nothing about a visitor, or all that there is to say.
LEFT_OUT = frozenset({int(Verdict.BOT), int(Verdict.MACHINE_OPEN), int(Verdict.UNKNOWN_CODE), int(Verdict.TEST)})
ENTERING = frozenset({int(Kind.IMPRESSION), int(Kind.CLICK), int(Kind.HONEYPOT)})


# When, its nonce, kind, verdict, link. A bare tuple: the garbage collector looks at each NamedTuple again and again.
Hit = tuple[int, int, int, int, int]


class _Place:
    """A visitor's hits of one kind on one link: all of the last minute, and the latest clicks that count."""

    __slots__ = ("clicks", "hits")

    def __init__(self) -> None:
        self.hits: list[Id] = []
        self.clicks: list[Id] = []

    def is_flood(self, own: Id, per_minute: int) -> bool:
        """Adds a hit; whether it lies among more than so many within any minute."""
        hits = self.hits
        if not hits or own > hits[-1]:
            hits.append(own)
            place = len(hits) - 1
        else:
            place = hits.index(own) if own in hits else -1
            if place < 0:
                insort(hits, own)
                place = hits.index(own)
        first, last = max(0, place - per_minute), min(place, len(hits) - 1 - per_minute)
        found = any(hits[i + per_minute][0] - hits[i][0] < MINUTE_MS for i in range(first, last + 1))
        # Of the latest, enough to judge one by that comes late: as many before it as after it.
        if len(hits) > 4 * (per_minute + 1):
            del hits[: -2 * (per_minute + 1)]
        return found

    def is_double(self, own: Id, within_ms: int) -> bool:
        """Whether a click is too near to one that counts; never, within 0 ms."""
        return within_ms > 0 and any(own != other and abs(own[0] - other[0]) <= within_ms for other in self.clicks)

    def count(self, own: Id) -> None:
        self.clicks.append(own)
        del self.clicks[:-CLICKS_MAX]


class _Visitor:
    """Somebody who has been met more than once."""

    __slots__ = ("links", "places", "rule", "size", "swept", "trail")

    def __init__(self) -> None:
        # As many single hits take as much memory.
        self.size = 1
        self.places: dict[tuple[int, int], _Place] = {}
        self.trail: list[Hit] = []
        self.links: dict[int, int] = {}
        self.swept: tuple[int, int] | None = None
        self.rule = ""

    def place(self, link_id: int, kind: int) -> _Place:
        found = self.places.get((link_id, kind))
        if found is None:
            if len(self.places) >= PLACES_MAX:
                self.places = dict(list(self.places.items())[PLACES_MAX // 2 :])
            found = self.places[link_id, kind] = _Place()
            self.size += 2
        return found

    def keep(self, hit: Hit) -> None:
        """Remembers a hit that a sweep may take back."""
        self.trail.append(hit)
        if len(self.trail) <= TRAIL_MAX:
            self.size += 1
        if len(self.trail) > 2 * TRAIL_MAX:
            del self.trail[:-TRAIL_MAX]

    def is_swept(self, at_ms: int) -> bool:
        """Whether a hit of this instant is a scanner's."""
        swept = self.swept
        return swept is not None and swept[0] - SWEEP_REACH_MS <= at_ms <= swept[1] + SWEEP_REACH_MS

    def sweep(self, at_ms: int, rule: str) -> list[Hit]:
        """Notes a sweep; answers the hits that are a scanner's now."""
        if self.swept is None or not self.is_swept(at_ms):
            self.swept, self.rule = (at_ms, at_ms), rule
        else:
            self.swept = (min(self.swept[0], at_ms), max(self.swept[1], at_ms))
        taken = [hit for hit in self.trail if self.is_swept(hit[0])]
        if taken:
            self.trail = [hit for hit in self.trail if not self.is_swept(hit[0])]
        return taken

    def follow(self, link_id: int, at_ms: int) -> str | None:
        """Notes a click; the rule by which it belongs to a sweep."""
        links = self.links
        links[link_id] = max(at_ms, links.pop(link_id, 0))
        if len(links) > LINKS_MAX:
            del links[next(iter(links))]
        if len(links) < SWEEPS[0][0]:
            return None
        instants = sorted(links.values())
        for many, within_ms in SWEEPS:
            for first_ms, last_ms in zip(instants, instants[many - 1 :], strict=False):
                if last_ms - first_ms <= within_ms and abs(at_ms - first_ms) <= within_ms:
                    return f"sweep: {many} links within {within_ms // 1000} s"
        return None


class Windows:
    """Who did what lately.

    Visitors are kept in two generations; whoever has not been met for the length of one is dropped with it. A
    generation is over after ten minutes of events, or with half of the hits that may be remembered.
    """

    def __init__(self) -> None:
        self._visitors: dict[int, _Visitor | Hit] = {}
        self._older: dict[int, _Visitor | Hit] = {}
        self._began_ms = 0
        self._hits = 0
        self._revisions: dict[Id, Revision] = {}

    def judge(self, row: StoredEvent, rules: Rules, *, is_final: bool = False) -> Judgement | None:
        """What an event is beside its visitor's others; `None` where it stays what it is by itself.

        `is_final` is for one that is stored, which is taken up as it was judged. A sweep whose revisions were not
        stored is found again.
        """
        at_ms, nonce, kind, verdict, _, _, link_id, visitor, _, detail = row[:10]
        # Who has no visitor asked not to be followed; of an image proxy thousands of people share the address.
        if visitor is None or link_id is None or kind not in ENTERING or verdict in LEFT_OUT or detail == VIA_PROXY:
            return None
        if at_ms - self._began_ms > SWEEP_REACH_MS or self._hits >= HITS_MAX // 2:
            self._older, self._visitors = self._visitors, {}
            self._began_ms, self._hits = at_ms, 0
        hit = (at_ms, nonce, kind, verdict, link_id)
        known = self._visitors.get(visitor)
        if known is None:
            known = self._older.pop(visitor, None)
            if known is None and kind != Kind.HONEYPOT:
                # Most are met once, and nothing is to be said of them.
                self._visitors[visitor] = hit
                self._hits += 1
                return None
            # Moved over, whoever it is counts in this generation.
            size = 0
        else:
            size = known.size if isinstance(known, _Visitor) else 1
        if not isinstance(known, _Visitor):
            first, known = known, _Visitor()
            if first is not None:
                self._take(known, first, rules, is_final=True)
        self._visitors[visitor] = known
        judgement = self._take(known, hit, rules, is_final=is_final)
        self._hits += known.size - size
        return judgement

    def take_revisions(self) -> list[Revision]:
        """What was said of earlier hits and does not hold any more, since it was asked for last."""
        revisions, self._revisions = self._revisions, {}
        return list(revisions.values())

    def _take(self, visitor: _Visitor, hit: Hit, rules: Rules, *, is_final: bool) -> Judgement | None:
        at_ms, nonce, kind, verdict, link_id = hit
        own = (at_ms, nonce)
        place = visitor.place(link_id, kind)
        # Whatever its verdict, a hit counts towards a flood.
        is_flood = rules.flood_per_min > 0 and place.is_flood(own, rules.flood_per_min)
        if verdict in EVIDENCE and kind != Kind.IMPRESSION:
            rule = HONEYPOT if kind == Kind.HONEYPOT else visitor.follow(link_id, at_ms)
            for earlier in visitor.sweep(at_ms, rule) if rule else ():
                self._take_back(visitor, earlier)
        judgement = None
        if not is_final and verdict == Verdict.COUNTED:
            is_double = kind == Kind.CLICK and place.is_double(own, rules.double_click_ms)
            judgement = _beside(visitor.rule if visitor.is_swept(at_ms) else None, is_double, is_flood, rules)
            verdict = judgement.verdict if judgement else verdict
        if verdict in FROM_WINDOWS:
            if visitor.is_swept(at_ms):
                self._take_back(visitor, hit)
            else:
                visitor.keep((at_ms, nonce, kind, int(verdict), link_id))
                if kind == Kind.CLICK and verdict == Verdict.COUNTED:
                    place.count(own)
        return judgement

    def _take_back(self, visitor: _Visitor, hit: Hit) -> None:
        scanner = _scanner(visitor.rule)
        self._revisions[hit[:2]] = Revision(*hit[:2], scanner.verdict, scanner.detail, scanner.rule)


def _beside(sweep: str | None, is_double: bool, is_flood: bool, rules: Rules) -> Judgement | None:
    """Of several verdicts the one that tells most: a double click's conversion has a first click to go to."""
    if sweep is not None:
        return _scanner(sweep)
    if is_double:
        return Judgement(Verdict.DOUBLE_CLICK, None, f"double click: within {rules.double_click_ms // 1000} s")
    return Judgement(Verdict.FLOOD, None, f"flood: more than {rules.flood_per_min} a minute") if is_flood else None


def _scanner(rule: str) -> Judgement:
    """The detail is the sort of the rule: what reports sum up by."""
    return Judgement(Verdict.SCANNER, rule.partition(":")[0], rule)
