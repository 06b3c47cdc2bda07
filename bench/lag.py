"""How far reports are behind while links are followed at half the rate that the edge can do."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from bench.table import Row
from bench.yardsticks import Load, load, paced
from tests.serving import Server

PAUSE_MS = 10
SAMPLE_S = 0.1
LAG_MAX_S = 2
LINK = {"destination": "https://shop.example/", "campaign": "bench", "source": "s", "medium": "m", "code": "bench"}


def run(full_per_s: float, seconds: int) -> Row:
    """`full_per_s` is the edge's rate, all workers together, as measured in the same run."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", TRACKER_WORKERS="2") as server:
        server.api("POST", "/links", LINK)
        # As many connections as make half the rate when each asks once in that time; what came of it is in the row.
        connections = max(4, round(full_per_s / 2 * (PAUSE_MS + 1) / 1000))
        seen: list[Load] = []

        def follow() -> None:
            url, script = f"http://127.0.0.1:{server.port}/bench", paced(Path(folder), PAUSE_MS)
            seen.append(load(url, connections=connections, seconds=seconds, pause=script))

        visitors = threading.Thread(target=follow)
        visitors.start()
        lags = []
        while visitors.is_alive():
            time.sleep(SAMPLE_S)
            lags.append(float(json.loads(server.request("GET", "/readyz").body)["lag_s"]))
        visitors.join()
    share = seen[0].per_s / full_per_s
    measured = f"{max(lags):.1f} s at most, {median(lags):.1f} s mostly; {seen[0].per_s:,.0f} a second ({share:.0%})"
    return Row(
        "reports behind at half load", f"< {LAG_MAX_S} s", measured, max(lags) / LAG_MAX_S, max(lags) < LAG_MAX_S
    )
