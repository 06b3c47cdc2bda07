"""The wheel: built, installed away from the checkout, and run from there."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parent.parent
SERVES = """
import sys
from pathlib import Path

import tracker
from tracker.app import create_app
from tracker.config import Settings

site, data = sys.argv[1:]
assert Path(tracker.__file__).is_relative_to(site), tracker.__file__
client = create_app(Settings.from_env({"TRACKER_DATA_DIR": data})).test_client()
for path in ("/healthz", "/static/app.css", "/app/login"):
    print(path, client.get(path).status_code)
assert "<form" in client.get("/app/login").text
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    folder = wheel.parent / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(install, check=True, capture_output=True)
    return folder


def run_installed(site: Path, cwd: Path, *arguments: str) -> str:
    """`-S` reads no .pth file, so the editable install, and with it the checkout, is out of reach."""
    libraries = [str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRACKER_")}
    environment["PYTHONPATH"] = os.pathsep.join(libraries)
    command = [sys.executable, "-S", "-P", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_pages_styles_and_migrations(wheel: Path) -> None:
    names = names_in(wheel)
    needed = {"templates/base.html", "static/app.css", "static/tokens.css", "migrations/env.py"}
    assert {f"tracker/{name}" for name in needed} <= names
    assert any(name.startswith("tracker/migrations/versions/") for name in names)


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names_in(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == {"tracker"}


def test_an_installed_wheel_has_the_command(site: Path, tmp_path: Path) -> None:
    assert "serve" in run_installed(site, tmp_path, "-m", "tracker.cli", "--help")


def test_an_installed_wheel_serves_pages(site: Path, tmp_path: Path) -> None:
    answers = run_installed(site, tmp_path, "-c", SERVES, str(site), str(tmp_path / "data"))
    assert answers.splitlines() == ["/healthz 200", "/static/app.css 200", "/app/login 200"]
