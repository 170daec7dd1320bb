"""Machines that share nothing but Kafka, Redis and a bucket: a home each; servers and workers are processes."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from polling import poll_until
from system import SystemHere, interrupt

from data.default_shop import ShopEvent
from data.event import encode_event
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


class Machines:
    """Systems with one Kafka, Redis and bucket, and a home each under a folder."""

    def __init__(self, folder: Path, address: str, broker: KafkaBroker, store: Store) -> None:
        user, _, secret = (urlsplit(address).netloc.rpartition("@")[0]).partition(":")
        self._folder = folder
        self._first = SystemHere(folder / "first")
        self._shared = {
            "KAFKA_SERVERS": broker.servers,
            "REDIS_HOST": store.host,
            "REDIS_PORT": str(store.port),
            "ENCORE_STORAGE": address.replace(f"{user}:{secret}@", ""),
            "ENCORE_PROJECT": "machines",
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def home(self, name: str) -> Path:
        return self._folder / name

    def json(self, name: str, *command: str) -> Any:
        return self._on(name).json(*command)

    def failure(self, name: str, *command: str) -> str:
        """What a command says that fails."""
        done = self._on(name).run(*command)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the API, on whichever machine it is."""
        return self._first.get(path)

    @contextmanager
    def running(self, name: str, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A machine with one command, which is stopped at the end."""
        process = self._on(name).start(*command, output=self._folder / f"{name}.log")
        try:
            yield process
        finally:
            interrupt(process)

    def _on(self, name: str) -> SystemHere:
        system = SystemHere(self.home(name))
        kept = self._first.environment | self._shared | {"ENCORE_HOME": str(self.home(name))}
        system._environment = kept  # noqa: SLF001 - our own
        return system


def test_each_machine_may_be_lost(bucket: str, broker: KafkaBroker, store: Store, tmp_path: Path) -> None:
    """What built everything is deleted; worker, API and whoever verifies have the bucket, and so has one that comes."""
    machines = Machines(tmp_path, bucket.format("machines"), broker, store)
    sizes = ("--users", "300", "--products", "40", "--days", "150", "--events-per-day", "240")
    made = machines.json("builder", "generate", *sizes)
    machines.json("builder", "features")
    machines.json("builder", "train", "--model", "logistic_regression", "--max-rows", "2000")
    machines.json("builder", "materialize")
    shutil.rmtree(machines.home("builder"))

    view = {"event_type": "view", "user_id": "u7", "product_id": "p7", "amount": 1.5, "timestamp": datetime.now(UTC)}
    events = [ShopEvent(event_id=f"e{number}", **view) for number in range(40)]
    recording = tmp_path / "events.jsonl"
    recording.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    with machines.running("server", "serve"), machines.running("worker", "stream"):
        poll_until(lambda: machines.get("/health/ready")[0] == 200, deadline_s=60)
        machines.json("sender", "produce", "--mode", "file", "--input", str(recording))
        poll_until(lambda: _views(machines) == len(events), deadline_s=60)
        assert machines.get("/predict?user_id=u7&product_id=p7")[1]["model_version"]
    # The worker that folded these is gone, with its home; what it logged is not.
    shutil.rmtree(machines.home("worker"))
    assert "run `encore features`" in machines.failure("checker", "verify", "--sample", "5")
    machines.json("checker", "features")
    assert machines.json("checker", "verify", "--sample", "5")["ok"]
    exported = machines.json("checker", "export", str(tmp_path / "all.jsonl"))
    assert exported["events"] == made["events"] + len(events)
    with machines.running("another", "stream"):
        machines.json("sender", "rebuild")
        assert machines.json("checker", "verify", "--sample", "5")["ok"]
    assert not [name for name in ("server", "checker", "sender") if (machines.home(name) / "log").exists()]


def _views(machines: Machines) -> int:
    """The views of u7 that the API knows; nobody knows a stranger."""
    status, found = machines.get("/features/u7")
    return int(found["features"]["user_view_count"]) if status == 200 else 0
