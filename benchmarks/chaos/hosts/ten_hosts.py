"""A chaos run on ten hosts that share nothing but Kafka, Redis and a bucket: one after another is lost.

broker-1 … broker-3    a broker, and a primary of Redis
replica-1 … replica-3  a replica of another host's primary
worker-1 …             a worker each, as many as are wanted: with two it is ten hosts
shop                   API and producer
bucket                 an S3 server, which keeps its data in memory and so only loses its cable
"""

import os
import shutil
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from chaos.cast import Cast, our_environment
from chaos.hosts.network import Host, Network
from chaos.kafka_cluster import KafkaCluster
from chaos.member import Member
from chaos.options import Options
from chaos.redis_cluster import BUSY_NODE_TIMEOUT_MS, RedisCluster
from chaos.schedule import Fault, of_hosts
from data.filesystem.open import open_storage
from data.log.event_log import EventLog
from data.project import PROJECT
from features.plan.cache import load_plan
from server.process.server_process import ServerProcess

__all__ = ["TenHosts"]

_BROKERS = ("broker-1", "broker-2", "broker-3")
_REPLICAS = ("replica-1", "replica-2", "replica-3")
_SHOP, _BUCKET = "shop", "bucket"

_LOOK_S = 0.5

_API_PORT, _S3_PORT = 8000, 9000

_KEYS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos"}

_UNSHARE = shutil.which("unshare") or "unshare"

_WITH_NAMES = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
"""Runs a command where this file is /etc/hosts, in a mount namespace of its own."""


class TenHosts(Cast):
    """All hosts of a run, and what they run. A host is lost only while all others are well."""

    def __init__(self, folder: Path, options: Options) -> None:
        super().__init__(folder, options)
        worker_hosts = [f"worker-{number}" for number in range(1, options.workers + 1)]
        self._network = Network([*_BROKERS, *_REPLICAS, *worker_hosts, _SHOP, _BUCKET])
        hosts = self._network.hosts
        self._kafka = KafkaCluster(folder / "broker", hosts=[hosts[name] for name in _BROKERS])
        self._redis = RedisCluster(
            folder / "store",
            replicas=1,
            timeout_ms=BUSY_NODE_TIMEOUT_MS,
            # The replica of the first primary is beside the second, and so on.
            hosts=[hosts[name] for name in (*_BROKERS, *_REPLICAS)],
            ports=[(port, port) for port in range(7001, 7007)],
        )
        self.servers = self._kafka.servers
        self.stores = self._redis
        self._names = folder / "hosts"
        bucket = hosts[_BUCKET].address
        self._storage = f"s3://shop/encore?endpoint_override={bucket}:{_S3_PORT}&scheme=http&region=us-east-1"
        self._bucket_url = f"http://{bucket}:{_S3_PORT}/shop"
        self.api_url = f"http://{hosts[_SHOP].address}:{_API_PORT}"
        self.workers = [
            self._member(name, hosts[name], "chaos.worker", str(clock), "--name", name)
            for name, clock in zip(worker_hosts, self._clocks, strict=True)
        ]
        self.api = self._member("api", hosts[_SHOP], "server.cli", "serve")
        self.producer = self._member("producer", hosts[_SHOP], *self._producing())
        self._s3 = self._member("s3", hosts[_BUCKET], "moto.server", "-H", bucket, "-p", str(_S3_PORT))
        self._waiting: deque[Fault] = deque()
        self._looked_s = 0.0

    def _member(self, name: str, host: Host, module: str, *arguments: str) -> Member:
        """Return a process with a home of its own."""
        environment = {
            **_KEYS,
            "KAFKA_SERVERS": self.servers,
            "REDIS_HOST": "redis",
            "REDIS_PORT": "7001",
            "REDIS_CLUSTER": "true",
            "ENCORE_HOME": str(self.folder / name),
            "ENCORE_PROJECT": PROJECT,
            "ENCORE_STORAGE": self._storage,
            "ENCORE_PARTITIONS": str(self.partitions),
            "API_HOST": host.address,
            "API_PORT": str(_API_PORT),
            "ENCORE_API_OPEN": "true",
        }
        command = [_UNSHARE, "--mount", "sh", "-c", _WITH_NAMES, "sh", str(self._names), sys.executable, "-m", module]
        return Member(
            name, [*command, *arguments], our_environment(environment), self.folder / f"{name}.log", machine=host
        )

    @property
    def _on_hosts(self) -> dict[str, list[Member | ServerProcess]]:
        """What runs on each host."""
        runs: dict[str, list[Member | ServerProcess]] = {name: [] for name in self._network.hosts}
        for name, broker in zip(_BROKERS, self._kafka.nodes, strict=True):
            runs[name].append(broker)
        for name, node in zip((*_BROKERS, *_REPLICAS), self._redis.nodes, strict=True):
            runs[name].append(node)
        for worker in self.workers:
            runs[worker.name].append(worker)
        runs[_SHOP] += [self.api, self.producer]
        return runs

    def _start(self, stack: ExitStack) -> None:
        stack.enter_context(self._network)
        names = [f"{self._network.hosts[name].address} redis\n" for name in (*_BROKERS, *_REPLICAS)]
        self._names.write_text("127.0.0.1 localhost\n" + "".join(names))
        for home in (self.home, *(self.folder / member.name for member in self.members)):
            home.mkdir()
            load_plan(home / "plan.json")
        os.environ.update(_KEYS)  # this process reads the bucket too
        stack.callback(self._s3.kill)
        self._s3.start()
        _until_done(self._make_bucket)
        stack.enter_context(self._redis)
        stack.enter_context(self._kafka)
        self._start_members(stack)

    def _make_bucket(self) -> None:
        request = urllib.request.Request(self._bucket_url, method="PUT")
        urllib.request.urlopen(request, timeout=2).close()

    def log(self) -> EventLog:
        """Return the event log, in the bucket."""
        return EventLog(open_storage(self._storage, self.folder / "copies") / "log")

    def faults(self, seconds: float) -> list[Fault]:
        """Return losses of hosts, of which the bucket's never loses its power."""
        return of_hosts(self.options.seed, seconds, list(self._network.hosts), {_BUCKET})

    def do(self, fault: Fault) -> None:
        """Lose a host, once no other is lost."""
        self._waiting.append(fault)

    def tend(self) -> None:
        """Run due actions, restart ended processes, and lose the next host if it is time and all are well."""
        super().tend()
        now = time.monotonic()
        if self._waiting and not self._due and now - self._looked_s >= _LOOK_S:  # none is to come back
            self._looked_s = now
            if self._is_whole():
                self._lose(self._waiting.popleft())

    def heal(self) -> None:
        """Bring the lost host back, and lose no other."""
        self._waiting.clear()
        super().heal()

    def _is_whole(self) -> bool:
        running = all(member.process is not None and member.process.poll() is None for member in self.members)
        return running and bool(self._kafka.topics_if_whole()) and self._redis.is_whole()

    def _lose(self, fault: Fault) -> None:
        what, _, name = fault.kind.partition(" ")
        host, runs = self._network.hosts[name], self._on_hosts[name] if what == "lose" else []
        host.unplug()  # first: where power is lost, nobody says goodbye
        for process in runs:
            process.kill()

        def come_back() -> None:
            host.plug()
            for process in runs:
                if isinstance(process, Member):
                    process.start()
                else:
                    process.launch()

        self._later(fault.lasts_s, come_back)
        self._note(fault)


def _until_done(action: Callable[[], None]) -> None:
    """Repeat an action until it succeeds. Raises what it raises after half a minute."""
    deadline = time.monotonic() + 30
    while True:
        try:
            action()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
