"""Measure the time from an event log of a million events to a trained, calibrated, evaluated and registered model.

.venv/bin/python benchmarks/bench_train.py --json train.json
.venv/bin/python benchmarks/bench_train.py --events 200000 --target purchase_intent --model hist_gradient_boosting

Generating the synthetic history is timed separately. The model is compared with its baselines and the shop's own
probabilities, the best that any model could reach (on at most 20,000 of the test's questions).
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from best_possible import own_probabilities
from sklearn.metrics import average_precision_score, roc_auc_score

from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from features.batch.engine import DuckDBEngine
from model.examples.spine import build_spine
from model.targets import Target, target_named
from model.training.train import TrainOptions
from server.jobs import build
from server.settings import read_settings

END_US = 1_760_000_000_000_000
DAYS = 120


def main() -> None:
    args = _arguments()
    warnings.simplefilter("ignore")  # Feast's and Ibis's deprecations, which the `encore` command suppresses too
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder))
        shop = Shop(ShopConfig(END_US, args.users, args.products, DAYS, args.events / DAYS * 1.05))
        started = time.perf_counter()
        table = pa.concat_tables(shop.history()).slice(0, args.events)
        EventLog(settings.log).write_history("shop", [table])
        generated = time.perf_counter() - started
        used = _processor_s()
        rows = table.num_rows
        del table
        steps: list[tuple[float, str]] = []
        started = time.perf_counter()

        def tell(message: str) -> None:
            steps.append((time.perf_counter() - started, message))
            print(f"{steps[-1][0]:7.1f} s  {message}", flush=True)

        target = target_named(args.target)
        metadata, _ = build.train_model(settings, tell, target=target, options=TrainOptions(estimator=args.model))
        seconds, used = time.perf_counter() - started, _processor_s() - used
        test = metadata.metrics["test"]
        result: dict[str, Any] = {
            "setting": {
                "machine": platform.machine(),
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "load": os.getloadavg()[0],
                "python": platform.python_version(),
                "events": rows,
                "users": args.users,
                "products": args.products,
                "target": args.target,
                "model": args.model,
            },
            "history_seconds": round(generated, 1),
            "seconds": round(seconds, 1),
            "processor_seconds": round(used, 1),
            "steps": [{"at": round(at, 1), "what": what} for at, what in steps],
            "peak_mb": {
                "process": round(_peak_mb(resource.RUSAGE_SELF)),
                "largest_child": round(_peak_mb(resource.RUSAGE_CHILDREN)),
            },
            "examples": metadata.examples,
            "parts": {name: part.rows for name, part in metadata.parts.items()},
            "test": {"roc_auc": test.roc_auc, "pr_auc": test.pr_auc, "ece": test.ece},
            "baselines": {name: {"roc_auc": m.roc_auc, "pr_auc": m.pr_auc} for name, m in metadata.baselines.items()},
        }
        result["best_possible"] = _best(settings.log, shop, target, metadata.parts["test"].first.timestamp() * 1e6)
    result["targets"] = _targets(result)
    for name, (value, met) in result["targets"].items():
        print(f"{'holds' if met else 'FAILS'}  {name}: {value:g}")
    print(json.dumps({name: value for name, value in result.items() if name != "steps"}, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _best(log: Path, shop: Shop, target: Target, first_test_us: float) -> dict[str, float]:
    """Return the metrics of the shop's own probabilities on the test's questions."""
    with DuckDBEngine(EventLog(log)) as engine:
        spine = build_spine(engine, target, start_us=round(first_test_us), max_rows=20_000)
    spine = spine[~spine["later"]]
    users, products = spine["user_id"].tolist(), spine["product_id"].tolist()
    times_us = spine["event_timestamp"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    truth = own_probabilities(shop, target, users, products, times_us)
    labels = np.asarray(spine["label"])
    return {"roc_auc": float(roc_auc_score(labels, truth)), "pr_auc": float(average_precision_score(labels, truth))}


def _targets(result: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    """Return the targets for two otherwise idle cores: the value, and whether it meets the target."""
    peak = max(result["peak_mb"].values())
    return {
        "seconds to a registered model, at most 90": (result["seconds"], result["seconds"] <= 90),
        "MB of memory of a process, at most 2048": (peak, peak <= 2048),
    }


def _processor_s() -> float:
    """Return the processor time of this process and of its ended children in s."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / (1024 if platform.system() == "Linux" else 1024**2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--target", default="repeat_purchase")
    parser.add_argument("--model", default="random_forest")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
