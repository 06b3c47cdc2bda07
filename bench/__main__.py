"""`python -m bench`: one table of the budgets, measured on this machine."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from bench import beside, edge, lag, links, pipeline
from bench.table import Row, show
from bench.yardsticks import wait_for
from tests.serving import Server, free_port

LINKS = 1_000_000


def start() -> Row:
    """From the command to the first answer, with everything installed and the database made."""
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "data"):
            pass
        port = free_port()
        environ = os.environ | {"PORT": str(port), "TRACKER_DATA_DIR": str(Path(folder) / "data")}
        process = subprocess.Popen(["make", "--silent", "serve"], env=environ, stdout=subprocess.DEVNULL)
        try:
            took = wait_for(f"http://127.0.0.1:{port}/healthz")
        finally:
            process.terminate()
            process.wait()
    return Row("make serve to the first answer", "≤ 2 s", f"{took:.2f} s", took / 2, took <= 2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load for each target in each round")
    parser.add_argument("--events", type=int, default=1_000_000, help="stored when the campaign page is looked at")
    given = parser.parse_args()
    rows, edge_per_core = edge.run(given.rounds, given.seconds)
    rows.append(lag.run(edge_per_core * edge.WORKERS, given.rounds * given.seconds))
    rows += pipeline.run(min(100_000, given.events // 2), given.events, edge_per_core)
    rows += links.run(min(LINKS, given.events))
    rows += beside.run(given.rounds, given.seconds)
    show([*rows, start()], as_json=given.json)


if __name__ == "__main__":
    main()
