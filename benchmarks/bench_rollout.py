"""Roll out ten changes of definitions under events and requests; count cold answers and different values, time answers.

    python benchmarks/bench_rollout.py [--json result.json] [--events 1000000] [--rate 1000] [--requests 100]

It generates a synthetic shop's history, trains a model and folds the states. Then worker, API, producer and a client
run while features, windows and entities are added, changed (or renamed) and removed, each with `encore rollout start`,
`encore verify` and `encore rollout finish`.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from asking import PATIENCE_S, Answer, Asking, pairs_of, summary
from machine import this_machine

from server.process.server_process import LOOPBACK, free_port

DAYS = 120

_SCHEMA = """\
from data.default_shop import SHOP as BEFORE
from data.schema import Entity
from msgspec.structs import replace

SHOP = replace(BEFORE, entities=(*BEFORE.entities, {entities}))
"""

_FEATURES = """\
import featuretools as ft
from featuretools.primitives import Count, Max, Sum

from features.definitions import WINDOWS as BEFORE, define as before
from features.primitives import Rate

WINDOWS = dict(BEFORE) | {{{windows}}}


def define(shop):
    event = shop["events"].ww
    viewed = ft.Feature(event["event_type"]) == "view"

    def over(column, primitive, frame="users", **options):
        return ft.Feature(event[column], parent_dataframe_name=frame, primitive=primitive, where=viewed, **options)

    more = {{
        {features}
    }}
    return [*before(shop), *(feature.rename(name) for name, feature in more.items())]
