"""`encore up`: runs the whole system on one machine. Builds what is missing, starts all parts, shows status, stops."""

import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from data.addresses import http_url
from data.errors import EncoreError, UnavailableError, install_extra
from data.log.event_log import EventLog
from data.units import DAY_US, MICROS
from events.kafka.inspector import Inspector
from features.plan.cache import load_plan
from server.cli.view import question_line, status_line, status_view
from server.console.launch import LACK, is_installed
from server.jobs.build import has_history, is_trained, kept_shop, require_synthetic, states_command
from server.jobs.feast_repo import is_applied
from server.jobs.status import Observer, Status
from server.process.command import KeptCommand, RunningCommand
from server.process.home import hold
from server.process.infra import Kafka, infra_of
from server.process.server_process import ServerProcess, require_free_port
from server.process.tansu import Tansu
from server.redis.ownership import claim_project
from server.settings import Settings
from server.storage import log_storage

__all__ = ["RunOptions", "Runner"]

_PATIENCE_S = 60

_LOOK_S = 1.0
_LOOKS_PER_LINE = 10

_DONE = {"materialize": "materialized into", "rollout": "rolled out in"}


@dataclass(frozen=True)
class RunOptions:
    """Options of `encore up`: what to start beside the API.

    `rate` of live events per second (0: none; None: that of the shop's history), number of `workers`, the Feast `ui`,
    the `console` (if its extra is installed), the embedded `infra` with this `kafka`. `build_only` ends when everything
    is built; `audit` verifies a few entities repeatedly.
    """

    rate: float | None = None
    workers: int = 1
    ui: bool = True
    console: bool = True
    infra: bool = True
    kafka: Kafka | None = None
    build_only: bool = False
    audit: bool = False


