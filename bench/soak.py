"""Many redirects in one go: does anything grow that should not, and is each hit that was answered in the report?

    python -m bench.soak --requests 10000000

Loads one server with wrk until so many redirects have been answered, prints every process's memory and open files as it
goes, waits for the loader, and holds wrk's own count against what is stored.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.yardsticks import load
from tests.serving import Server

CONNECTIONS = 32
CHUNK_S = 20
LINK = {"destination": "https://shop.example/", "campaign": "bench", "source": "s", "medium": "m", "code": "bench"}


def state(server: Server) -> str:
    """Resident megabytes and open files of each process of the server."""
    found = []
    for pid in sorted(server.left_over()):
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            files = len(os.listdir(f"/proc/{pid}/fd"))
        except FileNotFoundError:
            continue
        found.append(f"{int(status['VmRSS'].split()[0]) // 1024} MB/{files}")
    return "  ".join(found)


def stored(server: Server) -> int:
    """Clicks in the report of today and yesterday (midnight may pass), whatever their verdict."""
    seconds = time.time()
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (seconds - 86_400, seconds))
    totals = server.api("GET", f"/campaigns/bench/stats?from={first}&to={last}")["totals"]
    return int(totals["clicks"] + sum(totals["filtered"].values()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    wanted = parser.parse_args().requests
    console = Console()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", TRACKER_WORKERS="2") as server:
        server.api("POST", "/links", LINK)
        url = f"http://127.0.0.1:{server.port}/bench"
        answered, runs, began = 0, 0, time.monotonic()
        while answered < wanted:
            seen = load(url, connections=CONNECTIONS, seconds=CHUNK_S)
            answered, runs = answered + seen.answered, runs + 1
            console.print(f"{answered:>12,} answered, {seen.per_s:>8,.0f} a second   {state(server)}")
        console.print(f"answered in {time.monotonic() - began:.0f} s; the loader catches up", highlight=False)
        began = time.monotonic()
        while (lag_s := server.api("GET", "/campaigns/bench/stats")["lag_s"]) > 0:
            console.print(f"{lag_s:>8.0f} s behind   {state(server)}", highlight=False)
            time.sleep(CHUNK_S / 4)
        kept = stored(server)
        # wrk stops amid requests: of each of its runs a connection may have one stored whose answer it did not count.
        uncounted = runs * CONNECTIONS
        console.print(f"after {time.monotonic() - began:.0f} s: {answered:,} answered, {kept:,} stored")
        if not answered <= kept <= answered + uncounted:
            raise SystemExit("some were lost, or stored twice")


if __name__ == "__main__":
    main()
