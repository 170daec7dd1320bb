"""Measure unit costs on this machine: the embedded broker and store, a worker, a model, an API, in a temporary home.

    events of a synthetic shop ─▶ Kafka ─▶ a worker ─▶ states, log ─▶ a model ─▶ an API that is asked ─▶ a rebuild

Worker and API run in this process, one after the other, so that its processor time is theirs; sending ends before, and
another process asks. The home of the settings, its Kafka and its Redis are not touched.
"""

import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import uvicorn

from data.clock import wall_clock
from data.errors import UnavailableError
from data.event import encode_event, event_class
from data.filesystem.folder import Folder
from data.project import DEFAULT
from data.shop.shop import Shop, ShopConfig
from data.units import from_micros
from events.producer.options import ProduceOptions
from events.producer.produce import produce
from events.stream.account import Account
from events.stream.heartbeat import WorkerStatus
from features.state.algebra import Algebra
from features.state.fence import Fence
from features.state.online.answers import ask, read_info
from features.state.online.keys import StateKeys
from features.state.online.states import OnlineStates
from server.api.app import create_app
from server.api.asgi.patient_http import PatientHttp
from server.capacity.unit_costs import StateCost, UnitCosts
from server.jobs.stream import run_worker
from server.process.child import spawn
from server.process.infra import infra_of
from server.process.server_process import LOOPBACK, free_port
from server.redis.connections import connect_redis
from server.redis.editions import open_live
from server.settings import Settings, environment_of, variables

__all__ = ["measure"]

_EVENTS_A_USER, _DAYS = 5, 120
"""So few that the events of a batch are mostly of different users, as in a large shop."""

_USERS_A_PRODUCT = 10

_SAMPLE = 1_000
"""Number of states of each entity whose memory is measured."""

_QUESTIONS = 2_000
"""Number of questions, asked repeatedly."""

_ROUNDS = 300
"""Number of writes of one busy state."""

_PATIENCE_S = 600.0

_SCHEMA = DEFAULT.schema

Tell = Callable[[str], None]


def measure(tell: Tell, *, events: int = 100_000, seconds: float = 5.0) -> UnitCosts:
    """Measure with so many events, and ask the API for so many seconds; it takes about a minute.

    Raises UnavailableError if a part does not start or does not do its work.
    """
    with tempfile.TemporaryDirectory(prefix="encore-measure-") as folder:
        settings = _settings(Path(folder))
        broker, store = infra_of(settings, None, tell)
        tell("starting a broker and a store")
        with broker, store:
            return _Measurement(settings, tell, events, seconds).run()


def _settings(folder: Path) -> Settings:
    """Return settings of a separate home, independent of the environment."""
    return Settings.model_construct(
        home=folder / "home",
        redis_host=LOOPBACK,
        redis_port=free_port(),
        kafka_servers=f"{LOOPBACK}:{free_port()}",
        api_port=free_port(),
        partitions=Settings.model_fields["partitions"].default,
    )


