"""Batches, revisions and forgotten visitors of several machines at once: none stops another, and the sums are right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event as event_of_engine

from tests.contract.test_store import NOON_MS, drifts, event
from tracker.config import Settings
from tracker.events import Verdict
from tracker.extensions import open_engine
from tracker.stores import Batch, EventStore, Revision, open_store

MACHINES = 3
ROUNDS = 25
VISITORS = 2
VERDICTS = (Verdict.COUNTED, Verdict.SCANNER, Verdict.BOT)


def patiently(connection: Any, _record: Any) -> None:
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA busy_timeout=60000")


def test_what_crosses_on_several_machines_adds_up(store: EventStore, settings: Settings, engine: Engine) -> None:
    first = [event(number, at_ms=NOON_MS + number, visitor=1 + number % VISITORS) for number in range(12)]
    store.append(Batch("first", 0, 1, first))
    start, failed = threading.Barrier(MACHINES * 3), []

    def crossing(act: Callable[[EventStore, random.Random, int], None], machine: int) -> None:
        own_engine, chance = open_engine(settings.database_url), random.Random(machine)
        # Nine write at once here, as no installation does: whoever waits for the one lock of SQLite waits for long.
        event_of_engine.listen(own_engine, "connect", patiently)
        own = open_store(own_engine)
        start.wait()
        try:
            for number in range(ROUNDS):
                act(own, chance, number * MACHINES + machine)
        except Exception as error:
            failed.append(repr(error))
        own_engine.dispose()

    def append(own: EventStore, chance: random.Random, number: int) -> None:
        ids = range(100 + 4 * number, 104 + 4 * number)
        made = [
            event(nonce, at_ms=NOON_MS + nonce, visitor=chance.randint(1, VISITORS), link_id=chance.randint(1, 2))
            for nonce in ids
        ]
        own.append(Batch(f"m{number}", 0, 1, made))

    def revise(own: EventStore, chance: random.Random, number: int) -> None:
        nonces = chance.sample(range(12), 4)
        own.revise([Revision(NOON_MS + nonce, nonce, chance.choice(VERDICTS), None, f"{number}") for nonce in nonces])

    def forget(own: EventStore, chance: random.Random, _number: int) -> None:
        nonce = chance.randrange(12)
        own.forget_visitor(NOON_MS + nonce, nonce)

    threads = [
        threading.Thread(target=crossing, args=(act, machine))
        for act in (append, revise, forget)
        for machine in range(MACHINES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert drifts(store) == []
