"""The spool and the loader: written before the answer, stored exactly once, torn tails set aside."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from tracker import aside, days, jobs, losses
from tracker.config import Settings
from tracker.edge.spool import SEGMENT_AGE_S, SEGMENT_IDLE_S, SEGMENT_MIN_BYTES, Spool
from tracker.events import BadRecord, Event, Kind, Verdict, decode, encode
from tracker.models import Link, LoadedBatch, Salt, Workspace
from tracker.pipeline import enrich, segments, verdicts
from tracker.pipeline.loader import Loader
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]


def hit(link: Link, number: int, agent: str = "Mozilla/5.0 Firefox/143.0") -> Event:
    return Event(
        kind=Kind.CLICK,
        at_ms=1_763_700_000_000 + number,
        nonce=number,
        verdict=Verdict.COUNTED,
        link_id=link.id,
        code=link.code,
        address="192.0.2.1",
        agent=agent,
        referrer="https://Mail.Example/x?secret=1",
        language="de",
        gpc=False,
    )


@pytest.fixture
def spool(settings: Settings) -> Spool:
    return Spool(settings.spool_dir, durable=True, segment_bytes=1 << 20, bytes_max=1 << 30)


@pytest.fixture
def loader(settings: Settings, engine: Engine, store: EventStore) -> Loader:
    return Loader(settings, engine, store)


def stored(store: EventStore, workspace: Workspace) -> list[int]:
    return sorted(event.nonce for event in store.recent(workspace.id, before=None, limit=500))


def test_a_record_reads_back_and_any_changed_byte_is_noticed(make_link: MakeLink) -> None:
    line = encode(hit(make_link(), 1, agent="ünï\n\x00"))
    assert line.count(b"\n") == 1
    assert decode(line).agent == "ünï\n\x00"
    assert decode(encode(hit(make_link(), 1)._replace(code="a\x00"))).code == "a\N{REPLACEMENT CHARACTER}"
    for place in range(len(line)):
        with pytest.raises(BadRecord):
            decode(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :])
        with pytest.raises(BadRecord):
            decode(line[:place])


def test_events_are_stored_once_and_a_finished_segment_goes(
    spool: Spool, loader: Loader, store: EventStore, make_link: MakeLink, workspace: Workspace, settings: Settings
) -> None:
    link = make_link()
    for number in range(20):
        spool.append(encode(hit(link, number)))
    assert loader.drain() == 20
    assert loader.drain() == 0
    spool.append(encode(hit(link, 20)))
    assert loader.drain() == 1
    assert stored(store, workspace) == list(range(21))
    assert len(segments.names(settings.spool_dir)) == 1
    spool.close()
    loader.load_once()
    assert segments.names(settings.spool_dir) == []
    event = store.recent(workspace.id, before=None, limit=1)[0]
    assert (event.referrer, event.agent) == ("mail.example", "Mozilla/5.0 Firefox/143.0")


def test_a_sale_before_the_first_hit_of_a_new_day_holds_nothing_up(
    spool: Spool, loader: Loader, store: EventStore, make_link: MakeLink, workspace: Workspace
) -> None:
    link = make_link()
    sale = hit(link, 1)._replace(kind=Kind.CONVERSION, link_id=0, code=workspace.key, params="order=1&value=2")
    spool.append(encode(sale) + encode(hit(link, 2)._replace(at_ms=sale.at_ms + 86_400_000)))
    assert loader.drain() == 2
    assert stored(store, workspace) == [1, 2]


def test_user_agents_are_read_before_a_sale_keeps_others_from_writing(
    spool: Spool,
    loader: Loader,
    engine: Engine,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = make_link()
    happened = []

    def watch(module: ModuleType, name: str) -> None:
        whole = getattr(module, name)

        def watched(agent: str) -> object:
            happened.append(name)
            return whole(agent)

        monkeypatch.setattr(module, name, watched)

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("INSERT INTO reports"):
            happened.append("sale")

    watch(enrich, "describe")
    watch(verdicts, "_bot")
    listen(engine, "before_cursor_execute", note)
    sale = partial(hit(link, 0)._replace, kind=Kind.CONVERSION, link_id=0, code=workspace.key, params="order=1&value=2")
    for number in range(1, 7):
        agent, at_ms = f"Only seen here/{number}", hit(link, number).at_ms
        is_sale = number in (1, 4)
        event = sale(nonce=number, at_ms=at_ms, agent=agent) if is_sale else hit(link, number, agent)
        spool.append(encode(event))
    assert loader.drain() == 6
    assert stored(store, workspace) == list(range(1, 7))
    assert Counter(happened) == {"describe": 6, "_bot": 4, "sale": 2}
    assert happened[-2:] == ["sale", "sale"]


def test_a_segment_cut_at_any_byte_loses_only_the_torn_record(
    spool: Spool, settings: Settings, engine: Engine, store: EventStore, make_link: MakeLink, workspace: Workspace
) -> None:
    link = make_link()
    lines = [encode(hit(link, number)) for number in range(2)]
    whole = b"".join(lines)
    settings.spool_dir.mkdir()
    loader = Loader(settings, engine, store)
    for cut in range(len(whole) + 1):
        name = f"{cut:013d}-test.spool"
        (settings.spool_dir / name).write_bytes(whole[:cut])
        loader.load_once()
        loader.load_once()
        complete = whole[:cut].count(b"\n")
        torn = cut - sum(map(len, lines[:complete]))
        assert (settings.spool_dir / "aside" / f"{name}-{cut - torn}.torn").exists() == bool(torn)
        assert len(stored(store, workspace)) >= complete
    assert stored(store, workspace) == [0, 1]


def test_a_damaged_record_is_set_aside_and_the_rest_is_stored(
    spool: Spool, loader: Loader, store: EventStore, make_link: MakeLink, workspace: Workspace, settings: Settings
) -> None:
    link = make_link()
    spool.append(encode(hit(link, 1)) + b"00000000 [garbage]\n" + encode(hit(link, 2)))
    loader.drain()
    assert stored(store, workspace) == [1, 2]
    assert aside.count(settings.spool_dir) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 99},
        {"kind": "click"},
        {"at_ms": -1},
        {"at_ms": 2**50},
        {"nonce": None},
        {"verdict": 77},
        {"link_id": 2**40},
        {"agent": 5},
        {"params": None},
        {"kind": Kind.CALLBACK, "params": "{not json", "link_id": 0},
        {"kind": Kind.CALLBACK, "params": "[1]", "link_id": 0},
    ],
)
def test_a_whole_record_of_nonsense_is_set_aside_and_the_rest_is_stored(
    spool: Spool,
    loader: Loader,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    settings: Settings,
    change: dict[str, object],
) -> None:
    link = make_link()
    if change.get("kind") == Kind.CALLBACK:
        change = change | {"code": workspace.key}
    poisoned = encode(hit(link, 2)._replace(**change))  # type: ignore[arg-type]
    spool.append(encode(hit(link, 1)) + poisoned + encode(hit(link, 3)))
    assert loader.drain() == 2
    assert stored(store, workspace) == [1, 3]
    assert aside.count(settings.spool_dir) == 1


def test_a_batch_is_cut_the_same_after_a_failure(
    spool: Spool,
    loader: Loader,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    settings: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = make_link()
    spool.append(encode(hit(link, 1)))
    segment = segments.names(settings.spool_dir)[0]

    def fail(_batch: object) -> None:
        raise OSError("the database went away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "append", fail)
        with pytest.raises(OSError, match="went away"):
            loader.load_once()
    spool.append(encode(hit(link, 2)))
    run = segments.read_run(settings.spool_dir, segment, 0, 1 << 20)
    assert run is not None
    assert len(run.lines) == 1
    Loader(settings, engine, store).drain()
    assert stored(store, workspace) == [1, 2]


def test_a_commit_whose_answer_was_lost_is_not_repeated(
    spool: Spool,
    loader: Loader,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    settings: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = make_link()
    spool.append(encode(hit(link, 1)))
    really_append = store.append

    def append_and_fail(batch: object) -> None:
        really_append(batch)  # type: ignore[arg-type]
        raise OSError("the answer was lost")

    with monkeypatch.context() as broken:
        broken.setattr(store, "append", append_and_fail)
        with pytest.raises(OSError, match="lost"):
            loader.load_once()
    assert loader.drain() == 0
    assert Loader(settings, engine, store).drain() == 0
    cells = store.totals(link.campaign_id, 0, 1 << 30)
    assert [(cell.n, cell.unique_n) for cell in cells] == [(1, 1)]


def test_a_full_disk_is_survived_counted_and_leaves_no_torn_record(
    settings: Settings, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=1 << 20, bytes_max=1 << 30)
    line = encode(hit(make_link(), 1))
    assert spool.append(line)
    really_write = os.write

    def write_half_then_fail(fd: int, content: bytes) -> int:
        if len(content) < len(line):
            raise OSError(28, "No space left on device")
        return really_write(fd, content[: len(content) // 2])

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_half_then_fail)
        assert not spool.append(line)
    assert spool.lost == 1
    assert spool.append(line)
    # The one that met the full disk was handed over: loading it makes room.
    files = [settings.spool_dir / name for name in segments.names(settings.spool_dir)]
    assert [file.read_bytes() for file in files] == [line, line]
    assert segments.is_complete(files[0])


def test_one_turn_of_the_event_loop_is_one_write(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=1 << 20, bytes_max=1 << 30)
    written: list[bytes] = []
    really_write = os.write

    def write(fd: int, content: bytes) -> int:
        written.append(content)
        return really_write(fd, content)

    async def requests() -> None:
        async def one(number: int) -> None:
            await spool.append_soon(b"%d\n" % number)

        await asyncio.gather(*(one(number) for number in range(5)))

    monkeypatch.setattr("tracker.edge.spool.os.write", write)
    asyncio.run(requests())
    assert written == [b"0\n1\n2\n3\n4\n"]


def test_a_segment_is_complete_once_its_writer_was_killed(settings: Settings, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tracker.edge.spool import Spool; "
        "s = Spool(Path(sys.argv[1]), durable=False, segment_bytes=99, bytes_max=1 << 30); "
        "s.append(b'x'); print('ready', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(settings.spool_dir)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == b"ready\n"
        (name,) = segments.names(settings.spool_dir)
        assert not segments.is_complete(settings.spool_dir / name)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert segments.is_complete(settings.spool_dir / name)


def test_more_workers_than_a_pass_takes_are_all_stored_while_all_are_busy(
    loader: Loader, store: EventStore, make_link: MakeLink, workspace: Workspace, settings: Settings
) -> None:
    link = make_link()
    settings.spool_dir.mkdir()
    writers = [(settings.spool_dir / f"{number:02}.spool").open("ab", buffering=0) for number in range(10)]
    try:
        for writer in writers:
            fcntl.flock(writer, fcntl.LOCK_EX)
        for passes in range(5):
            for number, writer in enumerate(writers):
                writer.write(encode(hit(link, 10 * passes + number)))
            loader.load_once()
    finally:
        for writer in writers:
            writer.close()
    # Only what two of ten wrote last may still be waiting, and nothing for longer than a pass.
    assert set(stored(store, workspace)) >= set(range(40))


def test_the_lag_is_the_age_of_the_oldest_event_not_stored(
    spool: Spool, loader: Loader, store: EventStore, make_link: MakeLink, settings: Settings, engine: Engine
) -> None:
    link = make_link()
    now = 1_763_700_000_000 + 5000
    assert segments.lag_s(settings.spool_dir, store.position, now) == 0
    spool.append(encode(hit(link, 1000)) + encode(hit(link, 2000)))
    assert segments.lag_s(settings.spool_dir, store.position, now) == 4
    loader.drain()
    assert segments.lag_s(settings.spool_dir, store.position, now) == 0
    with Session(engine) as session:
        assert session.scalars(select(LoadedBatch.end)).one() > 0


def test_the_lag_is_that_of_the_segment_that_waits_longest(make_link: MakeLink, tmp_path: Path) -> None:
    link = make_link()
    now = 1_763_700_000_000 + 9000
    # Busy and stored but for its last; left behind; later than both; not readable at first.
    written = {"a": (1000, 7000), "b": (2000, 3000), "c": (8000,), "d": (2500,)}
    for name, instants in written.items():
        (tmp_path / f"{name}.spool").write_bytes(b"".join(encode(hit(link, at)) for at in instants))
    first = len(encode(hit(link, 1000)))
    garbage = b"garbage\n"
    (tmp_path / "d.spool").write_bytes(garbage + encode(hit(link, 2500)))
    stored = {"a.spool": first, "b.spool": first, "d.spool": len(garbage)}
    asked = []

    def position(segment: str) -> int:
        asked.append(segment)
        return stored.get(segment, 0)

    assert segments.lag_s(tmp_path, position, now) == 6.5
    assert asked == ["a.spool", "b.spool", "d.spool"]
    stored["d.spool"] = (tmp_path / "d.spool").stat().st_size
    assert segments.lag_s(tmp_path, position, now) == 6
    stored["b.spool"] = (tmp_path / "b.spool").stat().st_size
    assert segments.lag_s(tmp_path, position, now) == 2


def test_segments_rotate_by_size(settings: Settings) -> None:
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=10, bytes_max=1 << 30)
    for _ in range(4):
        spool.append(b"12345\n")
    assert len(segments.names(settings.spool_dir)) == 2


def test_a_record_that_the_store_refuses_is_set_aside_and_the_rest_of_its_batch_is_stored(
    spool: Spool,
    loader: Loader,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is known to get that far; should anything, it must not stop the loader for good."""
    link = make_link()
    monkeypatch.setattr("tracker.pipeline.enrich.language_of", lambda text: "\ud800" if text == "poison" else None)
    for number in range(100):
        spool.append(encode(hit(link, number)._replace(language="poison" if number in (17, 18, 60) else "de")))
    assert loader.drain() == 97
    assert stored(store, workspace) == [number for number in range(100) if number not in (17, 18, 60)]
    assert aside.count(settings.spool_dir) == 3
    assert sum(cell.n for cell in store.totals(link.campaign_id, 0, 1 << 30)) == 97


