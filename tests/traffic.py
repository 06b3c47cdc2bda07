"""A simulated month of mixed traffic of which it is known what people did: mails with their scanners, proxies and
machine opens, links shared in chats and on networks, impatient people, prefetching browsers, crawlers.

Requests go through the whole application in the order of their time, with the clock that they would have met.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MAILINGS = 4
RECIPIENTS = 1_500
SHARERS = 1_200

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
EDGE = CHROME + " Edg/141.0.0.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
BROWSERS = (CHROME, EDGE, IPHONE, ANDROID, FIREFOX)
OUTLOOK = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; Microsoft Outlook 16.0.12026; ms-office)"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
PREVIEWS = (
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "WhatsApp/2.23.20.0 A",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "TelegramBot (like TwitterBot)",
    "Twitterbot/1.0",
)
CRAWLERS = (
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "python-requests/2.32.5",
    "curl/8.5.0",
    "",
)
SAFE_LINKS = "https://eur01.safelinks.protection.outlook.com/"
_turns = count()


@dataclass(order=True)
class Hit:
    """One request to be. `then` makes more of the answer's Location."""

    at_ms: int
    turn: int
    path: str = field(compare=False)
    address: str = field(compare=False)
    agent: str = field(compare=False)
    method: str = field(compare=False, default="GET")
    headers: dict[str, str] = field(compare=False, default_factory=dict)
    then: Callable[[str, int], Iterable[Hit]] | None = field(compare=False, default=None)


