"""Settings from the environment: typed, refused when malformed, and the secrets they lead to."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tracker import addresses, clickid, countries, smtp
from tracker.errors import SettingError

PREFIX = "TRACKER_"
DURABILITIES = ("process", "disk")
PORT_DEFAULT = 8000
PORT_FILE = "served-port"
SECRETS_FILE = "secrets.json"
WORKERS_MAX = 64
SPOOL_MAX_MB = 8192  # some forty million hits
CHECKS_HOURS = 6
CHECKS_HOURS_MAX = 168


def _text(environ: Mapping[str, str], name: str) -> str | None:
    """A setting, or the content of the file that `NAME_FILE` points to; empty counts as unset."""
    value = environ.get(PREFIX + name)
    path = environ.get(f"{PREFIX}{name}_FILE")
    if value and path:
        raise SettingError(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set; keep one.")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{PREFIX}{name}_FILE cannot be read: {error}") from None
    return value or None


def _whole(name: str, text: str | None, default: int, low: int, high: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
        raise SettingError(f"{name} is a whole number from {low} to {high}, not “{text}”.")
    return int(text)


def _one_of(name: str, text: str | None, choices: tuple[str, ...]) -> str:
    if text is None:
        return choices[0]
    if text not in choices:
        raise SettingError(f"{name} is one of {', '.join(choices)}, not “{text}”.")
    return text


def _origin(name: str, text: str | None) -> str | None:
    """An http(s) address without path, as `https://go.example`."""
    if text is None:
        return None
    text = text.rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingError(f"{name} is an address like https://go.example, without a path, not “{text}”.")
    return text


def _database(name: str, text: str | None, default: str) -> str:
    if text is None:
        return default
    if not text.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise SettingError(f"{name} starts with sqlite:/// or postgresql+psycopg://.")
    return text


def _param(name: str, text: str | None) -> str:
    if text is None:
        return "cid"
    if not param_ok(text):
        raise SettingError(f"{name} is 1 to 32 letters, digits, “-” or “_”, and no utm_ name, not “{text}”.")
    return text


def param_ok(text: str) -> bool:
    """A name for a parameter of ours, as the click id's: short, plain, and not one that a tag has."""
    plain = text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()
    return plain and len(text) <= 32 and not text.lower().startswith("utm_")


def _log(name: str, text: str | None) -> str | None:
    """Where a log goes: `-` for standard output, else a file, as an absolute path."""
    if text in (None, "-"):
        return text
    path = Path(text).absolute()
    if "\0" in text or text.endswith("/") or path.is_dir() or not path.parent.is_dir():
        raise SettingError(f"{name} is “-” or a file in a folder that exists, not “{text}”.")
    return str(path)


def _countries(name: str, text: str | None) -> Path | None:
    """A file that tells which country an address is in, looked into once."""
    if text is None:
        return None
    path = Path(text).absolute()
    problem = "it is no file" if "\0" in text or not path.is_file() else countries.problem_with(path)
    if problem:
        raise SettingError(f"{name} is a MaxMind database (.mmdb) of countries or cities, not “{text}”: {problem}.")
    return path


def _networks(name: str, text: str | None) -> tuple[addresses.Network, ...]:
    try:
        return addresses.read_networks(text or "")
    except ValueError as error:
        raise SettingError(f"{name} lists networks like 10.1.0.0/16, parted by commas: {error}.") from None


def _smtp(name: str, text: str | None) -> smtp.Server | None:
    """The text itself is not repeated in a refusal: it may hold a password."""
    try:
        return smtp.read(text) if text else None
    except ValueError as error:
        raise SettingError(f"{name} is like smtp://user:password@mail.example:587: {error}.") from None


