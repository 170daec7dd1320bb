"""Predictions are judged by what then happened, once it can be known; and a reason to retrain is told or not found."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from serving import plan, promote, tiny_model
from shop_questions import ask
from target_log import START_US, TARGETS, Act, keys_of, log_of, naive_label, table
from thorough import examples

from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.units import DAY_US, from_micros
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.message import Prediction, Role, decode_prediction
from features.batch.engine import DuckDBEngine
from features.plan.plan import Plan
from model.artifact.metadata import Metadata
from model.evaluation.live import LIVE_COLUMNS, LiveModel, judge_live
from model.examples.outcomes import outcomes
from model.registry.published import Registry
from model.targets import REPEAT_PURCHASE, Target
from server.jobs.quality import DriftReport, LiveReport, evaluate_live
from server.jobs.retraining import reasons_to_retrain
from server.process.server_process import free_port
from server.scoring.contenders import Models
from server.scoring.prediction_messages import PredictionMessages
from server.scoring.scoring import Answer, features_writer
from server.settings import read_settings

pytestmark = pytest.mark.integration  # models and reports are made for it

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

acts = st.lists(
    st.builds(
        Act,
        st.sampled_from(["view", "add_to_cart", "purchase"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["tea", "sofa"]),
        st.integers(0, 40).map(lambda step: step * DAY_US),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda act: (act.user, act.at),
)
asked = st.lists(
    st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from(["tea", "sofa"]), st.integers(0, 80)), max_size=6
)


def questions_of(asked: Sequence[tuple[str, str, int]]) -> pa.Table:
    """Questions: who, what, and when in µs after the start."""
    return pa.table(
        {
            "user_id": pa.array([user for user, _, _ in asked], pa.string()),
            "product_id": pa.array([product for _, product, _ in asked], pa.string()),
            "as_of": pa.array([START_US + at for _, _, at in asked], pa.timestamp("us", "UTC")),
        }
    )


@pytest.mark.parametrize("target", [target for target in TARGETS if target.rule != "follows_in_next_session"])
@examples(15)
@given(acts=acts, asked=asked)
def test_outcomes_are_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, target: Target, acts: list[Act], asked: list[tuple[str, str, int]]
) -> None:
    half_days = [(user, product, at * DAY_US // 2) for user, product, at in asked]
    with DuckDBEngine(log_of(tmp_path_factory.mktemp("log"), acts)) as engine:
        found = outcomes(engine, target, questions_of(half_days))
    newest = max(act.at for act in acts)
    for (user, product, at), outcome in zip(half_days, found, strict=True):
        if at + target.horizon_us > newest:
            assert np.isnan(outcome)
            continue
        follows = any(
            act.kind == target.label and keys_of(target, act.user, act.product) == keys_of(target, user, product)
            for act in acts
            if at < act.at <= at + target.horizon_us
        )
        assert outcome == (follows if target.rule == "follows" else not follows)
        assert outcome == naive_label(acts, target, user, product, at)


def predictions(rows: Sequence[tuple[str, Role, float, float | None]]) -> pa.Table:
    """Predictions: model, role, score, and what the shadow said."""
    archive_columns = {
        "user_id": [f"u{number}" for number in range(len(rows))],
        "product_id": ["tea"] * len(rows),
        "as_of": [NOW] * len(rows),
        "model": [model for model, _, _, _ in rows],
        "role": [role for _, role, _, _ in rows],
        "score": [score for _, _, score, _ in rows],
        "threshold": [0.5] * len(rows),
        "shadow_model": pa.array([None if shadow is None else "third" for *_, shadow in rows], pa.string()),
        "shadow_score": pa.array([shadow for *_, shadow in rows], pa.float64()),
        "shadow_threshold": pa.array([None if shadow is None else 0.5 for *_, shadow in rows], pa.float64()),
    }
    return pa.table(archive_columns)


def test_each_model_is_judged_in_each_role() -> None:
    rows: list[tuple[str, Role, float, float | None]] = []
    labels: list[float] = []
    for number in range(200):
        label = number % 2
        labels.append(np.nan if number < 20 else float(label))
        # The first ranks perfectly, its shadow the other way round; the second answers a few.
        rows.append(("first", "champion", 0.9 if label else 0.1, 0.1 if label else 0.9))
    rows += [("second", "challenger", 0.7, None)] * 10
    labels += [1.0] * 10
    found = {
        model.role: model
        for model in judge_live(predictions(rows), dict.fromkeys(("first", "second", "third"), np.array(labels)))
    }
    assert (found["champion"].model, found["champion"].predictions, found["champion"].settled) == ("first", 200, 180)
    assert found["champion"].metrics is not None
    assert (found["champion"].metrics.roc_auc, found["champion"].metrics.f1) == (1.0, 1.0)
    assert found["shadow"].model == "third"
    assert found["shadow"].metrics is not None
    assert found["shadow"].metrics.roc_auc == 0.0
    assert (found["challenger"].settled, found["challenger"].metrics) == (10, None)
    names = (*SHOP.asked_keys, *LIVE_COLUMNS)
    nothing = pa.table({name: [] for name in names}, schema=predictions(rows).slice(0, 0).schema)
    assert judge_live(nothing, {}) == []


def test_reasons_to_retrain() -> None:
    known: Metadata = msgspec.structs.replace(tiny_model(plan().names).metadata, log_events=1_000)
    test_f1 = known.metrics["test"].f1

    def why(events: int = 1_000, f1: float = test_f1, settled: int = 1_000, drifted: float = 0.1) -> str:
        metrics = msgspec.structs.replace(known.metrics["test"], f1=f1)
        model = LiveModel(model=known.version, role="champion", predictions=9, settled=settled, metrics=metrics)
        live = LiveReport(target="repeat_purchase", at=NOW, models=[model])
        drift = DriftReport(
            target="repeat_purchase",
            at=NOW,
            model=known.version,
            rows=900,
            psi={"user_view_count": drifted},
            drifted=["user_view_count"] if drifted > 0.2 else [],
        )
        return "; ".join(reasons_to_retrain(known, events, live, drift))

    assert why() == why(events=1_099) == why(f1=test_f1 * 0.96) == why(f1=0.0, settled=499) == ""
    assert why(events=1_100) == "the event log grew by 10%, from 1,000 events to 1,100"
    assert f"the live F1 is {test_f1 * 0.9:.3f} on 1,000 predictions" in why(f1=test_f1 * 0.9)
    assert why(drifted=0.31) == "features drifted past a PSI of 0.2: user_view_count (PSI 0.31)"
    together = why(events=1_200, f1=0.0, drifted=9)
    assert all(part in together for part in ("grew by 20%", "live F1 is 0.000", "PSI 9.00"))


def answers(home: Path, count: int) -> list[Answer]:
    """Answers of the champion to questions about coffee, one an hour."""
    models = Models(Registry(home / "models"), ("repeat_purchase",), plan())
    models.refresh()
    predictor = models.get().predictor
    rows = np.random.default_rng(3).normal(scale=10, size=(count, len(predictor.features))).astype(np.float32)
    values = [tuple(float(value) for value in row) for row in rows]
    return [
        Answer(
            ask(f"u{number}", "coffee"),
            predictor,
            score,
            row,
            features_writer(predictor.features)(row),
            START_US + number * DAY_US // 24,
            True,
            0,
            "champion",
            id=f"{predictor.version}-{number}",
        )
        for number, (score, row) in enumerate(zip(predictor.score(rows).tolist(), values, strict=True))
    ]


@pytest.mark.long
def test_messages_say_all_of_an_answer_and_what_the_shadow_said(tmp_path: Path) -> None:
    champion = promote(tmp_path, tiny_model(plan().names, 0))
    registry = Registry(tmp_path / "models")
    challenger = tiny_model(tuple(reversed(plan().names)), 1)  # the same inputs in another order
    registry.promote("repeat_purchase", registry.save(challenger), "challenger")
    models = Models(registry, ("repeat_purchase",), plan())
    models.refresh()
    given = answers(tmp_path, 3)
    messages = PredictionMessages(models, SHOP)
    found = [decode_prediction(value) for _, value in messages([(from_micros(START_US), answer) for answer in given])]
    told: list[Prediction] = [one for one in found if one is not None]
    assert len({one.id for one in told}) == len(told) == 3
    assert [(one.user_id, one.product_id, one.model, one.role) for one in told] == [
        (f"u{number}", "coffee", champion, "champion") for number in range(3)
    ]
    assert [one.score for one in told] == [answer.probability for answer in given]
    assert told[1].as_of == from_micros(START_US + DAY_US // 24)
    assert json.loads(bytes(told[0].features)) == dict(zip(plan().names, given[0].values, strict=True))
    scorer = models.challenger().get().predictor
    reordered = np.array([answer.values[::-1] for answer in given], np.float32)
    assert [one.shadow and one.shadow.score for one in told] == scorer.score(reordered).tolist()
    # Who answered as challenger has no shadow.
    [(_, value)] = messages([(from_micros(START_US), structs.replace(given[0], role="challenger"))])
    one = decode_prediction(value)
    assert one is not None
    assert one.shadow is None


@pytest.mark.long
def test_each_version_is_judged_by_the_question_that_it_learned(tmp_path: Path, plan: Plan) -> None:
    """After a model of 30 days another of 90 days is champion: of neither horizon the other's answers are taken."""
    home = tmp_path / "home"
    versions = []
    for seed, days in enumerate((30, 90)):
        model = tiny_model(plan.names, seed)
        question = replace(REPEAT_PURCHASE, horizon_us=days * DAY_US)
        asked = structs.replace(model.metadata, question=question, horizon_us=question.horizon_us)
        versions.append(promote(home, replace(model, metadata=asked)))
        if not seed:
            made = answers(home, 100)
    made += answers(home, 100)
    # All come back after 40 days; the log ends before the second's horizon does.
    happened = [Act("purchase", f"u{number}", "coffee", 40 * DAY_US + number * DAY_US // 24) for number in range(100)]
    EventLog(home / "log").write_history("shop", [table([*happened, Act("view", "x", "y", 60 * DAY_US)])])
    models = Models(Registry(home / "models"), ("repeat_purchase",), plan)
    models.refresh()
    kept = [
        decode_prediction(value) for _, value in PredictionMessages(models, SHOP)([(NOW, answer) for answer in made])
    ]
    archive = PredictionArchive(home / "predictions")
    archive.append("topic", [Archived(0, offset, one) for offset, one in enumerate(kept) if one is not None])
    configured = read_settings(home=home, kafka_servers=f"127.0.0.1:{free_port()}")
    [live], _ = evaluate_live(configured, lambda _: None)
    assert {model.model: model.settled for model in live.models} == {versions[0]: 100, versions[1]: 0}
    EventLog(home / "log").write_history("more", [table([Act("view", "x", "y", 100 * DAY_US)])])
    [live], _ = evaluate_live(configured, lambda _: None)
    assert {model.model: model.settled for model in live.models} == {versions[0]: 100, versions[1]: 100}


@pytest.mark.long
def test_what_a_version_asked_is_not_guessed(tmp_path: Path, plan: Plan) -> None:
    home = tmp_path / "home"
    version = promote(home, tiny_model(plan.names))
    models = Models(Registry(home / "models"), ("repeat_purchase",), plan)
    models.refresh()
    made = PredictionMessages(models, SHOP)([(NOW, answer) for answer in answers(home, 60)])
    kept = [structs.replace(one, model="20200101-000000-abcdef") for _, v in made if (one := decode_prediction(v))]
    archive = PredictionArchive(home / "predictions")
    archive.append("topic", [Archived(0, offset, one) for offset, one in enumerate(kept)])
    EventLog(home / "log").write_history("shop", [table([Act("view", "x", "y", 100 * DAY_US)])])
    [live], _ = evaluate_live(read_settings(home=home, kafka_servers=f"127.0.0.1:{free_port()}"), lambda _: None)
    assert [(model.model, model.predictions, model.settled) for model in live.models] == [
        ("20200101-000000-abcdef", 60, 0)
    ]
    assert version not in {model.model for model in live.models}


@pytest.mark.long
def test_the_reports_are_written_from_what_was_kept(tmp_path: Path, plan: Plan) -> None:
    home = tmp_path / "home"
    version = promote(home, tiny_model(plan.names))
    happened = [Act("purchase", f"u{number}", "coffee", number * DAY_US // 24 + 1) for number in range(0, 600, 2)]
    EventLog(home / "log").write_history("shop", [table([*happened, Act("view", "x", "y", 80 * DAY_US)])])
    models = Models(Registry(home / "models"), ("repeat_purchase",), plan)
    models.refresh()
    made = PredictionMessages(models, SHOP)([(from_micros(START_US), answer) for answer in answers(home, 600)])
    kept = [decode_prediction(value) for _, value in made]
    PredictionArchive(home / "predictions").append(
        "topic", [Archived(0, offset, one) for offset, one in enumerate(kept) if one is not None]
    )
    configured = read_settings(home=home, kafka_servers=f"127.0.0.1:{free_port()}")
    heard: list[str] = []
    [live], [drift] = evaluate_live(configured, heard.append)
    assert "only what is kept already is judged" in heard[0]
    [model] = live.models
    assert (model.model, model.role, model.predictions, model.settled) == (version, "champion", 600, 600)
    assert model.metrics is not None
    assert model.metrics.base_rate == pytest.approx(0.5)
    assert (drift.model, drift.rows, drift.note) == (version, 600, "")
    assert max(drift.psi.values()) > 0.2  # the model learned from values a fifth of which were missing
    written = json.loads((configured.quality / "live.json").read_bytes())
    assert written[0]["models"][0]["settled"] == 600
    assert live.target == "repeat_purchase"
