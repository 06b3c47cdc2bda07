"""Redirects and pixels beside nginx and a bare callable, in rounds that take turns; medians of the rounds."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.table import Row
from bench.yardsticks import Load, bare, load, nginx
from tests.serving import Server

WORKERS = 2
CONNECTIONS = 32
CONNECTIONS_DISK = 256
LINK = {"destination": "https://shop.example/", "campaign": "bench", "source": "s", "medium": "m", "code": "bench"}


def run(rounds: int, seconds: int) -> tuple[list[Row], float]:
    """The rows, and redirects a second for each worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Server(folder / "process", TRACKER_WORKERS=str(WORKERS)))
        durable = stack.enter_context(Server(folder / "disk", TRACKER_WORKERS=str(WORKERS), TRACKER_DURABILITY="disk"))
        for each in (server, durable):
            each.api("POST", "/links", LINK)
        key = server.api("GET", "/workspace")["key"]
        targets = {
            "nginx": (stack.enter_context(nginx(folder)), CONNECTIONS),
            "bare": (stack.enter_context(bare(folder, WORKERS)), CONNECTIONS),
            "redirect": (f"http://127.0.0.1:{server.port}/bench", CONNECTIONS),
            "impression": (f"http://127.0.0.1:{server.port}/i/bench.gif", CONNECTIONS),
            "conversion": (f"http://127.0.0.1:{server.port}/c/{key}.gif", CONNECTIONS),
            "disk": (f"http://127.0.0.1:{durable.port}/bench", CONNECTIONS_DISK),
        }
        seen: dict[str, list[Load]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name, (url, connections) in targets.items():
                seen[name].append(load(url, connections=connections, seconds=seconds))
    found = {name: Load(median(x.per_s for x in runs), median(x.p99_ms for x in runs)) for name, runs in seen.items()}
    return _rows(found), found["redirect"].per_s / WORKERS


def _rows(found: dict[str, Load]) -> list[Row]:
    yardstick = found["nginx"]

    def of_nginx(name: str, what: str, at_least: float) -> Row:
        ratio = found[name].per_s / yardstick.per_s
        measured = f"{found[name].per_s:,.0f} against {yardstick.per_s:,.0f} a second"
        return Row(what, f"≥ {at_least:.2f} of nginx", measured, ratio, ratio >= at_least)

    p99 = found["redirect"].p99_ms / yardstick.p99_ms
    measured = f"{found['redirect'].p99_ms:.1f} against {yardstick.p99_ms:.1f} ms"
    bare_ratio = found["bare"].per_s / yardstick.per_s
    return [
        Row("bare ASGI callable (a yardstick)", "–", f"{found['bare'].per_s:,.0f} a second", bare_ratio, None),
        of_nginx("redirect", "redirect, click recorded", 0.40),
        Row("redirect, p99 at 32 connections", "≤ 4 × nginx's", measured, p99, p99 <= 4),
        of_nginx("impression", "impression pixel", 0.40),
        of_nginx("conversion", "conversion pixel", 0.40),
        of_nginx("disk", "redirect, durability disk, 256 connections", 0.12),
    ]