class Month:
    """What happens, and what people really did: impressions, clicks and conversions by campaign."""

    def __init__(self, mail: list[str], shared: list[str], key: str, start_ms: int, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._mail, self._shared, self._key, self._start_ms = mail, shared, key, start_ms
        self._orders = count()
        self.truth = {campaign: Counter[str]() for campaign in ("mail", "shared")}
        self.naive = {campaign: Counter[str]() for campaign in ("mail", "shared")}
        self._due: list[Hit] = []
        for mailing in range(MAILINGS):
            sent_ms = start_ms + (2 + 7 * mailing) * DAY_MS + 8 * HOUR_MS
            for recipient in range(RECIPIENTS):
                self._deliver(recipient, sent_ms + self._chance.randrange(600_000))
        for person in range(SHARERS):
            self._share(person, start_ms + self._chance.randrange(28 * DAY_MS))
        self._crawl()

    def play(self, ask: Callable[[Hit], str]) -> int:
        """Sends everything in the order of time; `ask` answers the Location. Answers how many requests there were."""
        sent = 0
        while self._due:
            hit = heapq.heappop(self._due)
            location = ask(hit)
            sent += 1
            self._note(hit)
            if hit.then:
                for more in hit.then(location, hit.at_ms):
                    heapq.heappush(self._due, more)
        return sent

    def _note(self, hit: Hit) -> None:
        """What a tracker would count that counts everything."""
        code = hit.path.strip("/").removeprefix("i/").removesuffix(".gif")
        for campaign, codes in (("mail", self._mail), ("shared", self._shared)):
            if code in codes:
                self.naive[campaign]["impressions" if hit.path.startswith("/i/") else "clicks"] += 1

    def _add(self, at_ms: int, path: str, address: str, agent: str, **more: Any) -> None:
        heapq.heappush(self._due, Hit(at_ms, next(_turns), path, address, agent, **more))

    # Mails.

    def _deliver(self, recipient: int, at_ms: int) -> None:
        chance = self._chance
        pixel = f"/i/{self._mail[0]}.gif"
        provider = chance.choices(("gmail", "apple", "yahoo", "work"), (35, 25, 10, 30))[0]
        home = f"203.{recipient >> 8 & 255}.{recipient & 255}.{7 + chance.randrange(3)}"
        agent = chance.choice(BROWSERS)
        opened_ms = at_ms + int(60_000 + chance.expovariate(1 / (5 * HOUR_MS)))
        opens = chance.random() < 0.35
        if provider == "gmail":
            proxy = f"66.249.84.{chance.randrange(1, 30)}"
            if chance.random() < 0.03:
                self._add(at_ms + 500, pixel, proxy, GMAIL_PREFETCH)
            self._open(opens, opened_ms, pixel, proxy, GMAIL)
        elif provider == "apple":
            # What Apple's customers open is served from what was fetched at delivery: it reaches nobody's pixel.
            if chance.random() < 0.9:
                self._add(at_ms + 1_000, pixel, f"172.225.{chance.randrange(250)}.9", "Mozilla/5.0")
        elif provider == "yahoo":
            self._open(opens, opened_ms, pixel, f"98.137.{chance.randrange(9)}.5", YAHOO)
        else:
            office = chance.randrange(60)
            home = f"198.51.100.{office}"
            if office % 5 < 2:
                self._scan(at_ms, pixel)
            self._open(opens, opened_ms, pixel, home, OUTLOOK)
            agent = chance.choice((CHROME, EDGE))
        if opens and chance.random() < 0.3:
            headers = {"Referer": SAFE_LINKS} if provider == "work" and chance.random() < 0.3 else {}
            for code in chance.sample(self._mail, chance.choice((1, 1, 1, 2))):
                opened_ms += chance.randrange(4_000, 90_000)
                self._click("mail", code, opened_ms, home, agent, headers)

    def _open(self, opens: bool, at_ms: int, pixel: str, address: str, agent: str) -> None:
        if opens:
            self.truth["mail"]["impressions"] += 1
            self._add(at_ms, pixel, address, agent)

    def _scan(self, at_ms: int, pixel: str) -> None:
        """A mail-security gateway: the picture after nine seconds, all links within one 33 seconds later."""
        chance = self._chance
        address, agent = f"40.94.{chance.randrange(200)}.{chance.randrange(250)}", chance.choice((CHROME, EDGE))
        if chance.random() < 0.2:
            for number, code in enumerate(self._mail):
                self._add(at_ms + 3_000 + 40 * number, f"/{code}", address, agent, method="HEAD")
        self._add(at_ms + 9_000, pixel, address, agent)
        for number, code in enumerate(self._mail):
            self._add(at_ms + 42_000 + 85 * number + chance.randrange(20), f"/{code}", address, agent)
        if chance.random() < 0.3:
            self._add(at_ms + 43_000, f"/h/{self._mail[0]}", address, agent)

    # Links on networks and in chats.

    def _share(self, person: int, at_ms: int) -> None:
        chance = self._chance
        code = chance.choice(self._shared)
        if person % 8 == 0:
            preview = chance.choice(PREVIEWS)
            self._add(at_ms, f"/{code}", f"54.{person & 255}.1.2", preview)
            if preview.startswith("Twitterbot"):
                for number, agent in enumerate((IPHONE, CHROME, "")):
                    self._add(at_ms + 900 * number, f"/{code}", f"199.16.156.{number}", agent, method="HEAD")
        address = f"100.{person >> 8 & 255}.{person & 255}.1"
        referrer = chance.choice(("", "https://t.co/", "https://www.reddit.com/", "https://www.linkedin.com/"))
        self._click(
            "shared", code, at_ms + 60_000, address, chance.choice((IPHONE, ANDROID, CHROME)), {"Referer": referrer}
        )

    def _crawl(self) -> None:
        chance = self._chance
        for day in range(28):
            for agent in CRAWLERS:
                for code in chance.sample(self._shared, 3):
                    at_ms = self._start_ms + day * DAY_MS + chance.randrange(DAY_MS)
                    self._add(at_ms, f"/{code}", f"157.55.39.{day}", agent)
        # Something that calls itself a browser and asks twice a second for five minutes.
        for number in range(600):
            self._add(self._start_ms + 9 * DAY_MS + 500 * number, f"/{self._shared[0]}", "192.0.2.44", CHROME)

    # People.

    def _click(self, campaign: str, code: str, at_ms: int, address: str, agent: str, headers: dict[str, str]) -> None:
        """A person follows a link: perhaps the browser was there before, perhaps they click twice, perhaps they buy."""
        chance, truth = self._chance, self.truth[campaign]
        if "Chrome" in agent and chance.random() < 0.12:
            speculative = headers | {"Sec-Purpose": "prefetch;prerender"}
            self._add(at_ms - 700, f"/{code}", address, agent, headers=speculative)
        is_private = chance.random() < 0.04
        own = headers | ({"Sec-GPC": "1"} if is_private else {})
        buys = not is_private and chance.random() < 0.06
        truth["clicks"] += 1
        self._add(
            at_ms, f"/{code}", address, agent, headers=own, then=self._buy(campaign, address, agent) if buys else None
        )
        if not is_private and chance.random() < 0.05:
            self._add(at_ms + chance.randrange(80, 1_600), f"/{code}", address, agent, headers=own)
        if chance.random() < 0.06:
            truth["clicks"] += 1
            self._add(at_ms + chance.randrange(30_000, 7_200_000), f"/{code}", address, agent, headers=own)

    def _buy(self, campaign: str, address: str, agent: str) -> Callable[[str, int], Iterable[Hit]]:
        def then(location: str, at_ms: int) -> Iterable[Hit]:
            self.truth[campaign]["conversions"] += 1
            cid = location.rpartition("cid=")[2]
            path = f"/c/{self._key}.gif?cid={cid}&order=s-{next(self._orders)}&value=10.00"
            later_ms = at_ms + self._chance.randrange(60_000, 3_600_000)
            # The thank-you page is loaded again now and then.
            for n in range(self._chance.choice((1, 1, 2))):
                yield Hit(later_ms + 20_000 * n, next(_turns), path, address, agent)

        return then
