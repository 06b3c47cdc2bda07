"""The database that tests run on: SQLite, or a PostgreSQL server of our own where TRACKER_TEST_DATABASE asks for it.

Each data folder has a database of its own, found again by the folder's name: whoever knows the folder gets its
environment here, and `make test` runs the same tests on both.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from hashlib import blake2s
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

KIND = os.environ.get("TRACKER_TEST_DATABASE", "sqlite")
PROGRAMS = Path("/usr/lib/postgresql")
START_WITHIN_S = 30


class Database(Protocol):
    """The database of one data folder."""

    environ: dict[str, str]

    def stop(self) -> None:
        """Takes it away from whoever uses it, without a word."""
        ...

    def start(self) -> None:
        """Brings it back with all that it held."""
        ...

    def freeze(self) -> None:
        """Lets nobody change anything, without refusing either: whoever tries waits."""
        ...

    def thaw(self) -> None: ...

    def drop(self) -> None: ...

    def files(self) -> list[Path]:
        """Every file that holds any of its rows."""
        ...


class SqliteFile:
    """`tracker.sqlite3` in the data folder."""

    def __init__(self, data_dir: Path, like: Database | None) -> None:
        self._data_dir = data_dir
        self._hidden = data_dir / "hidden"
        self._file = data_dir / "tracker.sqlite3"
        self.environ = {"TRACKER_DATA_DIR": str(data_dir)}
        if like is not None:
            data_dir.mkdir(parents=True)
            for file in like.files():
                shutil.copy(file, data_dir / file.name)

    def stop(self) -> None:
        """A folder where the file was: no connection can be made, and those that are open fail at their next file."""
        self._hidden.mkdir()
        for file in self.files():
            file.rename(self._hidden / file.name)
        self._file.mkdir()

    def start(self) -> None:
        self._file.rmdir()
        for file in self._hidden.iterdir():
            file.rename(self._data_dir / file.name)
        self._hidden.rmdir()

    def freeze(self) -> None:
        self._holder = sqlite3.connect(self._file, isolation_level=None)
        self._holder.execute("PRAGMA busy_timeout = 60000")
        self._holder.execute("BEGIN IMMEDIATE")

    def thaw(self) -> None:
        self._holder.rollback()
        self._holder.close()

    def drop(self) -> None:
        """The file goes with its folder."""

    def files(self) -> list[Path]:
        return sorted(self._data_dir.glob("tracker.sqlite3*"))


class Cluster:
    """A PostgreSQL server from Debian's package, run by a user that is not root, in a folder of its own."""

    def __init__(self) -> None:
        versions = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        assert versions, "PostgreSQL is not installed (Debian: postgresql)"
        self._programs = versions[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="tracker-postgres-"))
        # PostgreSQL refuses to run as root; the package brings a user for it.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "--no-sync", "--auth=trust", "--username=tests", "--encoding=UTF8", "--locale=C.UTF-8")
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, "-D", self.folder / "data", *arguments]
        subprocess.run(command, user=self._user, check=True, capture_output=True, cwd=self.folder)

    def start(self) -> None:
        # Without fsync only a power cut would lose anything, and there is none here.
        options = {
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", *flags],
                user=self._user,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.05)

    def stop(self) -> None:
        """As a crash would: connections break, and the next start recovers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its processes."""
        assert self._process is not None
        children = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and _parent(entry) == self._process.pid
        ]
        for pid in (self._process.pid, *children):
            os.kill(pid, number)

    def remove(self) -> None:
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self.folder), user="tests", dbname=database, autocommit=True)

    def execute(self, statement: str) -> bool:
        """Runs a statement that says IF somewhere between its lines: answers whether it found anything."""
        with self.connect("postgres") as connection:
            return connection.execute(statement.encode()).rowcount > 0


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@cache
def cluster() -> Cluster:
    """Started with the first test that needs it; each process of a parallel run has its own."""
    return Cluster()


class PostgresDatabase:
    """A database of the cluster, named after the data folder."""

    def __init__(self, data_dir: Path, like: Database | None) -> None:
        self._name = f"t_{blake2s(str(data_dir).encode(), digest_size=10).hexdigest()}"
        if like is not None:
            assert isinstance(like, PostgresDatabase)
            data_dir.mkdir(parents=True)
            cluster().execute(f"CREATE DATABASE {self._name} TEMPLATE {like._name}")
        elif not cluster().execute(f"SELECT 1 FROM pg_database WHERE datname = '{self._name}'"):
            cluster().execute(f"CREATE DATABASE {self._name}")
        url = f"postgresql+psycopg://tests@/{self._name}?host={cluster().folder}"
        self.environ = {"TRACKER_DATA_DIR": str(data_dir), "TRACKER_DATABASE_URL": url}

    def stop(self) -> None:
        cluster().stop()

    def start(self) -> None:
        cluster().start()

    def freeze(self) -> None:
        cluster().signal(signal.SIGSTOP)

    def thaw(self) -> None:
        cluster().signal(signal.SIGCONT)

    def drop(self) -> None:
        cluster().execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    def files(self) -> list[Path]:
        """All of the cluster's, its journal included."""
        cluster().execute("CHECKPOINT")
        return [path for path in (cluster().folder / "data").rglob("*") if path.is_file()]


def of(data_dir: Path, *, like: Database | None = None) -> Database:
    """The database of a data folder, made when there is none: empty, or as another is, which nobody uses meanwhile."""
    return (PostgresDatabase if KIND == "postgresql" else SqliteFile)(data_dir, like)


def examples(number: int) -> int:
    """How many of its own a test of properties makes: most belong to the rule, not to the database it is kept in."""
    return number if KIND == "sqlite" else number // 3


def of_a_server(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test of a server that goes away, or that many share: of a file only the thorough run asks as much."""
    marked: Callable[..., None] = pytest.mark.thorough(test) if KIND == "sqlite" else test
    return marked