def test_a_text_with_a_nul_character_can_be_stored_anywhere(
    spool: Spool, loader: Loader, store: EventStore, make_link: MakeLink, workspace: Workspace
) -> None:
    spool.append(encode(hit(make_link(), 1, agent="a\0b")))
    assert loader.drain() == 1
    assert store.recent(workspace.id, before=None, limit=1)[0].agent == "a\ufffdb"


@pytest.mark.parametrize("jump_ms", [-400 * 86_400_000, -3_600_000, 86_400_000, 3650 * 86_400_000])
def test_a_clock_that_jumps_loses_nothing(
    spool: Spool,
    loader: Loader,
    store: EventStore,
    make_link: MakeLink,
    workspace: Workspace,
    settings: Settings,
    engine: Engine,
    jump_ms: int,
) -> None:
    link = make_link()
    now = days.now()
    for number in range(4):
        at_ms = days.to_ms(now) + (jump_ms if number in (1, 2) else 0)
        spool.append(encode(hit(link, number)._replace(at_ms=at_ms)))
    assert loader.drain() == 4
    assert stored(store, workspace) == [0, 1, 2, 3]
    assert [drift for day in store.whole_days() for drift in store.drifts(day)] == []
    jobs.destroy_salts(jobs.Installation(settings, engine, store), now)
    with Session(engine) as session:
        kept = set(session.scalars(select(Salt.day)))
    assert kept <= {now.date() + timedelta(days=n) for n in (-1, 0, 1)}, "a salt outlives its two days"


