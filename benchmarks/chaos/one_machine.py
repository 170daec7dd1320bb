"""A chaos run on one machine: brokers and stores behind a proxy that disturbs connections, and Encore's processes."""

import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from chaos.cast import Cast, Rebuilt, our_environment
from chaos.killer import Killer
from chaos.member import Member
from chaos.options import Options
from chaos.proxy import Proxy
from chaos.schedule import Fault, schedule
from chaos.servers import Brokers, Stores
from chaos.store_harm import StoreHarm
from chaos.worker import step
from data.clock import wall_clock
from features.plan.cache import load_plan
from features.plan.plan import Plan
from server.process.server_process import free_port

__all__ = ["OneMachine"]

_FULL_BYTES = 1_024
"""Maximum file size of a worker while its disk counts as full."""


class OneMachine(Cast):
    """One broker or three, one Redis or a cluster, each node behind a link of the proxy."""

    def __init__(self, folder: Path, options: Options) -> None:
        super().__init__(folder, options)
        api_port = free_port()
        self.api_url = f"http://127.0.0.1:{api_port}"
        self._brokers = Brokers(folder / "broker", is_cluster="broker" in options.clusters)
        self.stores: Stores = Stores(folder / "store", is_cluster="store" in options.clusters)
        self.servers = self._brokers.servers
        self._proxy = Proxy({**self._brokers.links, **self.stores.links})
        self._links = {"kafka": list(self._brokers.links), "redis": list(self.stores.links)}
        self._environment = our_environment(
            {
                **self._brokers.environment,
                **self.stores.environment,
                "ENCORE_HOME": str(self.home),
                "ENCORE_PARTITIONS": str(options.partitions),
                "API_PORT": str(api_port),
            }
        )
        self.producer = self._member("producer", *self._producing())
        self.workers = [
            self._member(f"worker-{number}", "chaos.worker", str(clock), "--name", f"worker-{number}")
            for number, clock in enumerate(self._clocks)
        ]
        self.api = self._member("api", "server.cli", "serve")
        self._rebuilder = self._member("rebuild", "server.cli", "rebuild")
        self._rebuilder.wanted = False
        self._harm = StoreHarm(self.stores, self.api_url)
        self._emptied_us = 0

    def _member(self, name: str, module: str, *arguments: str) -> Member:
        command = [sys.executable, "-m", module, *arguments]
        return Member(name, command, self._environment, self.folder / f"{name}.log")

    def _start(self, stack: ExitStack) -> None:
        self.home.mkdir()
        load_plan(self.home / "plan.json")
        # Nodes of a cluster connect to each other through it.
        stack.enter_context(self._proxy)
        for what, servers in (("store", self.stores), ("broker", self._brokers)):
            self.killers[what] = killer = Killer(servers)
            stack.callback(killer.close)
            stack.callback(servers.stop)
            stack.callback(killer.heal)
            servers.start()
        stack.callback(self._rebuilder.kill)
        self._start_members(stack)

    def faults(self, seconds: float) -> list[Fault]:
        """Return kills, faults of connections and of the store, and failovers."""
        options = self.options
        return schedule(
            options.seed,
            seconds,
            workers=options.workers,
            clusters=options.clusters,
            failover_s=options.failover_s,
            forget_s=options.forget_s,
            away_s=options.away_s,
        )

    def do(self, fault: Fault) -> None:
        """Inject a fault; a node of a store or broker is killed once the others can take over."""
        what, _, target = fault.kind.partition(" ")
        match what, target:
            case "kill", _ if target in self.killers:
                self.killers[target].kill(fault)
                return  # the killers record their own times
            case "kill", _:
                self._kill(target, fault)
            case "pause", _:
                self._pause(fault.target, fault.lasts_s)
            case "stop", _:
                # SIGTERM, and a restart half a second after it has ended.
                self.workers[fault.target].ask_to_stop()
            case "fill", _:
                self._fill_disk(fault.lasts_s)
            case "damage", _:
                self._harm.damage(fault.target, fault.amount)
            case "deny", _:
                self._later(fault.lasts_s, self._harm.deny(fault.amount))
            case "forget", _:
                self._forget()
            case "step", _:
                step(self._clocks[fault.target], fault.amount)
            case _:
                self._disturb(target, what, fault.target, fault.amount, fault.lasts_s)
        self._note(fault)

    def _kill(self, what: str, fault: Fault) -> None:
        """SIGKILL, and a restart later."""
        member = {"worker": self.workers[fault.target % len(self.workers)], "api": self.api, "producer": self.producer}
        member[what].kill()
        member[what].start_after(fault.lasts_s)

    def _pause(self, number: int, seconds: float) -> None:
        """SIGSTOP, then SIGCONT: others take its partitions meanwhile, and it wakes in the middle of its work."""
        member = self.workers[number]
        process = member.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            member.asleep_until = time.monotonic() + seconds
            self._later(seconds, lambda: process.send_signal(signal.SIGCONT))

    def _fill_disk(self, seconds: float) -> None:
        """Limit every file of the running workers to a kilobyte for `seconds`."""
        for member in self.workers:
            process = member.process
            if process is not None and process.poll() is None:
                _limit(process, _FULL_BYTES)
                self._later(seconds, lambda process=process: _limit(process, resource.RLIM_INFINITY))  # type: ignore[misc]

    def _disturb(self, side: str, what: str, number: int, amount: int, seconds: float) -> None:
        """Disturb the connections to a node of Kafka or Redis, including those from its neighbours."""
        link = self._links[side][number % len(self._links[side])]
        self._proxy.do(link, what, amount)
        if what != "cut":
            self._later(seconds, lambda: self._proxy.do(link, "heal"))

    def _forget(self) -> None:
        """Empty the store, and run `encore rebuild` until it succeeds."""
        self._harm.forget()
        self._emptied_us = self._emptied_us or wall_clock()
        self._rebuilder.wanted = True
        if self._rebuilder.process is None:
            self._rebuilder.start()

    def is_mended(self, plan: Plan) -> bool:
        """Return whether every damaged state is readable again, and the store rebuilt."""
        return not self._rebuilder.wanted and self._harm.is_mended(plan)

    def tend(self) -> None:
        """Run due actions and restart ended processes. Call it several times per second."""
        super().tend()
        for killer in self.killers.values():
            killer.check()
        if self._rebuilder.has_done_it():
            self._rebuilder.wanted = False
            self.rebuilt.append(Rebuilt(self._emptied_us, wall_clock()))
            self._emptied_us = 0
        self._rebuilder.tend()

    def heal(self) -> None:
        """End all faults now, and restart everything that is down."""
        for killer in self.killers.values():
            killer.heal()
        for clock in self._clocks:
            step(clock, 0)
        super().heal()


def _limit(process: "subprocess.Popen[bytes]", size: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
