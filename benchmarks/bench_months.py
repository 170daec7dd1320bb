"""Evaluate models on periods of a real shop, without and with features of orders.

.venv/bin/python benchmarks/bench_months.py retail.csv --map online-retail --days 30 \
    --periods 2011-02-01:2011-02-15 2011-02-15:2011-03-02 --json months.json

Each period is scored by a model that knows only events more than a horizon before it; all questions are used. Gains are
paired 95 % intervals, over users drawn with replacement.
"""

import argparse
import json
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import this_machine
from with_orders import ORDERS, RESAMPLES, judge_with_orders, score_with_orders, tell

from data.clock import wall_clock
from data.importers import import_files, load_mapping
from data.units import DAY_US
from model.examples.spine import build_spine
from model.examples.split import Periods, split_by_time
from model.examples.training_set import build_training_set
from model.targets import target_named
from model.training.train import TrainOptions
from server.event_log import open_batch, open_log
from server.jobs import build
from server.settings import read_settings

ALL_ROWS = 1_000_000


def main() -> None:
    args = _arguments()
    warnings.simplefilter("ignore")  # Feast's and Ibis's deprecations, which the `encore` command suppresses too
    result: dict[str, Any] = {"setting": {**this_machine(), "left_out_before": ORDERS, "resamples": RESAMPLES}}
    print(json.dumps(result))
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder))
        tables, _ = import_files(load_mapping(args.map), [args.file], now_us=wall_clock())
        result["events"] = open_log(settings).write_history("history", tables)
        plan = build.apply_features(settings, tell)
        target = replace(target_named(args.target), horizon_us=args.days * DAY_US)
        with open_batch(settings) as engine:
            spine = build_spine(engine, target, max_rows=ALL_ROWS)
        tell(f"{len(plan.names)} features of {len(spine):,} questions")
        examples = build_training_set(spine, build.feature_reader(settings, target), features=plan.names)
        later = spine["later"].to_numpy()
        result["periods"] = []
        for periods in args.periods:
            tested = np.arange(len(spine))[split_by_time(examples.times_us, target.horizon_us, periods).test]
            options = [TrainOptions(estimator=name, periods=periods) for name in args.estimators]
            judged: dict[str, Any] = {"test_start_us": periods.test_start_us, "test_end_us": periods.test_end_us}
            tell(f"a period of {len(tested):,} questions")
            scores = score_with_orders(examples, plan, target, options)
            for kind, asked in (("at_trigger", tested[~later[tested]]), ("later", tested[later[tested]])):
                judged[kind] = judge_with_orders(examples, scores, asked)
            result["periods"].append(judged)
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _periods(text: str) -> Periods:
    start, end = (int(np.datetime64(day, "us").astype(np.int64)) for day in text.split(":"))
    return Periods(test_start_us=start, test_end_us=end)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--map", default="online-retail")
    parser.add_argument("--target", default="repeat_purchase")
    parser.add_argument("--days", type=int, required=True, help="the horizon")
    parser.add_argument("--periods", type=_periods, nargs="+", required=True)
    parser.add_argument("--estimators", nargs="+", default=["random_forest", "blend"])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
