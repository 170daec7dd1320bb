"""What was answered is computed again from the log, to the last bit, whatever became of models and definitions."""

import shutil
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from answered_shop import AnsweredShop, traffic
from editions import SEEN, more_of_users
from event_streams import START_US, TOPIC, Act, act
from polling import poll_until
from prediction_stream import prediction
from redis import Redis
from rolling import changed, live, made
from serving import plan, promote, tiny_model
from shop_questions import ask
from system import SystemHere

from data.errors import ConfigurationError
from data.units import DAY_US, HOUR_US
from events.predictions.archive import Archived
from server.jobs.receipts.answered import find_answers, keep_new, newest_answers
from server.jobs.receipts.late import find_late
from server.jobs.receipts.replay import Replayed, replay
from server.jobs.receipts.why import explain_answer
from server.jobs.rollout.rollout import finish_rollout, rebuild, roll_out
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.scoring.kept_predictions import open_archive


def quiet(_: str) -> None:
    """Tell nobody."""


@pytest.fixture
def shop(tmp_path: Path) -> AnsweredShop:
    """A shop with a champion."""
    shop = AnsweredShop(tmp_path / "home")
    promote(shop.home, tiny_model(plan().names))
    return shop


@pytest.mark.long
@pytest.mark.integration
def test_ten_thousand_answers_are_the_same_again(shop: AnsweredShop) -> None:
    """Before and after states are made anew, models are trained again, and definitions change."""
    batches, events = shop.questions(10_000), iter(traffic(1_500))
    wider = more_of_users(plan())

    def go_on(answers: float) -> None:
        """Answer as many questions between events."""
        while answers > 0 and (some := list(islice(batches, 20))):
            shop.fold(shop.place(list(islice(events, 25))))
            shop.ask(some)
            answers -= sum(map(len, some))

    go_on(2_000)
    shop.remake()
    go_on(2_000)
    promote(shop.home, tiny_model(plan().names, 1))
    go_on(2_000)
    shop.turn_to(wider)
    go_on(2_000)
    promote(shop.home, tiny_model((*wider.names,), 2, wider.hash))
    go_on(float("inf"))
    answers = newest_answers(shop.settings, 20_000)
    assert len(answers) == 10_000
    assert len({one.model for one in answers}) == 3
    assert {one.receipt.plan for one in answers if one.receipt} == {plan().hash, wider.hash}
    assert SEEN in answers[-1].features
    found = replay(shop.settings, answers, quiet)
    assert [one for one in found if not one.same][:3] == []
    assert [one.again for one in found] == [one.score for one in answers]
    assert len({one.score for one in answers}) > 500


def replayed(shop: AnsweredShop) -> list[Replayed]:
    """The newest answers, computed again."""
    return replay(shop.settings, newest_answers(shop.settings, 100), quiet)


@pytest.mark.long
def test_what_an_answer_was_made_of_and_is_gone_is_named(shop: AnsweredShop) -> None:
    placed = shop.place(traffic(200))
    shop.fold(placed, logged=False)
    shop.ask([[ask("u1", "p1", 5.0)]])
    [early] = replayed(shop)
    assert (early.same, "the event log has nothing of the topic" in early.note) == (False, True)
    shop.write(placed[:150])
    [early] = replayed(shop)
    assert (early.same, "up to offset" in early.note) == (False, True)
    shop.write(placed[150:])
    [whole] = replayed(shop)
    assert (whole.same, whole.again, whole.note) == (True, whole.score, "")

    with pytest.raises(ConfigurationError, match="prediction nonsense: not among those"):
        find_answers(shop.settings, [whole.id, "nonsense"], quiet)
    open_archive(shop.settings).append("older", [Archived(0, 0, prediction(1))])
    [older] = replay(shop.settings, find_answers(shop.settings, ["p-1"], quiet), quiet)
    assert (older.again, "no receipt" in older.note) == (None, True)

    (shop.home / "plan.json").rename(shop.home / "away.json")
    [planless] = replayed(shop)
    assert (planless.again, f"its plan {plan().hash} is gone" in planless.note) == (None, True)
    (shop.home / "away.json").rename(shop.home / "plan.json")

    version = shop.home / "models" / "repeat_purchase" / whole.model
    damaged = msgspec.json.decode((version / "metadata.json").read_bytes()) | {"note": "edited"}
    (version / "metadata.json").write_bytes(msgspec.json.encode(damaged))
    [changed] = replayed(shop)
    assert (changed.again, "has the sha256" in changed.note) == (None, True)
    shutil.rmtree(version)
    [modelless] = replayed(shop)
    assert (modelless.again, f"its model repeat_purchase {whole.model} is gone" in modelless.note) == (None, True)


