"""Which country an address is in: from the list that is installed, and from files that users bring."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tracker import countries
from tracker.config import Settings
from tracker.countries import FileCountries, NoCountries, country_in, open_countries, unmapped
from tracker.errors import SettingError

pytestmark = pytest.mark.any_database

NOWHERE = ("127.0.0.1", "10.0.0.1", "::1", "", "nonsense", "1.2.3.4.5", "\0", "fe80::1%eth0", "x" * 5000, "999.1.1.1")
BUILT_AT = 1_790_000_000  # 2026-09-21


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a database in which 1.2.0.0/16 has one record; the file looks as if it had been there for a while."""

    def write(record: Any, name: str = "own.mmdb", version: int = 6, built_at: int = BUILT_AT) -> Path:
        monkeypatch.setattr(time, "time", lambda: built_at)
        writer = MMDBWriter(ip_version=version, ipv4_compatible=version == 6, database_type="Test-Country")
        writer.insert_network(IPSet(["1.2.0.0/16"]), record)
        if version == 6:
            writer.insert_network(IPSet(["2001:db8:1::/48"]), record)
        path = tmp_path / name
        writer.to_db_file(str(path))
        monkeypatch.undo()
        changed_at = time.time() - 1000 + (built_at - BUILT_AT) / 1000
        os.utime(path, (changed_at, changed_at))
        return path

    return write


def test_the_installed_list_knows_countries_and_of_which_day_it_is() -> None:
    found = open_countries(None, Path("unused"))
    assert found.code("8.8.8.8") == found.code("::ffff:8.8.8.8") == found.code("::FFFF:808:808") == "US"
    assert found.code("2003:e0::1") == "DE"
    assert [found.code(address) for address in NOWHERE] == [None] * len(NOWHERE)
    assert "Regional Internet Registries" in found.origin.name
    assert found.origin.on is not None
    assert found.origin.on > date(2026, 1, 1)
    found.refresh()


def test_without_any_list_no_country_is_known() -> None:
    found = NoCountries()
    found.refresh()
    assert found.code("8.8.8.8") is None
    assert "not known" in str(found.origin)


@pytest.mark.parametrize(
    "record",
    [
        {"country": {"iso_code": "AU", "names": {"en": "Australia"}}, "city": {"names": {"en": "Perth"}}},
        {"registered_country": {"iso_code": "AU"}},
        {"country": {"names": {"en": "?"}}, "registered_country": {"iso_code": "AU"}},
        {"country_code": "AU"},
        {"country": "AU", "continent": "OC"},
    ],
)
def test_every_customary_layout_is_understood(write: Callable[..., Path], tmp_path: Path, record: Any) -> None:
    found = FileCountries(write(record), tmp_path)
    assert [found.code(address) for address in ("1.2.3.4", "::ffff:1.2.3.4", "2001:db8:1::5")] == ["AU"] * 3
    assert [found.code(address) for address in (*NOWHERE, "1.3.0.0")] == [None] * (len(NOWHERE) + 1)
    assert str(found.origin) == "Test-Country (own.mmdb) of 2026-09-21"


@pytest.mark.parametrize(
    "record", [None, "AU", 7, [], {}, {"country": None}, {"country": {"iso_code": "Australia"}}, {"country_code": "au"}]
)
def test_what_is_no_code_is_not_known(record: Any) -> None:
    assert country_in(record) is None


@pytest.mark.parametrize("code", ["EU", "AP", "ZZ", "XX", "au", "AUS", "A1", "ÄÖ"])
def test_what_is_no_country_is_not_known(code: str) -> None:
    assert country_in({"country": {"iso_code": code}}) is None


def test_a_file_for_ipv4_knows_nothing_of_ipv6(write: Callable[..., Path], tmp_path: Path) -> None:
    found = FileCountries(write({"country_code": "AU"}, version=4), tmp_path)
    assert (found.code("1.2.3.4"), found.code("2001:db8:1::5")) == ("AU", None)


def test_a_newer_file_is_taken_up_and_the_old_copy_goes(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"country_code": "AU"})
    found = FileCountries(path, tmp_path)
    write({"country_code": "NZ"}, built_at=BUILT_AT + 86_400)
    assert found.code("1.2.3.4") == "AU"
    found.refresh()
    assert found.code("1.2.3.4") == "NZ"
    assert found.origin.on == date(2026, 9, 22)
    assert len(list(tmp_path.glob(f"{countries.COPY_PREFIX}*"))) == 1


def test_a_file_that_is_cut_short_in_place_harms_nobody(write: Callable[..., Path], tmp_path: Path) -> None:
    """A reader that had the file itself mapped would be ended by the system here (SIGBUS)."""
    path = write({"country_code": "AU"})
    found = FileCountries(path, tmp_path)
    os.truncate(path, 10)
    os.utime(path, (1, 1))
    found.refresh()
    assert found.code("1.2.3.4") == "AU"
    path.unlink()
    found.refresh()
    assert found.code("1.2.3.4") == "AU"


def test_a_file_that_is_still_being_written_is_left_alone(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"country_code": "AU"})
    found = FileCountries(path, tmp_path)
    write({"country_code": "NZ"})
    os.utime(path)
    found.refresh()
    assert found.code("1.2.3.4") == "AU"


def test_processes_share_one_copy(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"country_code": "AU"})
    both = [FileCountries(path, tmp_path) for _ in range(2)]
    assert [one.code("1.2.3.4") for one in both] == ["AU", "AU"]
    assert len(list(tmp_path.glob(f"{countries.COPY_PREFIX}*"))) == 1


def test_a_setting_names_a_file_that_can_be_used(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"country_code": "AU"})
    assert Settings.from_env({"TRACKER_GEO_DB": str(path)}).geo_db == path
    (tmp_path / "empty.mmdb").touch()
    (tmp_path / "text.mmdb").write_text("no database")
    for wrong in ("empty.mmdb", "text.mmdb", "missing.mmdb", "."):
        with pytest.raises(SettingError, match="TRACKER_GEO_DB"):
            Settings.from_env({"TRACKER_GEO_DB": str(tmp_path / wrong)})


def test_only_mapped_addresses_are_changed() -> None:
    given = ("::ffff:192.0.2.1", "::ffff:nonsense", "2001:db8::1", "192.0.2.1", "")
    assert list(map(unmapped, given)) == ["192.0.2.1", "::ffff:nonsense", *given[2:]]