def test_a_spool_at_its_bound_refuses_and_takes_again_once_there_is_room(settings: Settings) -> None:
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=1 << 20, bytes_max=30)
    assert all(spool.append(b"123456789\n") for _ in range(4))
    spool.look_at_room()
    assert not spool.append(b"a\nb\n")
    assert (spool.lost, losses.read(settings.spool_dir).n) == (2, 2)
    (settings.spool_dir / segments.names(settings.spool_dir)[0]).unlink()
    spool.look_at_room()
    assert spool.append(b"123456789\n")


def test_what_waits_for_a_sync_shares_it_and_is_told_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(settings.spool_dir, durable=True, segment_bytes=1 << 20, bytes_max=1 << 30)
    happened: list[str] = []
    let_go = threading.Event()
    really_sync = os.fdatasync

    def sync(fd: int) -> None:
        let_go.wait()
        happened.append("sync")
        really_sync(fd)

    async def requests() -> None:
        spool.commit(b"1\n", lambda: happened.append("1"))
        for name in ("2", "3"):
            spool.commit(name.encode() + b"\n", partial(happened.append, name))
        assert happened == []
        loop = asyncio.get_running_loop()
        everything = loop.create_future()
        loop.call_soon(let_go.set)
        spool.commit(b"4\n", lambda: everything.set_result(None))
        await everything

    monkeypatch.setattr("tracker.edge.spool.os.fdatasync", sync)
    asyncio.run(requests())
    assert happened == ["sync", "1", "sync", "2", "3"]
    spool.close()
    (segment,) = segments.names(settings.spool_dir)
    assert (settings.spool_dir / segment).read_bytes() == b"1\n2\n3\n4\n"


