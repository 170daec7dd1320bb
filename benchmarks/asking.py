"""Send questions to an API from a background thread, and record its answers."""

import http.client
import json
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.log.event_log import EventLog

__all__ = ["PATIENCE_S", "Answer", "Asking", "pairs_of", "summary"]

PATIENCE_S = 60.0
"""How long to wait for a server's first answer."""


def pairs_of(home: Path, most: int) -> list[tuple[str, str]]:
    """Return the users and products of about `most` of the log's events."""
    table = pq.read_table(EventLog(home / "log").files()[-1].path, columns=["user_id", "product_id"])
    rows = table.take(list(range(0, table.num_rows, max(1, table.num_rows // most)))).to_pylist()
    return [(row["user_id"], row["product_id"]) for row in rows]


Answer = tuple[str, float]
"""What kind of answer came, and after how long, s."""


def summary(answers: list[Answer]) -> dict[str, Any]:
    """Return the number of answers by kind, and their latencies in ms."""
    waits = sorted(wait for _, wait in answers)
    p99 = waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    return {
        "answers": dict(Counter(kind for kind, _ in answers)),
        "p50_ms": round(statistics.median(waits) * 1e3, 1),
        "p99_ms": round(p99 * 1e3, 1),
        "longest_ms": round(waits[-1] * 1e3, 1),
    }


class Asking:
    """A thread that sends a question to the API every `every_s` seconds, and records the answers."""

    def __init__(self, port: int, pairs: list[tuple[str, str]], every_s: float) -> None:
        self._port = port
        self._paths = [f"/predict?user_id={user}&product_id={product}" for user, product in pairs]
        self._every_s = every_s
        self._answers: list[Answer] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def await_answer(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(kind == "warm" for kind, _ in self._answers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the API gave no warm answer within {PATIENCE_S:g} s: {self._answers[-3:]}")
            time.sleep(0.05)

    def begin(self) -> None:
        self._answers = []

    def end(self) -> list[Answer]:
        """Return the answers since `begin`."""
        return list(self._answers)

    def _run(self) -> None:
        number, connection = 0, http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        due = time.perf_counter()
        while not self._stop.is_set():
            due = max(due + self._every_s, time.perf_counter() - 1)
            time.sleep(max(0, due - time.perf_counter()))
            number += 1
            began = time.perf_counter()
            try:
                connection.request("GET", self._paths[number % len(self._paths)])
                with connection.getresponse() as answer:
                    body = json.loads(answer.read())
                    kind = str(answer.status) if answer.status != 200 else "cold" if body["cold_start"] else "warm"
            except OSError as error:
                kind = type(error).__name__
                connection.close()
            except http.client.HTTPException as error:
                kind = type(error).__name__
                connection.close()
            self._answers.append((kind, time.perf_counter() - began))