class _Measurement:
    def __init__(self, settings: Settings, tell: Tell, events: int, seconds: float) -> None:
        self._settings = settings
        self._tell = tell
        self._seconds = seconds
        self._client: Any = connect_redis(settings)
        end_us = wall_clock()
        users = max(1, events // _EVENTS_A_USER)
        products = max(1, users // _USERS_A_PRODUCT)
        config = ShopConfig(end_us, users, products, _DAYS, events_per_day=1.6 * events / _DAYS)
        rows = (row for table in Shop(config).history() for row in table.to_pylist())
        event = event_class(_SCHEMA)
        self._events: list[Any] = [event(**row | {"metadata": None}) for row in islice(rows, events)]

    def run(self) -> UnitCosts:
        self._encore("features")
        worker_us, redis_us = self._stream()
        states = self._states()
        one_key_us = self._one_key()
        log_bytes = Folder(self._settings.log).bytes() / len(self._events)
        self._encore("train", "--model", "random_forest", "--max-rows", "1500")
        api_us, redis_answer_us = self._answers()
        return UnitCosts(
            at=from_micros(wall_clock()).isoformat(timespec="seconds"),
            machine=f"{platform.machine()}, {os.cpu_count()} cores, load {_load()}, Python {platform.python_version()}",
            events=len(self._events),
            partitions=self._settings.partitions,
            worker_us_per_event=worker_us,
            redis_us_per_event=redis_us,
            log_bytes_per_event=log_bytes,
            message_bytes_per_event=mean(len(event.user_id) + len(encode_event(event)) for event in self._events),
            rebuild_us_per_event=self._rebuild(),
            api_us_per_answer=api_us,
            redis_us_per_answer=redis_answer_us,
            one_key_us=one_key_us,
            states=states,
        )

    def _stream(self) -> tuple[float, float]:
        """Return the processor time of a worker and of Redis for an event, µs, from Kafka to states and log."""
        self._tell(f"sending {len(self._events):,} events")
        servers, topic = self._settings.kafka_servers, self._settings.kafka_names.events
        options = ProduceOptions(
            mode="burst", count=len(self._events), servers=servers, topic=topic, letters_s=0, schema=_SCHEMA
        )
        sent = produce(options, stop=threading.Event(), events=lambda: iter(self._events)).sent
        stop, deadline = threading.Event(), time.monotonic() + _PATIENCE_S

        def note(status: WorkerStatus, _: Account) -> None:
            self._tell(f"folding: {status.folded:,} of {sent:,} events")
            if status.folded + status.repeats >= sent or time.monotonic() > deadline:
                folded.append(status.folded)
                stop.set()

        folded: list[int] = []
        with self._spent() as spent:
            run_worker(self._settings, stop, name="measured", on_status=note)
        if not folded or folded[0] < 0.9 * sent:
            raise UnavailableError(f"the worker folded {folded} of {sent} events in {_PATIENCE_S:g} s; measure again")
        return spent[0] / sent, spent[1] / sent

    def _states(self) -> dict[str, StateCost]:
        """Return the memory of states in Redis, by entity: the sizes of a sample, scaled to what Redis uses in sum."""
        self._tell("measuring states")
        states, sizes = open_live(self._client, self._settings).states, dict[str, float]()
        counts = states.counts()
        for entity in states.entities:
            sample = [ask(lambda key=key: self._client.memory_usage(key)) for key in _sample_keys(states, entity)]  # type: ignore[misc]
            sizes[entity] = mean(size for size in sample if size)
        (memory,) = read_info(self._client, "memory")
        used = int(memory["used_memory"]) - int(memory["used_memory_startup"])
        factor = max(1.0, used / sum(counts[entity] * size for entity, size in sizes.items()))
        ordered_by = {entity.name: _SCHEMA.ordered_by in entity.join_keys for entity in _SCHEMA.entities}
        return {name: StateCost(size * factor, counts[name], ordered_by[name]) for name, size in sizes.items()}

    def _one_key(self) -> float:
        """Return the processor time of a writer and of Redis to read, merge and write one busy state, µs."""
        opened = open_live(self._client, self._settings)
        unordered = (entity.name for entity in _SCHEMA.entities if _SCHEMA.ordered_by not in entity.join_keys)
        entity = next(unordered)
        keys = StateKeys(_SCHEMA, self._settings.project)
        sample = _sample_keys(opened.states, entity)
        busiest = max(sample, key=lambda key: ask(lambda: self._client.memory_usage(key)) or 0)
        key, algebra = keys.parse(busiest), Algebra(opened.plan.of(entity))
        assert key is not None  # noqa: S101 - it is the project's
        with self._spent() as spent:
            for _ in range(_ROUNDS):
                (before,) = opened.states.read([key])
                state = algebra.merge(algebra.decode(before.state), algebra.empty())
                opened.states.compare_and_set({key: (before, algebra.encode(state), Fence.decode(before.fence))})
        return sum(spent) / _ROUNDS

    def _answers(self) -> tuple[float, float]:
        """Return the processor time of the API and of Redis for an answer of `/predict`, µs."""
        self._tell(f"asking the API for {self._seconds:g} s")
        generator = random.Random(7)  # noqa: S311 - a sample
        sample = generator.choices(self._events, k=_QUESTIONS)
        bodies = [{"user_id": event.user_id, "product_id": event.product_id, "amount": 12.5} for event in sample]
        with _serving(self._settings):
            self._ask(bodies, 0.5)  # warm-up: compilation at the first answers is not measured
            with self._spent() as spent:
                answers = self._ask(bodies, self._seconds)
        return spent[0] / answers, spent[1] / answers

    def _ask(self, bodies: Sequence[dict[str, Any]], seconds: float) -> int:
        path = self._settings.home / "bodies.json"
        path.write_text(json.dumps([json.dumps(body) for body in bodies]))
        command = [sys.executable, "-m", "server.capacity.asker", str(self._settings.api_port), str(seconds), str(path)]
        return int(self._run("the asker", command).splitlines()[-1])

    def _rebuild(self) -> float:
        """Return the processor time of a rebuild for an event, Redis' included, µs, without Python's start."""
        from server.jobs.build import apply_features  # noqa: PLC0415 - it imports Feast
        from server.jobs.rollout.rollout import rebuild  # noqa: PLC0415 - as above

        apply_features(self._settings, self._tell)
        with self._spent() as spent:
            rebuild(self._settings, self._tell)
        return sum(spent) / len(self._events)

    @contextmanager
    def _spent(self) -> Iterator[list[float]]:
        """Yield a list that gets the processor times of this process and of Redis in the block, µs, at its end."""
        spent: list[float] = []
        process_s, redis_s = time.process_time(), self._redis_s()
        yield spent
        spent += [(time.process_time() - process_s) * 1e6, (self._redis_s() - redis_s) * 1e6]

    def _redis_s(self) -> float:
        (cpu,) = read_info(self._client, "cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def _encore(self, *command: str) -> None:
        self._tell(f"encore {command[0]}")
        self._run(f"`encore {command[0]}`", [sys.executable, "-m", "server.cli", *command])

    def _run(self, name: str, command: Sequence[str]) -> str:
        """Run a command with these settings alone; return what it printed. Raises UnavailableError if it fails."""
        fields = (Settings.model_fields[field] for field in self._settings.model_fields_set)
        unset = {*variables()} - {str(field.validation_alias) for field in fields}
        environment = {key: text for key, text in environment_of(self._settings).items() if key not in unset}
        with tempfile.TemporaryFile() as output:
            child = spawn(command, output, environment=environment)
            try:
                code = child.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise UnavailableError(f"{name} takes longer than {_PATIENCE_S:g} s; measure when less runs") from None
            finally:
                child.kill()
                child.wait()
            output.seek(0)
            printed = output.read().decode(errors="replace")
        if code:
            raise UnavailableError(f"{name} failed: {printed.strip()[-500:]}")
        return printed


@contextmanager
def _serving(settings: Settings) -> Iterator[None]:
    """Serve the API in a thread of this process, with the limits and layers of `encore serve`."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        http=PatientHttp,
        ws="none",
        access_log=False,
        log_level="warning",
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while not running.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise UnavailableError("the API does not start; its log says why")
            time.sleep(0.01)
        yield
    finally:
        running.should_exit = True
        thread.join()


def _load() -> str:
    """Return the load average of the machine: beside other work, processor times are longer."""
    return f"{os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else "unknown"


def _sample_keys(states: OnlineStates, entity: str) -> list[bytes]:
    return list(islice(states.redis_keys(entity), _SAMPLE))
