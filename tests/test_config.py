"""Settings are typed, refused when malformed, and listed in the README; secrets are made once and kept private."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from tracker.config import PREFIX, Secrets, Settings
from tracker.errors import SettingError

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("TRACKER_WORKERS", "0"),
        ("TRACKER_TRUSTED_PROXIES", "1.5"),
        ("TRACKER_RETENTION_DAYS", "ten"),
        ("TRACKER_DURABILITY", "fast"),
        ("TRACKER_DESTINATION_CHECKS", "six"),
        ("TRACKER_DESTINATION_CHECKS", "169"),
        ("TRACKER_BASE_URL", "go.example"),
        ("TRACKER_BASE_URL", "https://go.example/x"),
        ("TRACKER_BASE_URL", "https://u@go.example"),
        ("TRACKER_BASE_URL", "https://go.example:x"),
        ("TRACKER_DATABASE_URL", "mysql://x"),
        ("TRACKER_EVENTS_URL", "clickhouse://x"),
        ("TRACKER_CLICK_ID_PARAM", "a b"),
        ("TRACKER_ACCESS_LOG", "/"),
        ("TRACKER_CHECKER_ALLOW", "intranet.example"),
        ("TRACKER_CHECKER_ALLOW", "10.0.0.1/8"),
        ("TRACKER_CHECKER_ALLOW", "10.0.0.0/8 fd00::/8"),
        ("TRACKER_ACCESS_LOG", "/does/not/exist/access.log"),
        ("TRACKER_BASE_URL_FILE", "/does/not/exist"),
    ],
)
def test_a_malformed_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name.removesuffix("_FILE")):
        Settings.from_env({name: value})


def test_settings_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://go.example\n")
    found = Settings.from_env(
        {"TRACKER_BASE_URL_FILE": str(tmp_path / "url"), "PORT": "9000", "TRACKER_DATA_DIR": str(tmp_path)}
    )
    assert (found.base_url, found.port, found.data_dir) == ("https://go.example", 9000, tmp_path)
    assert found.database_url == f"sqlite:///{tmp_path}/tracker.sqlite3"
    with pytest.raises(SettingError, match="both set"):
        Settings.from_env({"TRACKER_BASE_URL": "https://x.example", "TRACKER_BASE_URL_FILE": str(tmp_path / "url")})


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    first = Secrets.load(tmp_path / "new")
    assert Secrets.load(tmp_path / "new") == first
    path = tmp_path / "new" / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Secrets.load(tmp_path / "other") != first
    path.write_text("{}")
    with pytest.raises(SettingError, match=r"secrets\.json"):
        Secrets.load(tmp_path / "new")


def test_the_readmes_table_names_every_setting_and_no_other() -> None:
    code = (ROOT / "tracker" / "config.py").read_text()
    used = {PREFIX + name for name in re.findall(r'_text\(env, "([A-Z_]+)"\)', code)} | {"PORT"}
    table = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) == used
