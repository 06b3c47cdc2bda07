"""A disk that runs full under load, for real: the spool is a small tmpfs in a mount namespace of the server's own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests import databases
from tests.conftest import BROWSER
from tests.crash.accounts import CONNECTIONS, LINK, ROUNDS, answered, load, missing, settle
from tests.serving import Server

pytestmark = pytest.mark.any_database

SPOOL_KB = 512
UNSHARE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--mount")
MOUNT = f'mount -t tmpfs -o size={SPOOL_KB}k tmpfs "$0" && exec "$@"'


def state(server: Server) -> dict[str, object]:
    found = json.loads(server.request("GET", "/readyz").body)
    assert isinstance(found, dict)
    return found


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_a_full_disk_loses_only_what_it_says_and_nothing_once_there_is_room(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    database = databases.of(tmp_path / "data")
    with Server(tmp_path / "data", within=(*UNSHARE, "sh", "-c", MOUNT, str(spool))) as server:
        server.api("POST", "/links", LINK)
        for _ in range(ROUNDS):
            with load(server, tmp_path / "seen"):
                time.sleep(0.5)
                database.freeze()
                try:
                    deadline = time.monotonic() + 60
                    while spooled(server) < SPOOL_KB * 1024 * 0.9 and time.monotonic() < deadline:
                        time.sleep(0.1)
                    time.sleep(1)
                finally:
                    database.thaw()
                time.sleep(1)
            settle(server)
        found = state(server)
        lost = found["lost"]
        assert isinstance(lost, int)
        assert lost > 0, "the disk was never full"
        assert found["set_aside"] == 0, "a torn record was left behind"
        stored = server.hits("crash")
        for _ in range(100):
            assert server.request("GET", "/crash", {"User-Agent": BROWSER}).status == 302
        settle(server)
        assert (state(server)["lost"], server.hits("crash")) == (lost, stored + 100)
    seen = answered(tmp_path)
    assert seen.refused == []
    gone = missing(tmp_path / "data", seen)
    assert gone <= lost <= gone + ROUNDS * CONNECTIONS, f"{gone} of {len(seen.clicks)} are not stored, {lost} were told"


def spooled(server: Server) -> int:
    """Bytes in the spool as the server sees it."""
    own = Path(f"/proc/{server.pid}/root") / (server.data_dir / "spool").relative_to("/")
    return sum(file.stat().st_size for file in own.glob("*.spool"))