def test_a_sync_that_fails_is_counted_as_a_loss_and_the_hits_are_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(settings.spool_dir, durable=True, segment_bytes=1 << 20, bytes_max=1 << 30)

    async def request() -> None:
        answered = asyncio.get_running_loop().create_future()
        spool.commit(b"1\n2\n", lambda: answered.set_result(None))
        await answered

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("tracker.edge.spool.os.fdatasync", fail)
        asyncio.run(request())
    assert spool.lost == 2
    asyncio.run(request())
    assert spool.lost == 2
    spool.close()


def test_segments_rotate_by_age(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(settings.spool_dir, durable=True, segment_bytes=1 << 20, bytes_max=1 << 30)
    clock = [1000.0]
    monkeypatch.setattr("tracker.edge.spool.time.monotonic", lambda: clock[0])
    for _ in range(4):
        spool.append(b"12345\n")
        clock[0] += SEGMENT_AGE_S / 2 + 1
    assert len(segments.names(settings.spool_dir)) == 2


def test_a_segment_that_nobody_writes_to_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(settings.spool_dir, durable=True, segment_bytes=1 << 20, bytes_max=1 << 30)
    clock = [1000.0]
    monkeypatch.setattr("tracker.edge.spool.time.monotonic", lambda: clock[0])
    spool.append(b"12345\n")
    (segment,) = segments.names(settings.spool_dir)
    clock[0] += SEGMENT_IDLE_S
    spool.look_at_room()
    assert not segments.is_complete(settings.spool_dir / segment)
    clock[0] += 1
    spool.look_at_room()
    assert segments.is_complete(settings.spool_dir / segment)
    spool.look_at_room()
    spool.append(b"12345\n")
    assert len(segments.names(settings.spool_dir)) == 2


def test_segments_are_short_where_room_is_short(settings: Settings) -> None:
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=1 << 20, bytes_max=10 * SEGMENT_MIN_BYTES)
    for _ in range(20):
        spool.append(b"x" * 10_000 + b"\n")
        spool.look_at_room()
    assert len(segments.names(settings.spool_dir)) == 3
