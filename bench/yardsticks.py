"""What we are measured against, and with: nginx and a bare ASGI callable under gunicorn, loaded by wrk on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.serving import free_port

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
START_WITHIN_S = 20
NGINX = """
worker_processes auto;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log {folder}/access.log;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} reuseport; location / {{ return 302 https://shop.example/?utm_source=s; }} }}
}}
"""
BARE = """
async def app(scope, receive, send):
    headers = [(b"location", b"https://shop.example/?utm_source=s"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
"""


class Load(NamedTuple):
    """What one run of wrk saw."""

    per_s: float
    p99_ms: float
    answered: int = 0


def load(url: str, *, connections: int, seconds: int, pause: Path | None = None) -> Load:
    """Runs wrk with one thread, each connection pausing after its answers where a script says so (see `paced`).

    Raises RuntimeError where an answer was neither 2xx nor 3xx, or a socket failed.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"User-Agent: {AGENT}"]
    command += [*(("-s", str(pause)) if pause else ()), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{url}: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    answered = re.search(r"(\d+) requests in", said)
    assert rate, said
    assert p99, said
    assert answered, said
    return Load(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]], int(answered[1]))


def paced(folder: Path, pause_ms: int) -> Path:
    """A script with which each of wrk's connections waits so long before it asks again."""
    script = folder / f"pause-{pause_ms}.lua"
    script.write_text(f"function delay() return {pause_ms} end\n")
    return script


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> float:
    """Seconds until the first answer; a redirect to nowhere is one. Raises RuntimeError where none comes."""
    started = time.monotonic()
    while subprocess.run(["curl", "-s", "-o", "/dev/null", "-m", "2", url], check=False).returncode:
        if time.monotonic() - started > START_WITHIN_S:
            raise RuntimeError(f"{url} does not answer")
        time.sleep(0.01)
    return time.monotonic() - started


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    executable = shutil.which("nginx") or "/usr/sbin/nginx"
    with _running([executable, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], port) as url:
        yield url


@contextmanager
def bare(folder: Path, workers: int) -> Iterator[str]:
    port = free_port()
    (folder / "bare.py").write_text(BARE)
    command = [sys.executable, "-m", "gunicorn", "-k", "asgi", "--asgi-lifespan", "off", "--no-control-socket"]
    command += ["--chdir", str(folder), "-w", str(workers), "-b", f"127.0.0.1:{port}", "bare:app"]
    with _running(command, port) as url:
        yield url
