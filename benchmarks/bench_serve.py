"""Compare Encore's speed with an empty endpoint, FastAPI with Feast's SDK and scikit-learn, and `feast serve`.

    python benchmarks/bench_serve.py [--json serve.json] [--plot docs/img/serve.svg] [--seconds 5] [--repeats 3]

Every server runs in a separate process with one worker, the load comes from another process (`http_load.py`), and
all are measured in turn, in rounds. For event to score, events go through the embedded broker and a stream worker.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from http_load import Load, answers, post, run_apart
from machine import this_machine
from matplotlib import pyplot

from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.store import Store

HERE = Path(__file__).parent


class Server:
    """The process of a server."""

    def __init__(
        self, name: str, command: Sequence[str], *, port: int, ready: str, env: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.port = port
        began = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        while not answers(f"http://127.0.0.1:{port}{ready}"):
            if self._process.poll() is not None or time.perf_counter() - began > 120:
                raise SystemExit(f"{name} does not start; see {log}:\n{log.read_text()[-3000:]}")
            time.sleep(0.01)
        self.start_s = time.perf_counter() - began

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def main() -> None:
    args = _arguments()
    setting = {
        **this_machine(),
        **{name: version(name) for name in ("fastapi", "uvicorn", "uvloop", "feast", "scikit-learn", "onnxruntime")},
        "workers": 1,
        "seconds": args.seconds,
        "repeats": args.repeats,
        "history": f"{args.users} users, {args.products} products, {args.days} days",
    }
    for name, value in setting.items():
        print(f"{name}: {value}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(Store(free_port(), folder / "store"))
        broker = stack.enter_context(KafkaBroker(free_port(), folder / "broker"))
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")},
            "ENCORE_HOME": str(folder / "home"),
            "REDIS_PORT": str(store.port),
            "KAFKA_SERVERS": broker.servers,
            "BENCH_FEAST_REPO": str(folder / "feast"),
            "PYTHONPATH": str(HERE),
        }
        prepare(args, env, folder)
        servers = {server.name: server for server in start(env, folder)}
        for server in servers.values():
            stack.callback(server.stop)
        measured = measure(args, servers, folder / "feast")
        measured["encore"]["event_to_score"] = event_to_score(args, env, folder)
        result = {"setting": setting, "measured": measured, "targets": targets(measured)}
    for name, (value, bound, met) in result["targets"].items():
        print(f"{'holds' if met else 'FAILS'}  {name}: {value:g} ({bound})")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    if args.plot:
        plot(measured, args.plot)


def prepare(args: argparse.Namespace, env: dict[str, str], folder: Path) -> None:
    """Make a home with history, states and a model, and a plain Feast repository with the same values."""
    shop = ["--users", args.users, "--products", args.products, "--days", args.days]
    for command in (["generate", *shop], ["features"], ["train", "--max-rows", "20000"], ["materialize"]):
        began = time.perf_counter()
        encore = [sys.executable, "-m", "server.cli", *map(str, command)]
        subprocess.run(encore, env=env, check=True, capture_output=True)
        print(f"encore {command[0]}: {time.perf_counter() - began:.1f} s", flush=True)
    subprocess.run([sys.executable, HERE / "serve_feast.py", folder / "feast"], env=env, check=True)


def serve(env: dict[str, str], log: Path) -> Server:
    """Start `encore serve`."""
    port = free_port()
    command = [sys.executable, "-m", "server.cli", "serve"]
    return Server("encore", command, port=port, ready="/health/ready", env=env | {"API_PORT": str(port)}, log=log)


def start(env: dict[str, str], folder: Path) -> list[Server]:
    """Start all servers, one after another: nothing else runs while one starts."""
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--factory"]
    feast = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder / "feast"), "serve", "--no-access-log"]
    others = [
        ("empty", [*uvicorn, "serve_apps:empty"], "/docs"),
        ("feast_sdk", [*uvicorn, "serve_apps:feast_sdk"], "/docs"),
        ("feast_serve", [*feast, "--workers", "1", "--max-requests", "1000000"], "/health"),
    ]
    servers = [serve(env, folder / "encore.log")]
    starts = [servers[0].start_s]
    for _ in range(2):
        servers[0].stop()
        servers = [serve(env, folder / "encore.log")]
        starts.append(servers[0].start_s)
    servers[0].start_s = median(starts)
    for name, command, ready in others:
        port = free_port()
        log = folder / f"{name}.log"
        servers.append(Server(name, [*command, "--port", str(port)], port=port, ready=ready, env=env, log=log))
    return servers


def measure(args: argparse.Namespace, servers: dict[str, Server], repo: Path) -> dict[str, dict[str, Any]]:
    """Measure each server under each load, in rounds; return the median round by throughput."""
    chance = random.Random(1)
    rows = [
        {
            "user_id": f"u{chance.randrange(args.users):06d}",
            "product_id": f"p{chance.randrange(args.products):05d}",
            "amount": 12.5,
        }
        for _ in range(2000)
    ]
    single = [post("/predict", row) for row in rows]
    batches = [post("/predict/batch", {"rows": rows[i : i + 100]}) for i in range(0, len(rows), 100)]
    features = (repo / "features.txt").read_text().split()
    feast_requests = [
        post(
            "/get-online-features",
            {"features": features, "entities": {k: [row[k]] for k in ("user_id", "product_id")}},
        )
        for row in rows
    ]
    requests = {"feast_serve": feast_requests}
    measured: dict[str, dict[str, Any]] = {
        name: {"start_s": round(server.start_s, 2)} for name, server in servers.items()
    }
    for connections in (1, 16):
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
        for _ in range(args.repeats):
            for name, server in servers.items():
                rounds[name].append(load(server, Load(requests.get(name, single), connections, args.seconds)))
        for name, loads in rounds.items():
            measured[name][f"closed_{connections}"] = middle(loads)
            show(f"{name}, {connections} connections", measured[name][f"closed_{connections}"])
    for name in ("empty", "encore"):
        rate = measured[name]["closed_16"]["per_second"] / 2
        loads = [load(servers[name], Load(single, 64, args.seconds, rate)) for _ in range(args.repeats)]
        measured[name]["open_half"] = sorted(loads, key=lambda result: result["p99_ms"])[len(loads) // 2]
        show(f"{name}, open loop at {rate:.0f}/s", measured[name]["open_half"])
    for connections in (1, 4):
        loads = [load(servers["encore"], Load(batches, connections, args.seconds)) for _ in range(args.repeats)]
        median_round = middle(loads)
        median_round["rows_per_second"] = median_round["per_second"] * 100
        measured["encore"][f"batch_{connections}"] = median_round
        show(f"encore, batches of 100, {connections} connections", median_round)
    for name, server in servers.items():
        measured[name]["memory_mb"] = round(server.memory_mb(), 1)
        print(f"{name}: {measured[name]['memory_mb']} MB, {measured[name]['start_s']} s from start to ready")
    return measured


def load(server: Server, request_load: Load) -> dict[str, Any]:
    """Send the load from a separate process, and return its result."""
    try:
        result = run_apart(server.port, request_load, server.name)
    except RuntimeError as error:
        raise SystemExit(str(error)) from error
    if set(result["statuses"]) != {"200"}:
        raise SystemExit(f"{server.name} answered {result['statuses']}")
    return result


def middle(results: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(results, key=lambda result: result["per_second"])
    rounds = {f"rounds_{name}": [result[name] for result in results] for name in ("per_second", "p50_ms")}
    return {**ordered[len(ordered) // 2], **rounds}


def show(what: str, result: dict[str, Any]) -> None:
    numbers = f"{result['per_second']:>9,.1f}/s  p50 {result['p50_ms']:.3f} ms  p99 {result['p99_ms']:.3f} ms"
    print(f"{what:<48} {numbers}  client {result['client_cpu']:.0%}", flush=True)


def event_to_score(args: argparse.Namespace, env: dict[str, str], folder: Path) -> dict[str, Any]:
    """Measure the time from passing an event to the producer until a prediction about its user includes it.

    The broker is a new one, because the other holds all predictions of the earlier loads.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(KafkaBroker(free_port(), folder / "events-broker"))
        env = env | {"KAFKA_SERVERS": broker.servers}
        server = serve(env, folder / "events-encore.log")
        stack.callback(server.stop)
        log = stack.enter_context((folder / "stream.log").open("wb"))
        worker = subprocess.Popen([sys.executable, "-m", "server.cli", "stream"], env=env, stdout=log, stderr=log)
        stack.callback(worker.wait)
        stack.callback(worker.terminate)
        command = [
            sys.executable,
            str(HERE / "serve_events.py"),
            *map(str, (server.port, args.event_seconds, args.rate)),
        ]
        process = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    print(f"event to score at {args.rate}/s: {result}")
    return result