def _sender(name: str, text: str | None, is_needed: bool) -> str | None:
    """An address, or a name with one, as `Reports <reports@example.org>`."""
    if text is None:
        if is_needed:
            raise SettingError(f"{name} names whom mail comes from, where TRACKER_SMTP_URL is set.")
        return None
    if not smtp.is_sender(text):
        raise SettingError(f"{name} is an address, or a name and one like Reports <reports@example.org>, not “{text}”.")
    return text


def ensure_data_dir(folder: Path) -> None:
    """Makes the data folder, for its owner only. Raises SettingError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingError(f"TRACKER_DATA_DIR: {folder} cannot be made: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"TRACKER_DATA_DIR: {folder} cannot be written.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, with the unit last in the name. Made once, handed down, never read from a global."""

    data_dir: Path
    database_url: str
    base_url: str | None
    port: int = PORT_DEFAULT
    workers: int = 2
    trusted_proxies: int = 0
    durability: str = "process"
    click_id_param: str = "cid"
    retention_days: int = 0
    spool_segment_bytes: int = 16 * 1024 * 1024
    spool_max_mb: int = SPOOL_MAX_MB
    access_log: str | None = None
    geo_db: Path | None = None
    checker_allow: tuple[addresses.Network, ...] = ()
    destination_checks_hours: int = CHECKS_HOURS
    smtp: smtp.Server | None = None
    mail_from: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Reads `TRACKER_*` and `PORT`. Raises SettingError, naming the setting, for a value it cannot use."""
        env = os.environ if environ is None else environ
        data_dir = Path(_text(env, "DATA_DIR") or "data").absolute()
        database_url = _database(
            "TRACKER_DATABASE_URL", _text(env, "DATABASE_URL"), f"sqlite:///{data_dir / 'tracker.sqlite3'}"
        )
        events_url = _text(env, "EVENTS_URL")
        if events_url not in (None, database_url):
            raise SettingError("TRACKER_EVENTS_URL: this version keeps events in TRACKER_DATABASE_URL; leave it unset.")
        smtp_url = _text(env, "SMTP_URL")
        return cls(
            data_dir=data_dir,
            database_url=database_url,
            base_url=_origin("TRACKER_BASE_URL", _text(env, "BASE_URL")),
            port=_whole("PORT", env.get("PORT") or None, PORT_DEFAULT, 1, 65535),
            workers=_whole("TRACKER_WORKERS", _text(env, "WORKERS"), os.cpu_count() or 1, 1, WORKERS_MAX),
            trusted_proxies=_whole("TRACKER_TRUSTED_PROXIES", _text(env, "TRUSTED_PROXIES"), 0, 0, 10),
            durability=_one_of("TRACKER_DURABILITY", _text(env, "DURABILITY"), DURABILITIES),
            click_id_param=_param("TRACKER_CLICK_ID_PARAM", _text(env, "CLICK_ID_PARAM")),
            spool_max_mb=_whole("TRACKER_SPOOL_MAX_MB", _text(env, "SPOOL_MAX_MB"), SPOOL_MAX_MB, 1, 2**20),
            access_log=_log("TRACKER_ACCESS_LOG", _text(env, "ACCESS_LOG")),
            checker_allow=_networks("TRACKER_CHECKER_ALLOW", _text(env, "CHECKER_ALLOW")),
            destination_checks_hours=_whole(
                "TRACKER_DESTINATION_CHECKS", _text(env, "DESTINATION_CHECKS"), CHECKS_HOURS, 0, CHECKS_HOURS_MAX
            ),
            geo_db=_countries("TRACKER_GEO_DB", _text(env, "GEO_DB")),
            smtp=_smtp("TRACKER_SMTP_URL", smtp_url),
            mail_from=_sender("TRACKER_MAIL_FROM", _text(env, "MAIL_FROM"), smtp_url is not None),
            retention_days=_whole("TRACKER_RETENTION_DAYS", _text(env, "RETENTION_DAYS"), 0, 0, 36500),
        )

    @property
    def public_url(self) -> str:
        """Where short links live: the configured address, else this machine's own."""
        return self.base_url or f"http://localhost:{self.port}"

    def remember_port(self) -> None:
        """Leaves word for commands that are not told the port."""
        (self.data_dir / PORT_FILE).write_text(str(self.port), encoding="ascii")

    def as_served(self) -> Settings:
        """These settings with the port of the server on this data folder, for commands that run beside it."""
        try:
            return replace(self, port=int((self.data_dir / PORT_FILE).read_text(encoding="ascii")))
        except (OSError, ValueError):
            return self

    @property
    def spool_bytes_max(self) -> int:
        return self.spool_max_mb * 1024 * 1024

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @property
    def metrics_dir(self) -> Path:
        """Where the processes of a server keep their counts for Prometheus."""
        return self.data_dir / "metrics"

    @property
    def secrets_changed_at(self) -> datetime:
        """When the secrets were made, or keys added to them."""
        return datetime.fromtimestamp((self.data_dir / SECRETS_FILE).stat().st_mtime, UTC)

    @cached_property
    def secrets(self) -> Secrets:
        return Secrets.load(self.data_dir)


