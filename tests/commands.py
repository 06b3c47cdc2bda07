"""Commands for tests: each in a process of its own, forked from one that has imported the program already.

Importing takes most of what a command takes. That commands start from nothing as well is for the tests of the server,
which is started as a person starts it, and of the wheel.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parent.parent
OPENED = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
_one_at_a_time = Lock()


def run(
    *arguments: str, environ: dict[str, str], typed: str = "", check: bool = False
) -> subprocess.CompletedProcess[str]:
    """`tracker ARGUMENTS` with nothing in its environment but `environ`, and `typed` on standard input."""
    with tempfile.TemporaryDirectory() as folder, _one_at_a_time:
        ends = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        ends[0].write_text(typed)
        try:
            code = _ask(json.dumps([arguments, environ, [str(end) for end in ends]]))
        except BaseException:  # a test's time is up: the answer to this one is not the next one's
            os.killpg(_parent().pid, signal.SIGKILL)
            _parent.cache_clear()
            raise
        done = subprocess.CompletedProcess(arguments, code, ends[1].read_text(), ends[2].read_text())
    if check:
        done.check_returncode()
    return done


def _ask(line: str) -> int:
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(line + "\n")
    parent.stdin.flush()
    return int(parent.stdout.readline())


@cache
def _parent() -> subprocess.Popen[str]:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.commands"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(parent.communicate)
    return parent


def _serve() -> None:
    """Forks for each line of standard input, and says how that child ended."""
    from sqlalchemy.orm import configure_mappers

    from tracker.cli import main

    configure_mappers()
    gc.freeze()  # else each child copies it all when it collects
    for line in sys.stdin:
        arguments, environ, ends = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.clear()
            os.environ.update(environ)
            for number, (end, flags) in enumerate(zip(ends, OPENED, strict=True)):
                os.dup2(os.open(end, flags), number)
            sys.stdin = os.fdopen(0)  # the parent's has read ahead
            code: object = 1
            try:
                main(arguments, prog_name="tracker")
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(int(str(code)))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
