"""Load from a process of its own: follows a link on kept-alive connections and writes down each answer it got.

    python generator.py PORT CODE KEY FILE CONNECTIONS PAUSE_S

Runs until it is ended. A line of FILE is the click id of one redirect whose answer arrived whole; `sale ` and a click
id where a conversion pixel with that id as its order was answered; `refused ` and a status where no redirect came.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
CLICKS_PER_SALE = 20


def follow(port: int, code: str, key: str, path: str, pause_s: float) -> None:
    with open(path, "a", encoding="ascii", buffering=1) as seen:
        clicks = 0
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

            def get(target: str, connection: http.client.HTTPConnection = connection) -> http.client.HTTPResponse:
                connection.request("GET", target, headers={"User-Agent": AGENT})
                answer = connection.getresponse()
                answer.read()
                return answer

            try:
                while True:
                    time.sleep(pause_s)
                    answer = get(f"/{code}")
                    if answer.status != 302:
                        seen.write(f"refused {answer.status}\n")
                        continue
                    cid = answer.headers["Location"].rpartition("cid=")[2]
                    seen.write(f"{cid}\n")
                    clicks += 1
                    if (
                        clicks % CLICKS_PER_SALE == 0
                        and get(f"/c/{key}.gif?cid={cid}&order={cid}&value=1").status == 200
                    ):
                        seen.write(f"sale {cid}\n")
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            finally:
                connection.close()


if __name__ == "__main__":
    port, code, key, path, connections = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
    for number in range(connections):
        threading.Thread(
            target=follow, args=(port, code, key, f"{path}.{number}", float(sys.argv[6])), daemon=True
        ).start()
    threading.Event().wait()
