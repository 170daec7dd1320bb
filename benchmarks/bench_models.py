"""Evaluate models on synthetic shops, without and with features of orders, beside the best possible scores.

.venv/bin/python benchmarks/bench_models.py --json models.json
.venv/bin/python benchmarks/bench_models.py --seeds 7 --targets repeat_purchase --estimators random_forest

Each shop is the default one with another seed. Models are evaluated on the questions of their own test that are asked
at their trigger; gains and distances are paired 95 % intervals, over users drawn with replacement.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from best_possible import own_probabilities
from machine import this_machine
from with_orders import ORDERS, RESAMPLES, judge_with_orders, score_with_orders, tell

from data.shop.shop import Shop, ShopConfig
from model.examples.spine import build_spine
from model.examples.split import split_by_time
from model.examples.training_set import build_training_set
from model.targets import target_named
from model.training.train import TrainOptions
from server.event_log import open_batch, open_log
from server.jobs import build
from server.settings import read_settings

END_US = 1_760_000_000_000_000


def main() -> None:
    args = _arguments()
    warnings.simplefilter("ignore")  # Feast's and Ibis's deprecations, which the `encore` command suppresses too
    result: dict[str, Any] = {"setting": {**this_machine(), "left_out_before": ORDERS, "resamples": RESAMPLES}}
    result["shops"] = [_shop(seed, args.targets, args.estimators, args.max_rows) for seed in args.seeds]
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def _shop(seed: int, targets: list[str], estimators: list[str], max_rows: int) -> dict[str, Any]:
    shop = Shop(ShopConfig(END_US, seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder))
        events = open_log(settings).write_history("shop", shop.history())
        plan = build.apply_features(settings, tell)
        result: dict[str, Any] = {"seed": seed, "events": events, "targets": {}}
        for target in map(target_named, targets):
            with open_batch(settings) as engine:
                spine = build_spine(engine, target, max_rows=max_rows)
            tell(f"seed {seed}, {target.name}: {len(plan.names)} features of {len(spine):,} questions")
            examples = build_training_set(spine, build.feature_reader(settings, target), features=plan.names)
            times_us = spine["event_timestamp"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
            assert np.array_equal(times_us, examples.times_us)
            tested = np.arange(len(spine))[split_by_time(times_us, target.horizon_us).test]
            tested = tested[~spine["later"].to_numpy()[tested]]
            questions = spine.iloc[tested]
            possible = own_probabilities(
                shop, target, questions["user_id"].tolist(), questions["product_id"].tolist(), times_us[tested]
            )
            options = [TrainOptions(estimator=name) for name in estimators]
            scores = score_with_orders(examples, plan, target, options)
            result["targets"][target.name] = judge_with_orders(examples, scores, tested, possible)
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 1, 2])
    parser.add_argument("--targets", nargs="+", default=["repeat_purchase", "purchase_intent", "cart_abandonment"])
    parser.add_argument("--estimators", nargs="+", default=["random_forest", "blend"])
    parser.add_argument("--max-rows", type=int, default=40_000)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