class Runner:
    """Runs one system in `settings.home`. `run` returns when `stopped` returns true, after stopping all parts."""

    def __init__(self, settings: Settings, options: RunOptions, console: Console) -> None:
        self._settings = settings
        self._options = options
        self._console = console
        self._parts: dict[str, RunningCommand] = {}
        self._servers: list[ServerProcess] = []
        self._stopped: Callable[[float], bool] = lambda _: False
        self._started = time.monotonic()
        self._had_workers = False

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Start everything, show the status until `stopped(seconds)`, which waits so long, returns true; then stop all.

        Raises, after stopping all parts, ConfigurationError or UnavailableError if a part cannot start or an essential
        one (broker, store, worker, API) dies, and KeyboardInterrupt if it is stopped before everything runs. Other
        parts that die are restarted.
        """
        self._stopped = stopped
        with ExitStack() as stack:
            stack.enter_context(hold(self._settings.run / "up.lock", self._second_message))
            if not self._options.build_only:
                self._require_ports()
            if self._options.infra:
                broker, store = infra_of(self._settings, self._options.kafka, self._say)
                for server, what in ((store, "store"), (broker, "broker")):
                    with self._step(f"{what} on {server.host}:{server.port}"):
                        stack.enter_context(server)
                        self._servers.append(server)
                    self._wait_or_stop()
            stack.callback(self._print_backlog)
            stack.callback(self._stop_parts)
            self._settings = claim_project(self._settings, self._say)
            self._build()
            if self._options.build_only:
                return
            self._start_parts()
            self._console.print(f"ready after {time.monotonic() - self._started:.0f} s", style="bold green")
            self._watch()

    def _second_message(self, process: str) -> str:
        """Return the refusal of a second system in a home: the two would overwrite each other's files."""
        home = self._settings.home
        return f"another `encore up` (process {process}) runs in {home}; stop it, or set ENCORE_HOME to another folder"

    def _say(self, message: str) -> None:
        self._console.print(message, style="yellow")

    def _require_ports(self) -> None:
        """Raise for ports in use before the minute of work after which they would be needed."""
        settings = self._settings
        require_free_port("API (API_PORT)", settings.api_host, settings.api_port)
        if self._options.ui:
            require_free_port("Feast UI (FEAST_UI_PORT)", settings.feast_ui_host, settings.feast_ui_port)
        if self._shows_console:
            require_free_port("console (CONSOLE_PORT)", settings.console_host, settings.console_port)
        ports = {"monitor (ENCORE_MONITOR_PORT)": settings.monitor_port}
        ports |= {"producer (ENCORE_PRODUCER_PORT)": settings.producer_port}
        for number in range(1, self._options.workers + 1):
            ports[f"worker-{number} (ENCORE_STREAM_PORT and on)"] = self._stream_port(number)
        for what, port in ports.items():
            if port:
                require_free_port(f"metrics of the {what}", settings.metrics_host, port)

    def _stream_port(self, number: int) -> int:
        """Return a worker's port for metrics: the configured one for the first worker, counting up for the others."""
        first = self._settings.stream_port
        return first and first + number - 1

    @property
    def _shows_console(self) -> bool:
        return self._options.console and is_installed()

    def _build(self) -> None:
        settings = self._settings
        if not has_history(settings):
            require_synthetic(settings)
            self._command("history of a synthetic shop", "generate")
        plan = load_plan(settings.plan, settings.declared) if settings.plan.exists() else None
        if plan is None or not is_applied(settings, plan):
            self._command("features compiled and registered with Feast", "features")
            plan = load_plan(settings.plan, settings.declared)
        if not is_trained(settings, plan):
            # A champion of another plan's features does not count.
            self._command("model trained", "train", "--promote")
        if command := states_command(settings, plan):
            self._command(f"states {_DONE[command[0]]} Redis", *command)

    def _start_parts(self) -> None:
        settings, options = self._settings, self._options
        for number in range(1, options.workers + 1):
            part = "stream" if number == 1 else f"stream-{number}"
            worker_settings = settings.model_copy(update={"stream_port": self._stream_port(number)})
            self._parts[part] = RunningCommand(
                worker_settings, settings.run / f"{part}.log", "stream", "--name", f"worker-{number}"
            )
        self._had_workers = True
        api = self._start("api", "serve")
        with self._step(f"API on {http_url(settings.api_host, settings.api_port)}"):
            self._await_health(api)
        if options.ui:
            self._start_kept("feast-ui", "ui")
        if self._shows_console:
            self._start_kept("console", "console")
        elif options.console:
            self._say(f"no console: {LACK}; {install_extra('console')}")
        self._start_kept("monitor", "monitor")
        if options.audit:
            self._start_kept("audit", "verify", "--every", "30", "--sample", "5")
        rate = self._rate()
        if rate:
            self._start_kept("producer", "produce", "--rate", f"{rate:g}")

    def _rate(self) -> float:
        """Return the live events per second: as requested, by default that of the log's synthetic shop."""
        if self._options.rate is not None:
            return self._options.rate
        shop = kept_shop(self._settings)
        if shop is None:
            self._say("no live traffic: the history is not the synthetic shop's; `--rate 5` sends such a shop's")
            return 0.0
        rate = shop.events_per_day * MICROS / DAY_US
        self._say(
            f"live traffic is the shop's own, an event every {1 / rate:.0f} s; `encore produce --rate 50` sends more, "
            "of which the features drift"
        )
        return rate

    def _watch(self) -> None:
        with closing(Observer(self._settings)) as observer, ExitStack() as stack:
            # Workers report once a second; a rate over several reports is steadier.
            observed = deque([observer.look()], maxlen=6)
            live: Live | None = None
            if self._console.is_terminal:
                live = stack.enter_context(Live(self._view(observed), console=self._console, auto_refresh=False))
            for look in count(1):
                if self._stopped(_LOOK_S):
                    return
                self._check()
                if live is None and look % _LOOKS_PER_LINE:
                    continue
                observed.append(observer.look())
                if live is None:
                    self._console.print(status_line(observed[-1], observed[-2]))
                else:
                    live.update(self._view(observed), refresh=True)

    def _view(self, observed: "deque[Status]") -> RenderableType:
        return status_view(observed[-1], observed[0], hint=self._hint(observed[-1]))

    def _hint(self, status: Status) -> str:
        newest, schema = None, self._settings.declared.schema
        with suppress(EncoreError):  # an unreadable file of the log must not end the system
            newest = EventLog(log_storage(self._settings), schema).last_event(list(schema.asked_keys))
        named = {name: str((newest or {}).get(name) or name.upper()) for name in schema.asked_keys}
        line = question_line(status.urls["API"].removesuffix("/docs"), named)
        return f"{line}\nCtrl-C stops everything; the next `make up` goes on from here."

    def _check(self) -> None:
        for server in self._servers:
            server.check()
        for part in self._parts.values():
            if isinstance(part, KeptCommand):
                if message := part.tend():
                    self._say(message)
            else:
                part.check()

    def _await_health(self, api: RunningCommand) -> None:
        url = http_url(self._settings.api_host, self._settings.api_port, "/health")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            api.check()
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
                    answer.read()
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"API: {url} is not well after {_PATIENCE_S} s: {error}") from error
            self._wait_or_stop(0.1)

    def _wait_or_stop(self, wait_s: float = 0.0) -> None:
        """Wait for `wait_s` seconds. Raises KeyboardInterrupt if the system was stopped."""
        if self._stopped(wait_s):
            self._say("what is built stays: the next call goes on from there")
            raise KeyboardInterrupt

    def _command(self, what: str, *command: str) -> None:
        """Run an `encore` command to its end, and show its output meanwhile.

        It runs in a session of its own, so that a terminal's Ctrl-C does not reach it.
        """
        with self._step(what) as tell:
            running = self._start(command[0], *command)
            while running.runs:
                tell(running.said)
                self._wait_or_stop(0.2)
            running.finish()
            del self._parts[command[0]]

    def _start(self, name: str, *command: str) -> RunningCommand:
        self._parts[name] = RunningCommand(self._settings, self._settings.run / f"{name}.log", *command)
        return self._parts[name]

    def _start_kept(self, name: str, *command: str) -> None:
        """Start a part that is not essential, and is restarted if it dies."""
        self._parts[name] = KeptCommand(self._settings, self._settings.run / f"{name}.log", *command)

    def _stop_parts(self) -> None:
        """Stop parts in reverse order: the producer first, then those that process its events."""
        while self._parts:
            name, part = self._parts.popitem()
            with self._step(f"stopped {name}"):
                part.stop()

    def _print_backlog(self) -> None:
        """Print the number of unfolded messages after the workers have stopped."""
        if not self._had_workers:
            return
        try:
            with closing(Inspector(self._settings.kafka_servers, access=self._settings.kafka_access)) as inspector:
                waiting = inspector.waiting(self._settings.kafka_names.events, self._settings.kafka_names.group)
        except UnavailableError:
            return  # Kafka is what failed, which is reported already
        if not waiting:
            return
        fate = "are folded when it starts again"
        if any(isinstance(server, Tansu) for server in self._servers):
            fate = "are lost, since Tansu keeps topics in memory only"
        self._say(f"{waiting:,} messages are not folded yet: they {fate}")

    @contextmanager
    def _step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Print a step and its duration; the block may report its progress by the yielded function."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(Text(f"{what} ...")) as status:
                yield lambda message: status.update(Text(f"{what} ... {message}", no_wrap=True, overflow="ellipsis"))
        else:
            yield lambda _: None
        seconds = f"{time.monotonic() - began:.1f} s"
        self._console.print(Text.assemble(("✓", "green"), f" {what}  ", (seconds, "dim")))
