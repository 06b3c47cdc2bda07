"""What Prometheus is told: each figure defined once, and the counts of several processes brought together.

Every process keeps its counts in files of its own, mapped into memory by the client library: they outlast the process,
however it dies, and whoever is asked adds them up. Without a folder for them a process knows its own counts only.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import prometheus_client as prometheus
from prometheus_client import multiprocess, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tracker.events import Kind, Verdict

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the client library's own name for it
FILE_BYTES = {"counter": 128 * 1024, "gauge_livesum": 4096, "gauge_max": 4096}
NO_VERDICT = -1
LINK_KINDS = (Kind.IMPRESSION, Kind.CLICK, Kind.HONEYPOT)
DEFINITIONS = {
    "tracker_requests_total": "requests answered, by endpoint, status and, of those that are events, verdict",
    "tracker_exceptions_total": "exceptions that nobody foresaw; each is in the log",
    "tracker_link_cache_hits_total": "requests for a link that a worker had in memory",
    "tracker_link_cache_misses_total": "requests for a link that had to be looked up in the database",
    "tracker_link_cache_entries": "codes in memory, all workers together",
    "tracker_events_lost_total": "events that the disk refused: answered, and not recorded",
    "tracker_events_stored_total": "events stored by the loader, by kind and the verdict they were stored with",
    "tracker_loader_batches_total": "batches stored by the loader",
    "tracker_loader_failures_total": "tries of the loader that failed and are made again",
    "tracker_loader_last_success_timestamp_seconds": "when the loader last looked through the spool; 0 for never",
    "tracker_spool_bytes": "size of the spool on this machine",
    "tracker_spool_max_bytes": "how large it may become before hits are answered and no longer kept",
    "tracker_spool_lost_events": "events that the disk refused in the last thirty days, as noted beside the spool",
    "tracker_spool_segments": "files in the spool, those that are being written included",
    "tracker_spool_set_aside_records": "records and torn tails that could not be stored and were set aside",
    "tracker_spool_waiting_bytes": "bytes of the spool that are not stored yet; absent while the database is away",
    "tracker_lag_seconds": "age of the oldest event that is not stored yet; absent while the database is away",
    "tracker_database_up": "1 when the database answered this scrape, else 0",
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What the edge of one process has counted: plain numbers, for the hot path has no time for more.

    `requests` is by kind, verdict and status.
    """

    requests: defaultdict[tuple[int, int, int], int] = field(default_factory=lambda: defaultdict(int))
    misses: int = 0
    exceptions: int = 0


def begin(folder: Path) -> None:
    """Empties the folder where processes started from here on keep their counts, which so begin with the server."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for file in folder.glob("*.db*"):
        file.unlink()
    os.environ[FOLDER_VARIABLE] = str(folder)


def forget(pid: int) -> None:
    """What a process had in memory is gone with it; what it counted stays."""
    # The arbiter calls this: no file that is gone already may end it.
    with suppress(OSError):
        multiprocess.mark_process_dead(pid, os.environ[FOLDER_VARIABLE])  # type: ignore[no-untyped-call]


def _shared_folder() -> str | None:
    """The folder, with room in it for this process's files.

    The library makes files with holes. Writing to a hole of a mapped file ends the process when the disk is full, and
    a full disk must not end redirects: so the files are written out beforehand, or this process counts for itself.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    for name, size in FILE_BYTES.items():
        path = Path(folder, f"{name}_{os.getpid()}.db")
        draft = path.with_suffix(".db.new")
        try:
            # An earlier process of this number may have left its counts: they are added to.
            if not path.exists():
                draft.write_bytes(bytes(size))
                draft.rename(path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            log.error("metrics: what this process counts will be missing: %s", error)
            return None
    return folder


@cache
def _mapped_value(_folder: str) -> Any:
    """The library's kind of number that lives in a mapped file: one for a folder, or two would write to one file."""
    return values.MultiProcessValue()  # type: ignore[no-untyped-call]


class Meters:
    """The counts of one process. Threads may use them together."""

    def __init__(self) -> None:
        self._folder = _shared_folder()
        # The library decides this when it is imported, which is before the folder is known.
        values.ValueClass = _mapped_value(self._folder) if self._folder else values.MutexValue
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus.CollectorRegistry()
        self._requests = self._counter("tracker_requests_total", "endpoint", "verdict", "status")
        self._exceptions = self._counter("tracker_exceptions_total")
        self._hits = self._counter("tracker_link_cache_hits_total")
        self._misses = self._counter("tracker_link_cache_misses_total")
        self._entries = self._gauge("tracker_link_cache_entries", "livesum")
        self._lost = self._counter("tracker_events_lost_total")
        self._stored = self._counter("tracker_events_stored_total", "kind", "verdict")
        self._batches = self._counter("tracker_loader_batches_total")
        self._failures = self._counter("tracker_loader_failures_total")
        self._last_success = self._gauge("tracker_loader_last_success_timestamp_seconds", "max")
        self._lock = threading.Lock()
        self._carried: dict[prometheus.Counter, int] = {}

    def _counter(self, name: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(name, DEFINITIONS[name], labels, registry=self._registry)

    def _gauge(self, name: str, mode: str) -> prometheus.Gauge:
        return prometheus.Gauge(name, DEFINITIONS[name], registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    @property
    def are_shared(self) -> bool:
        """Whether the counts of other processes are known too."""
        return self._folder is not None

    def carry_over(self, tally: Tally, *, lost: int, entries: int) -> None:
        """Adds what the edge has counted since the last time, and sets how many codes its cache holds."""
        with self._lock:
            # A miss is counted before its request and read after it: so none in between passes for a hit.
            requests = dict(tally.requests)
            misses = tally.misses
            asked = sum(n for (kind, verdict, _), n in requests.items() if kind in LINK_KINDS and verdict != NO_VERDICT)
            for (kind, verdict, status), total in requests.items():
                word = "" if verdict == NO_VERDICT else Verdict(verdict).word
                self._raise(self._requests.labels(Kind(kind).word, word, str(status)), total)
            self._raise(self._misses, misses)
            self._raise(self._hits, asked - misses)
            self._raise(self._exceptions, tally.exceptions)
            self._raise(self._lost, lost)
            self._entries.set(entries)

    def _raise(self, counter: prometheus.Counter, total: int) -> None:
        """A total behind the one carried last (a miss whose request is still to be counted) waits for the next time."""
        more = total - self._carried.get(counter, 0)
        if more > 0:
            counter.inc(more)
            self._carried[counter] = total

    def answered(self, endpoint: str, verdict: str, status: int) -> None:
        """Flask has answered a request."""
        self._requests.labels(endpoint, verdict, str(status)).inc()

    def failed(self) -> None:
        """Flask met an exception that nobody handles."""
        self._exceptions.inc()

    def stored(self, events: Iterable[tuple[int, int]]) -> None:
        """The loader has stored a batch of events of these kinds and verdicts."""
        self._batches.inc()
        for (kind, verdict), n in Counter(events).items():
            self._stored.labels(Kind(kind).word, Verdict(verdict).word).inc(n)

    def loader_succeeded(self) -> None:
        self._last_success.set_to_current_time()

    def loader_failed(self) -> None:
        self._failures.inc()

    def exposition(self, sizes: Collector, accept: str) -> tuple[bytes, str]:
        """All counts and these sizes, in the form that `accept` asks for, and its content type."""
        registry = prometheus.CollectorRegistry()
        if self._folder is None:
            registry.register(self._registry)
        else:
            multiprocess.MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        registry.register(sizes)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
