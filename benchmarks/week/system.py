"""A whole system on the faster clock: Redis, a worker, the monitor, the API, traffic; Kafka on the machine's clock."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from data.units import DAY_US
from server.process import kafka_settings
from server.process.child import spawn, stop_child
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import Settings, read_settings
from week.declared import RETENTION, declare
from week.fast_clock import FastClock

__all__ = ["System"]

_MIB = 1024 * 1024

_BROKER = {
    # Kafka times requests by wall-clock time, so it needs the machine's clock: it stamps messages itself, and keeps
    # them for as many minutes as a day of the faster clock has.
    "log.message.timestamp.type": "LogAppendTime",
    "log.retention.check.interval.ms": "20000",
    "log.segment.delete.delay.ms": "5000",
    "log.cleaner.backoff.ms": "5000",
    "offsets.topic.segment.bytes": str(_MIB),
}

_REWRITE_FROM = "2mb"
"""Size from which Redis rewrites its append-only file; this traffic does not reach the default of 64 MB."""


class System:
    """All processes, with their data in `folder`; a context manager. `processes` has the process ids by name."""

    def __init__(self, folder: Path, clock: FastClock, rate: float, asked: float) -> None:
        self._folder = folder
        self._clock = clock
        self._environment = clock.environment | {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._rates = f"{rate:g}", f"{asked:g}"
        self._stack = ExitStack()
        self.processes: dict[str, int] = {}
        self.home = folder / "home"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        folder = self._folder
        self.home.mkdir()
        kept_ms = DAY_US // self._clock.rate // 1000
        retention = {"log.retention.ms": str(kept_ms), "log.roll.ms": str(kept_ms // 4)}
        kafka_settings.NODE_SETTINGS.update(_BROKER | retention)
        broker = KafkaBroker(free_port(), self.home / "broker" / "apache")
        store = Store(free_port(), self.home / "store")
        store.environment = self._environment
        for server in (broker, store):
            stack.enter_context(server)
            self.processes[server.name] = server.pid or 0
        self.variables = {
            "ENCORE_HOME": str(self.home),
            "ENCORE_PROJECT": str(declare(folder / "week")),
            "ENCORE_RETENTION": RETENTION,
            "ENCORE_RUN_LOGS": "1MB",
            "KAFKA_SERVERS": broker.servers,
            "REDIS_HOST": store.host,
            "REDIS_PORT": str(store.port),
            "API_PORT": str(free_port()),
        }
        os.environ.update(self.variables)
        self.settings: Settings = read_settings()
        with self.settings.redis_access.connect(timeout_s=10) as client:
            client.config_set("auto-aof-rewrite-min-size", _REWRITE_FROM)
        code, _, errors = self.encore("features")
        if code:
            raise RuntimeError(errors)
        for name in ("stream", "monitor", "serve"):
            stack.enter_context(self._running(name, "server.cli", name))
        stack.enter_context(self._running("traffic", "week.traffic", *self._rates))

    def encore(self, *command: str) -> tuple[int, dict[str, Any], str]:
        """Run a command; return its exit code, its JSON output, and its stderr."""
        process = subprocess.run(
            [sys.executable, "-m", "server.cli", *command, "--json"],
            env=os.environ | self.variables | self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        try:
            reply = json.loads(process.stdout)
        except ValueError:
            reply = {}
        return process.returncode, reply, process.stderr[-2000:]

    @contextmanager
    def _running(self, name: str, *module: str) -> Iterator[None]:
        with (self._folder / f"{name}.log").open("wb") as log:
            environment = os.environ | self.variables | self._environment
            process = spawn([sys.executable, "-m", *module], log, environment=environment)
        self.processes[name] = process.pid
        try:
            yield
        finally:
            stop_child(process, 30)
