"""What serving tests share: the compiled plan, tiny models, a few shoppers' events, and the app over them."""

import hashlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from compiled import plan, plan_bytes
from facts import some_fact
from fastapi import FastAPI
from made_once import made_once
from polling import poll_until

from data.clock import Clock, ManualClock
from data.units import MICROS
from features.facts import Fact
from features.state.fold import Fold, Sourced
from features.state.states import States
from model.artifact.artifact import Artifact
from model.examples.training_set import TrainingSet
from model.registry.published import Registry
from model.targets import REPEAT_PURCHASE
from server.api.app import create_app
from server.process.server_process import free_port
from server.settings import read_settings

with warnings.catch_warnings():
    # Starlette would rather have httpx2, a rename of httpx.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

__all__ = [
    "CATEGORIES",
    "DAY",
    "HOUR",
    "NOON",
    "SHOPPING",
    "TestClient",
    "fold_events",
    "make_app",
    "make_home",
    "plan",
    "promote",
    "served",
    "tiny_model",
]

HOUR = 3_600 * MICROS
DAY = 24 * HOUR
NOON = 1_772_366_400 * MICROS
"""2026-03-01T12:00:00Z, a Sunday."""


def make_home(folder: Path) -> Path:
    """A home that holds the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_bytes(plan_bytes())
    return folder


@cache
def tiny_model(features: tuple[str, ...], seed: int = 0, feature_plan: str | None = None) -> Artifact:
    """A real model of these features, trained on noise in which many of them count; once in a run of tests."""
    of = plan().hash if feature_plan is None else feature_plan
    name = hashlib.sha256(repr((features, seed, of)).encode()).hexdigest()
    registry = Registry(made_once(f"model-{name}", lambda folder: Registry(folder).save(_trained(features, seed, of))))
    (version,) = registry.versions(REPEAT_PURCHASE.name)
    return replace(registry.load(REPEAT_PURCHASE.name, version), written=b"")  # as a new one, which a test may change


def _trained(features: tuple[str, ...], seed: int, feature_plan: str) -> Artifact:
    from model.training.train import TrainOptions, train  # scikit-learn takes its time

    random = np.random.default_rng(seed)
    rows = random.normal(scale=10, size=(800, len(features))).astype(np.float32)
    rows[random.random(rows.shape) < 0.2] = np.nan
    labels = (np.nansum(rows, axis=1) + random.normal(size=len(rows)) > 0).astype(np.int64)
    examples = TrainingSet(features, rows, labels, np.sort(random.integers(0, 180 * DAY, len(rows))), len(rows))

    return train(
        examples,
        REPEAT_PURCHASE,
        feature_plan=feature_plan,
        options=TrainOptions(parameters={"n_estimators": 12, "min_samples_leaf": 5, "max_features": None}, seed=seed),
        clock=ManualClock(NOON + seed * MICROS),
    )


def promote(home: Path, artifact: Artifact) -> str:
    """Make the model the champion; its version."""
    registry = Registry(home / "models")
    version = artifact.metadata.version
    if version not in registry.versions(REPEAT_PURCHASE.name):
        registry.save(artifact)
    registry.promote(REPEAT_PURCHASE.name, version)
    return version


CATEGORIES = {"coffee": "drinks", "sofa": "sofas & beds"}

# Two shoppers and two products, up to an hour before NOON (amounts in micro-units):
#
#   ann    coffee  -20d purchase 10   -10d purchase 12.5   -2d view   -1h purchase 11
#          sofa     -3d view
#   bob    coffee   -5d view
SHOPPING = [
    some_fact(
        kind, user, product, NOON - before, round(amount * MICROS), 1, f"event-{number}", category=CATEGORIES[product]
    )
    for number, (kind, user, product, before, amount) in enumerate(
        [
            ("purchase", "ann", "coffee", 20 * DAY, 10.0),
            ("purchase", "ann", "coffee", 10 * DAY, 12.5),
            ("view", "ann", "sofa", 3 * DAY, 800.0),
            ("view", "ann", "coffee", 2 * DAY, 11.0),
            ("purchase", "ann", "coffee", HOUR, 11.0),
            ("view", "bob", "coffee", 5 * DAY, 11.0),
        ]
    )
]


def fold_events(states: States, facts: Sequence[Fact] = SHOPPING, *, first_offset: int = 0) -> None:
    """Fold events as the stream worker does."""
    Fold(plan(), states, b"t" * 16).apply([Sourced(fact, 0, first_offset + n) for n, fact in enumerate(facts)])
    states.note_event(max(fact.timestamp_us for fact in facts))


def make_app(home: Path, host: str, port: int, clock: Clock | None = None, *, kind: str = "wall") -> FastAPI:
    """The app over a home and a store, looking for another champion often."""
    settings = read_settings(home=home, redis_host=host, redis_port=port, clock=kind, predictions_topic="off")
    return create_app(settings, clock=clock, model_check_s=0.02)


@contextmanager
def served(app: FastAPI, **options: Any) -> Iterator[int]:
    """The port of a server of an app, in a thread; `options` are uvicorn's."""
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", **options))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        poll_until(lambda: running.started)
        yield port
    finally:
        running.should_exit = True
        thread.join()