def targets(measured: dict[str, dict[str, Any]]) -> dict[str, tuple[float, str, bool]]:
    """Return the targets: value, bound, and whether it is met.

    A ratio is the median over the rounds, because a machine's speed changes from one round to the next.
    """
    encore = measured["encore"]

    def ratio(name: str, load_name: str = "closed_16", by: str = "rounds_per_second") -> float:
        rounds = zip(encore[load_name][by], measured[name][load_name][by], strict=True)
        return round(float(median(ours / theirs for ours, theirs in rounds)), 2)

    event = encore["event_to_score"]
    one_connection = ratio("empty", "closed_1", "rounds_p50_ms")
    goals = [
        ("throughput at 16 connections over the empty endpoint's", ratio("empty"), 0.6, 1),
        ("throughput over FastAPI + Feast SDK + scikit-learn", ratio("feast_sdk"), 50, 1),
        ("throughput over feast serve", ratio("feast_serve"), 10, 1),
        ("median at one connection over the empty endpoint's", one_connection, 2.5, -1),
        ("p99 in ms, open loop at half the peak", encore["open_half"]["p99_ms"], 10, -1),
        ("rows per second in batches of 100, 1 connection", encore["batch_1"]["rows_per_second"], 10_000, 1),
        ("rows per second in batches of 100, 4 connections", encore["batch_4"]["rows_per_second"], 10_000, 1),
        ("memory in MB", encore["memory_mb"], 300, -1),
        ("start to ready in s", encore["start_s"], 3, -1),
        ("event to score p50 in ms", event["p50_ms"], 40, -1),
        ("event to score p99 in ms", event["p99_ms"], 150, -1),
    ]
    return {
        name: (value, f"at {'least' if sign > 0 else 'most'} {bound:g}", sign * value >= sign * bound)
        for name, value, bound, sign in goals
    }


