"""Load from a process of its own: follows a link on kept-alive connections and writes down each answer it got.

    python generator.py PORT CODE FILE CONNECTIONS

Runs until it is ended. A line of FILE is the click id of one redirect whose answer arrived whole.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"


def follow(port: int, code: str, path: str) -> None:
    with open(path, "a", encoding="ascii", buffering=1) as seen:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                while True:
                    connection.request("GET", f"/{code}", headers={"User-Agent": AGENT})
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 302:
                        seen.write(answer.headers["Location"].rpartition("cid=")[2] + "\n")
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            finally:
                connection.close()


if __name__ == "__main__":
    port, code, path, connections = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    for number in range(connections):
        threading.Thread(target=follow, args=(port, code, f"{path}.{number}"), daemon=True).start()
    threading.Event().wait()