"""

_TARGETS = "from model.targets import TARGETS\n\n__all__ = ['TARGETS']\n"

_SEEN = 'over("quantity", Sum)'
_DEAREST = 'over("amount", Max, use_previous="7 days")'
_TILED = 'over("event_id", Count, use_previous="{} days")'
_DEVICES = {"devices_seen": 'over("event_id", Count, frame="devices")'}
_OWN = {"user_devices_seen": 'over("event_id", Count, frame="user_devices")'}
_DEVICE = 'Entity("device", ("device",)),'
_USER_DEVICE = 'Entity("user_device", ("user_id", "device")),'
_14D = '"14d": ("14 days", "1 day")'
_21D = '"21d": ("21 days", "1 day")'

CHANGES: list[tuple[str, dict[str, str], str, str]] = [
    ("add a sum", {"user_seen": _SEEN}, "", ""),
    ("add an extreme over a window", {"user_seen": _SEEN, "user_dearest_7d": _DEAREST}, "", ""),
    ("rename", {"user_pieces_seen": _SEEN, "user_dearest_7d": _DEAREST}, "", ""),
    ("add a window", {"user_dearest_7d": _DEAREST, "user_seen_lately": _TILED.format(14)}, _14D, ""),
    ("change a window", {"user_dearest_7d": _DEAREST, "user_seen_lately": _TILED.format(21)}, _21D, ""),
    ("add an entity", {"user_dearest_7d": _DEAREST, **_DEVICES}, "", _DEVICE),
    ("add an entity of pairs", {"user_dearest_7d": _DEAREST, **_DEVICES, **_OWN}, "", _DEVICE + _USER_DEVICE),
    ("remove a feature", {**_DEVICES, **_OWN}, "", _DEVICE + _USER_DEVICE),
    ("remove an entity", {**_DEVICES}, "", _DEVICE),
    ("remove all that was added", {}, "", ""),
]
"""Name of the change; then all features, windows and entities after it, beside the package's own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log, about (default %(default)s)")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=1_000, help="live events a second (default %(default)s)")
    parser.add_argument("--requests", type=float, default=100, help="questions a second (default %(default)s)")
    parser.add_argument(
        "--quiet-s", type=float, default=300, help="seconds without a change: a part before each (default %(default)s)"
    )
    parser.add_argument(
        "--changes", type=int, default=len(CHANGES), help="run the first of the ten (default %(default)s)"
    )
    parser.add_argument("--sample", type=int, default=20, help="entities of each kind that are verified")
    parser.add_argument("--json", type=Path, help="also write the result here")
    args = parser.parse_args()
    options = {name: value for name, value in vars(args).items() if name != "json"}
    setting = {**this_machine(), **options}
    print(json.dumps(setting, indent=2), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = {"setting": setting, **measure(args, Path(folder))}
    for name, measured in result.items():
        if name != "setting":
            print(f"{name}: {json.dumps(measured)}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start a system, change its definitions, and return the effect on answers and values."""
    with ExitStack() as stack:
        broker_port, store_port, port = free_port(), free_port(), free_port()
        home = folder / "home"
        shop = folder / "shop"
        environment = os.environ | {
            "ENCORE_HOME": str(home),
            "ENCORE_PROJECT": str(shop),
            "KAFKA_SERVERS": f"{LOOPBACK}:{broker_port}",
            "REDIS_HOST": LOOPBACK,
            "REDIS_PORT": str(store_port),
            "API_PORT": str(port),
            "ENCORE_PREDICTIONS": "off",
        }

        def encore(*command: str) -> dict[str, Any]:
            process = subprocess.run(
                [sys.executable, "-m", "server.cli", *command, "--json"],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
            if not process.stdout:
                raise RuntimeError(f"encore {' '.join(command)}: {process.stderr[-2000:]}")
            reply: dict[str, Any] = json.loads(process.stdout)
            return reply

        def declare(features: dict[str, str], windows: str, entities: str) -> None:
            shop.mkdir(exist_ok=True)
            listed = "\n        ".join(f'"{name}": {feature},' for name, feature in features.items())
            (shop / "encore.toml").write_text('version = 1\nname = "bench"\n')
            (shop / "schema.py").write_text(_SCHEMA.format(entities=entities))
            (shop / "features.py").write_text(_FEATURES.format(features=listed, windows=windows))
            (shop / "targets.py").write_text(_TARGETS)

        stack.enter_context(_running(["infra", "--kafka", "apache"], environment, folder / "infra.log"))
        declare({}, "", "")
        sizes = {"users": args.users, "products": args.products, "days": DAYS, "events-per-day": args.events / DAYS}
        made = encore("generate", *(word for name, size in sizes.items() for word in (f"--{name}", f"{size:g}")))
        encore("train", "--max-rows", "5000")
        _await_servers(store_port, broker_port)
        encore("materialize")
        for command in (["stream"], ["serve"], ["produce", "--rate", f"{args.rate:g}"]):
            stack.enter_context(_running(command, environment, folder / f"{command[0]}.log"))
        with Asking(port, pairs_of(home, 500), 1 / args.requests) as asking:
            asking.await_answer()
            changes, quiet_answers, answers = [], list[Answer](), list[Answer]()
            for what, features, windows, entities in CHANGES[: args.changes]:
                asking.begin()
                time.sleep(args.quiet_s / args.changes)
                quiet_answers += (before := asking.end())
                asking.begin()
                declare(features, windows, entities)
                change = _change(encore, what, args.sample)
                answers += (meanwhile := asking.end())
                change |= {"quiet_p99_ms": summary(before)["p99_ms"], "p99_ms": summary(meanwhile)["p99_ms"]}
                print(json.dumps(change), flush=True)
                changes.append(change)
        quiet, during = summary(quiet_answers), summary(answers)
        return {
            "events_in_log": made["events"],
            "quiet": quiet,
            "during": during,
            "p99_ratio": round(during["p99_ms"] / quiet["p99_ms"], 2),
            "different": sum(change["different"] for change in changes),
            "changes": changes,
        }


def _change(encore: Callable[..., dict[str, Any]], what: str, sample: int) -> dict[str, Any]:
    """Roll out the declared definitions; return how long that took, and how many values differ from the oracle's."""
    began = time.perf_counter()
    rollout = encore("rollout", "start")
    seconds = time.perf_counter() - began
    verdict = encore("verify", "--sample", str(sample))
    deleted = encore("rollout", "finish")["deleted"] if rollout["stage"] == "switched" else 0
    return {
        "what": what,
        "seconds": round(seconds, 1),
        "states": sum(rollout["states"].values()) if rollout["made"] else 0,
        "deleted": deleted,
        "compared": sum(verdict["compared"].values()),
        "different": len(verdict["disagreements"]),
    }


def _await_servers(*ports: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    for port in ports:
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"nothing listens on port {port} after {PATIENCE_S:g} s")


@contextmanager
def _running(command: list[str], environment: dict[str, str], output: Path) -> Iterator[None]:
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", *command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
