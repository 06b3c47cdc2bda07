"""Which country an address is in: by the registries' list that is installed, or by a file that the user supplies.

The list (`iptocc`) tells where an address is registered, a file (DB-IP Lite, GeoLite2 …) where it is used. Nothing of
an address is kept.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib import metadata
from ipaddress import ip_address
from json import loads
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxminddb import Reader

# Of two capitals, but no country in ISO 3166: a union, Asia and the Pacific, reserved for users.
NO_COUNTRIES = frozenset({"AP", "EU", "QQ", "XX", "ZZ"})
COPY_PREFIX = "countries-"
AT_REST_S = 2.0
RETRY_S = 60.0
_TWO_CAPITALS = re.compile(r"[A-Z]{2}")

log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """Where the knowledge comes from, and of which day it is where that can be told."""

    name: str
    on: date | None = None

    def __str__(self) -> str:
        return f"{self.name} of {self.on}" if self.on else self.name


class CountrySource(Protocol):
    """Something that knows countries. Safe for use from several threads."""

    @property
    def origin(self) -> Origin: ...

    def code(self, address: str) -> str | None:
        """ISO 3166 alpha-2 in capitals; `None` where it is not known. Takes any text and never fails."""
        ...

    def refresh(self) -> None:
        """Takes up what is newer, where there is anything. Cheap when there is not."""
        ...


def iso_code(value: object) -> str | None:
    """The value where it is a country's code."""
    is_code = isinstance(value, str) and _TWO_CAPITALS.fullmatch(value) and value not in NO_COUNTRIES
    return str(value) if is_code else None


def unmapped(address: str) -> str:
    """An IPv4 address that came as IPv6 (`::ffff:192.0.2.1`) as itself; no database knows it in the other form."""
    if not address.lower().startswith("::ffff:"):
        return address
    try:
        return str(getattr(ip_address(address.partition("%")[0]), "ipv4_mapped", None) or address)
    except ValueError:
        return address


class NoCountries:
    """Where nothing is installed that knows them."""

    origin = Origin("not known: no list is installed")

    def code(self, _address: str) -> str | None:
        return None

    def refresh(self) -> None:
        """There is nothing that could become newer."""


class RegistryCountries:
    """The allocations of the five regional internet registries, as `iptocc` carries them. 0.2 µs a look-up."""

    def __init__(self, look_up: Callable[[str], str | None]) -> None:
        self._look_up = look_up
        self.origin = Origin(f"Regional Internet Registries (iptocc {metadata.version('iptocc')})", _built_on())

    def code(self, address: str) -> str | None:
        return iso_code(self._look_up(unmapped(address)))

    def refresh(self) -> None:
        """The list is a part of the package and changes with it."""


def _built_on() -> date | None:
    """The day the package's list was made. It tells in its bill of materials and nowhere else."""
    for path in metadata.files("iptocc") or ():
        if path.name.endswith(".cyclonedx.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                return datetime.fromisoformat(loads(path.read_text())["metadata"]["timestamp"]).date()
    return None


class FileCountries:
    """A MaxMind database (`.mmdb`) with countries or cities. About a microsecond a look-up.

    What is read is a copy: a mapped file that somebody overwrites in place ends the process (SIGBUS). The copy lies in
    the data folder, once for all processes, under a name that tells of which state of the file it is.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._state: tuple[int, int] | None = None
        self._reader: Reader | None = None
        self._not_before = 0.0
        self.origin = Origin(f"{path.name} (not readable)")
        self.refresh()

    def code(self, address: str) -> str | None:
        if self._reader is None:
            return None
        try:
            return country_in(self._reader.get(unmapped(address.partition("%")[0])))
        except (ValueError, TypeError):
            # No address, not even a text that could be one, or one of IPv6 in a file that has IPv4 only.
            return None

    def refresh(self) -> None:
        """Opens the file anew where it is another than before; until that succeeds the old one goes on being used."""
        try:
            found = self._path.stat()
            state = (found.st_size, found.st_mtime_ns)
            if state == self._state or not self._is_due(found.st_mtime):
                return
            self._not_before = monotonic() + RETRY_S
            reader = open_file(self._copy(state))
        except (OSError, ValueError) as error:
            log.warning("countries: %s cannot be read: %s", self._path, error)
            return
        built = datetime.fromtimestamp(reader.metadata().build_epoch, UTC).date()
        self._state, self._reader, self._not_before = state, reader, 0.0
        self.origin = Origin(f"{reader.metadata().database_type} ({self._path.name})", built)

    def _is_due(self, changed_at: float) -> bool:
        """At once at the start; later when the file is at rest, and seldom where it could not be used."""
        is_at_rest = self._reader is None or time() - changed_at >= AT_REST_S
        return is_at_rest and monotonic() >= self._not_before

    def _copy(self, state: tuple[int, int]) -> Path:
        """The copy of this state of the file, made where there is none. Older ones go; whoever reads them may go on."""
        copy = self._folder / f"{COPY_PREFIX}{state[0]}-{state[1]}.mmdb"
        if not copy.exists():
            draft = self._folder / f"{COPY_PREFIX}{uuid4().hex}.draft"
            try:
                shutil.copyfile(self._path, draft)
                now = self._path.stat()
                if (now.st_size, now.st_mtime_ns) != state or draft.stat().st_size != state[0]:
                    raise ValueError("it is being written")
                os.replace(draft, copy)
            finally:
                draft.unlink(missing_ok=True)
        for other in self._folder.glob(f"{COPY_PREFIX}*.mmdb"):
            if other != copy:
                other.unlink(missing_ok=True)
        return copy


def open_file(path: Path) -> Reader:
    """A reader that has shown it can look up. Raises OSError, or ValueError for what is no database of countries."""
    import maxminddb  # costs a process a twentieth of a second, and most have no such file

    try:
        reader = maxminddb.open_database(path)
        reader.get("192.0.2.1")
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(str(error)) from None
    return reader


def country_in(record: object) -> str | None:
    """The country of a record, whichever of the customary layouts it has: MaxMind's and DB-IP's, or a flat one."""
    if not isinstance(record, dict):
        return None
    for name in ("country", "registered_country"):
        inner = record.get(name)
        if isinstance(inner, dict) and (code := iso_code(inner.get("iso_code"))):
            return code
    return iso_code(record.get("country_code")) or iso_code(record.get("country"))


def problem_with(path: Path) -> str | None:
    """Why a file cannot be used, in words; `None` where it can."""
    try:
        open_file(path).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def open_countries(path: Path | None, folder: Path) -> CountrySource:
    """The user's file where one is set, else the installed list, else nothing. `folder` is where a copy may lie."""
    if path is not None:
        return FileCountries(path, folder)
    try:
        from iptocc import country_code
    except ImportError:
        # Not built for every platform.
        return NoCountries()
    return RegistryCountries(country_code)