def test_events_that_retention_has_dropped_are_named(shop: AnsweredShop) -> None:
    shop.fold(shop.place(traffic(200)))
    shop.ask([[ask("u1", "p1", 5.0)]])
    shop.log.drop_before(START_US + 10 * DAY_US)
    [dropped] = replayed(shop)
    assert not dropped.same
    assert "before offset" in dropped.note
    assert dropped.differing["user_view_count"] != (0, 0)


def test_an_answer_is_found_by_what_its_caller_was_told(shop: AnsweredShop) -> None:
    shop.fold(shop.place(traffic(50)))
    given = shop.ask([[ask("u1", "p1"), ask("u2", "p1")], [ask("u1", "p2")]])
    assert len({one.id for one in given}) == 3
    found = find_answers(shop.settings, [one.id for one in reversed(given)], quiet)
    assert [(one.id, one.score) for one in found] == [(one.id, one.probability) for one in reversed(given)]


@pytest.mark.integration
def test_scores_that_late_events_would_have_changed_are_found(shop: AnsweredShop) -> None:
    """With the late events the score is the one that would have been, had they been folded in time."""
    placed = shop.place(traffic(300, users=5, products=3))
    shop.fold(placed[:200])
    shop.clock.now_us = START_US + 40 * HOUR_US
    questions = [ask(f"u{user}", f"p{product}", 5.0) for user in range(5) for product in range(3)]
    shop.ask([questions])
    nothing = find_late(shop.settings, newest_answers(shop.settings, 100), quiet)
    assert (nothing.answers, nothing.touched, nothing.changed, nothing.unclear) == (15, 0, [], 0)

    at_us = shop.clock.now_us
    come = [one for one in placed[200:] if one.event.timestamp_us <= at_us]
    assert come
    shop.fold(placed[200:])
    shop.clock.now_us = at_us
    late = find_late(shop.settings, newest_answers(shop.settings, 100), quiet)
    touched = {one.event.user_id for one in come}, {one.event.product_id for one in come}
    assert late.touched == sum(
        question.named["user_id"] in touched[0] or question.named["product_id"] in touched[1] for question in questions
    )
    only = AnsweredShop(shop.home.parent / "in time")
    promote(only.home, tiny_model(plan().names))
    only.fold([*placed[:200], *come])
    only.clock.now_us = at_us
    would = {(one.question.named["user_id"], one.question.named["product_id"]): one for one in only.ask([questions])}
    given = {one.id: one for one in newest_answers(shop.settings, 100)}
    assert late.changed
    for one in late.changed:
        named = given[one.id].named
        assert one.would == would[named["user_id"], named["product_id"]].probability
        assert one.score == given[one.id].score
    assert late.mean_change > 0


@pytest.mark.integration
def test_the_events_behind_a_value_are_named(shop: AnsweredShop) -> None:
    acts = [
        Act("view", "ann", "tea", 1 * DAY_US),
        Act("purchase", "ann", "tea", 2 * DAY_US, 12.5),
        Act("purchase", "ann", "sofa", 3 * DAY_US, 700.0),
        Act("purchase", "bob", "tea", 4 * DAY_US, 12.5),
        Act("view", "ann", "sofa", 5 * DAY_US),
    ]
    shop.fold(shop.place([act(one, f"e{number}") for number, one in enumerate(acts)]))
    shop.clock.now_us = START_US + 6 * DAY_US
    [first] = shop.ask([[ask("ann", "tea", 30.0)]])

    def behind(feature: str, answer: str = first.id) -> dict[str, object]:
        [answered] = find_answers(shop.settings, [answer], quiet)
        [found] = explain_answer(shop.settings, answered, quiet, feature=feature).features
        return {cause.event_id: cause.without for cause in found.causes}

    assert behind("user_total_spend") == {"e2": 12.5, "e1": 700.0}
    assert behind("user_max_transaction_amount") == {"e2": 12.5}
    assert behind("user_product_days_since_last_purchase") == {"e1": None}
    assert behind("user_days_since_last_purchase") == {"e2": 4.0}
    assert behind("user_distinct_products_viewed") == {"e4": 1, "e0": 1}
    assert behind("product_purchase_count") == {"e3": 1, "e1": 1}
    assert behind("user_purchases_24h") == {}
    assert behind("amount_vs_user_avg") == {"e2": 30 / 12.5, "e1": 30 / 700}
    assert behind("hour_of_day") == {}

    shop.fold(shop.place([act(Act("purchase", "ann", "tea", 7 * DAY_US, 20.0), "e5")]))
    shop.clock.now_us = START_US + 8 * DAY_US
    [second] = shop.ask([[ask("ann", "tea", 30.0)]])
    now, before = find_answers(shop.settings, [second.id, first.id], quiet)
    why = explain_answer(shop.settings, now, quiet, since=before)
    assert len(why.features) == 5
    assert abs(why.features[0].contribution) >= abs(why.features[4].contribution) > 0
    assert why.since is not None
    assert [cause.event_id for cause in why.since.events] == ["e5"]
    changes = {change.feature: change for change in why.since.changes}
    assert (changes["user_purchase_count"].before, changes["user_purchase_count"].after) == (2, 3)
    assert changes["user_purchase_count"].events == 1
    assert changes["user_days_since_last_view"].events == 0, "time has passed"
    assert behind("user_total_spend") == {"e2": 12.5, "e1": 700.0}, "as of then"
    with pytest.raises(ConfigurationError, match=r"no feature of the plan .* is called nonsense"):
        behind("nonsense")
    [other] = shop.ask([[ask("bob", "tea", 30.0)]])
    with pytest.raises(ConfigurationError, match="it is about repeat_purchase of bob × tea"):
        explain_answer(shop.settings, now, quiet, since=find_answers(shop.settings, [other.id], quiet)[0])