class Keys(NamedTuple):
    """What conversion reports are read with: the keyring of click ids and the key of customers' hashes."""

    click: Mapping[int, bytes]
    customer: bytes


@dataclass(frozen=True)
class Secrets:
    """What must not leak: the keys of sessions and of customers' hashes, and the keyring of click ids.

    The highest number of the keyring makes new ids.
    """

    session_key: str
    customer_key: bytes
    click_keys: Mapping[int, bytes]

    @property
    def click_key(self) -> clickid.Key:
        number = max(self.click_keys)
        return clickid.Key(number, self.click_keys[number])

    @property
    def keys(self) -> Keys:
        return Keys(self.click_keys, self.customer_key)

    @classmethod
    def load(cls, data_dir: Path) -> Secrets:
        """Reads `secrets.json` (mode 0600), made on first use. Whoever links the finished file first wins a race."""
        path = data_dir / SECRETS_FILE
        if not path.exists():
            ensure_data_dir(data_dir)
            fresh = {
                "session_key": secrets.token_urlsafe(32),
                "customer_key": secrets.token_hex(32),
                "click_keys": {"1": secrets.token_hex(32)},
            }
            draft = _draft(data_dir, fresh)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            keys = {int(number): bytes.fromhex(secret) for number, secret in stored["click_keys"].items()}
            session_key, customer_key = stored["session_key"], bytes.fromhex(stored["customer_key"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingError(f"{path} cannot be used: {error!r}. Restore it from a backup.") from None
        if not session_key or not keys or not all(0 <= number < clickid.KEYS_MAX for number in keys):
            raise SettingError(f"{path} holds no usable keys. Restore it from a backup.")
        return cls(session_key=session_key, customer_key=customer_key, click_keys=keys)

    @classmethod
    def rotate(cls, data_dir: Path) -> int:
        """Adds a key of click ids and answers its number; the others stay, and ids made under them keep verifying.

        Processes take it up when they start. Raises SettingError once there is no number left.
        """
        cls.load(data_dir)
        path = data_dir / SECRETS_FILE
        folder = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # of two at once the later adds to what the earlier left
            stored = json.loads(path.read_text(encoding="utf-8"))
            number = max(map(int, stored["click_keys"])) + 1
            if number >= clickid.KEYS_MAX:
                raise SettingError(f"{path} has had {clickid.KEYS_MAX} keys of click ids, and there can be no more.")
            stored["click_keys"][str(number)] = secrets.token_hex(32)
            _draft(data_dir, stored).replace(path)
        finally:
            os.close(folder)
        return number


def _draft(folder: Path, content: Mapping[str, object]) -> Path:
    """A file with secrets, on the disk, for its owner only, under a name of its own."""
    draft = folder / f".secrets-{secrets.token_hex(8)}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    return draft