def plot(measured: dict[str, dict[str, Any]], path: Path) -> None:
    """Throughput and latency of each server, side by side, on logarithmic axes."""
    names = {
        "empty": "empty FastAPI endpoint",
        "encore": "Encore /predict",
        "feast_serve": "feast serve (features only)",
        "feast_sdk": "FastAPI + Feast SDK\n+ scikit-learn",
    }
    mpl.use("Agg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
    places = range(len(names))
    for axes, values, title, form in (
        (
            left,
            [measured[name]["closed_16"]["per_second"] for name in names],
            "answers per second, 16 connections",
            "{:,.0f}",
        ),
        (right, [measured[name]["closed_1"]["p50_ms"] for name in names], "median in ms, one connection", "{:.2f}"),
    ):
        # Dots: on a logarithmic axis a bar's length says nothing.
        axes.scatter(values, places, s=60, color=["#9aa5b1", "#2a6fdb", "#9aa5b1", "#9aa5b1"])
        for place, value in zip(places, values, strict=True):
            axes.annotate(form.format(value), (value, place), (8, 0), textcoords="offset points", va="center")
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 6)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(axis="x", color="#e3e7eb")
        axes.set_axisbelow(True)
        axes.margins(y=0.15)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(places, list(names.values()))
    left.invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (default %(default)g)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default %(default)s)")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--rate", type=int, default=1000, help="events per second (default %(default)s)")
    parser.add_argument("--event-seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--plot", type=Path, help="also draw it here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