@pytest.mark.system
def test_answers_of_a_live_system_are_the_same_after_all_that_changed(
    broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    """A worker folds from Kafka, a server answers from Redis, definitions change, the model is another, states are made
    anew: what callers were told is in the log."""
    settings = made(tmp_path / "home", store.port, broker.servers)
    wider = changed(settings, tmp_path / "shop")
    with live(settings, kept=True) as system:
        system.await_folded(50)
        done = roll_out(wider, quiet)
        promote(settings.home, tiny_model(plan().names, 1))
        poll_until(lambda: system.plans[-1:] == [done.after])
        count = system.answers
        poll_until(lambda: system.answers > count + 20)
    finish_rollout(wider, quiet)
    rebuild(wider, quiet)
    assert (system.cold, system.failed) == (0, [])

    def are_kept() -> bool:
        keep_new(wider, quiet)
        return {one.id for one in newest_answers(wider, 10_000)} >= set(system.ids)

    poll_until(are_kept)
    answers = find_answers(wider, system.ids, quiet)
    assert {one.receipt.plan for one in answers if one.receipt} == {plan().hash, done.after}
    assert len({one.model for one in answers}) == 2
    found = replay(wider, answers, quiet)
    assert [one for one in found if not one.same][:3] == []


@pytest.mark.long
@pytest.mark.integration  # it runs commands, which import their libraries
def test_commands_tell_it_on_a_terminal_and_as_json(shop: AnsweredShop) -> None:
    placed = shop.place(traffic(300, users=5, products=3))
    shop.fold(placed[:200])
    shop.clock.now_us = START_US + 40 * HOUR_US
    first, *_ = shop.ask([[ask("u1", "p1", 5.0)], [ask("u2", "p2", 5.0)]])
    shop.write(placed[200:])
    shop.fold(placed[200:], logged=False)
    shop.clock.now_us += DAY_US
    [second] = shop.ask([[ask("u1", "p1", 5.0)]])
    here = SystemHere(shop.home)

    shown = here.run("replay", first.id)
    assert (shown.returncode, "1 of 1 answers are the same to the last bit" in shown.stdout) == (0, True), shown.stderr
    assert repr(first.probability) in shown.stdout
    assert f"sha256 {first.predictor.sha256[:12]}" in shown.stdout
    assert "user: events up to offset" in shown.stdout
    told = here.json("replay", "--last", "10")
    assert told["answers"][0]["read"][0]["topic"] == TOPIC.hex()
    assert (told["same"], next(one["id"] for one in told["answers"])) == (3, first.id)
    shown = here.run("why", first.id, "user_total_spend")
    assert (shown.returncode, "without it" in shown.stdout) == (0, True), shown.stderr
    shown = here.run("why", second.id, "--since", first.id)
    assert "the score went from" in shown.stdout
    assert len(here.json("why", second.id)["features"]) == 5
    assert "2 of 3 answers had late events" in here.run("late").stdout
    assert here.json("late", "--last", "3")["touched"] == 2

    assert "give the ids of answers, or --last N" in here.run("replay").stderr
    shutil.rmtree(shop.home / "models")
    shown = here.run("replay", "--last", "10")
    assert (shown.returncode, "is gone; restore" in shown.stdout) == (1, True)
    shown = here.run("why", first.id)
    assert (shown.returncode != 0, f"prediction {first.id}: its model" in shown.stderr) == (True, True)
