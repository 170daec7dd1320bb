"""What is older than the setting says goes where nothing needs it; how large things are, and when Redis is full."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from event_streams import Act, act, as_log, place
from prediction_stream import NOON, prediction
from redis import Redis
from serving import make_home

from data.errors import ConfigurationError
from data.log.event_log import EventLog
from data.log.removal import Removed
from data.log.retention import Retention
from data.units import DAY_US, HOUR_US, to_micros
from events.kafka.topic_retention import TopicRetention
from events.kafka.topics import dead_letter_topic, ensure_topics
from events.predictions.archive import Archived
from server.cli.view import sizes_in_words
from server.jobs.retention.apply import apply_retention
from server.jobs.retention.sizes import Sample, growth, memory_problem, note, samples
from server.process.home import only_one
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.redis.editions import lives_of, open_live
from server.scoring.kept_predictions import open_archive
from server.settings import Settings, read_settings

GB = 2**30


def test_what_the_setting_says() -> None:
    assert Retention.parse("") == Retention()
    said = Retention.parse("log=400d, predictions=36h,state:user_product=60d")
    assert said == Retention(400 * DAY_US, 36 * HOUR_US, None, None, {"user_product": 60 * DAY_US})


@pytest.mark.parametrize("wrong", ["log", "log=0d", "log=4w", "logs=4d", "log=4d,log=5d", "state:=4d", "state:A=4d"])
def test_what_says_something_else_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ENCORE_RETENTION: .*(no retention|there twice)"):
        read_settings(retention=wrong)


@pytest.fixture
def settings(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Settings:
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(20)]))
    return read_settings(home=home, redis_port=store.port, kafka_servers="127.0.0.1:1")


def test_what_is_old_goes_and_what_is_needed_stays(settings: Settings, broker: KafkaBroker) -> None:
    archive = open_archive(settings)
    for number in range(4):
        one = msgspec.structs.replace(prediction(number), timestamp=NOON - timedelta(days=100 - 30 * number))
        archive.append("topic", [Archived(0, number, one)])
    saying = settings.model_copy(
        update={
            "retention": "log=400d,predictions=50d,dead_letters=30d",
            "kafka_servers": broker.servers,
            "project": "kept",
        }
    )
    letters = dead_letter_topic(saying.kafka_names.events)
    ensure_topics(broker.servers, saying.kafka_names.events)
    done = apply_retention(saying, clock=lambda: to_micros(NOON))
    assert (done.log, done.predictions, done.dead_letters) == (Removed(), Removed(2, 2), True)
    assert len(archive.files()) == 2
    assert archive.ends("topic") == {0: 3}
    [problem] = done.problems
    assert "the log is kept whole: the feature" in problem
    assert EventLog(settings.log).count() == 20
    kept = TopicRetention(broker.servers).read(letters)
    assert (kept.kept_ms, kept.rolled_ms, kept.compacted) == (30 * DAY_US // 1000, 7 * DAY_US // 1000, False)
    assert not apply_retention(saying, clock=lambda: to_micros(NOON)).dead_letters, "as it is"
    assert [one.bytes["log"] > 0 and one.bytes["redis"] > 0 for one in samples(saying)] == [True, True]


@pytest.mark.long
def test_one_process_at_once_and_kafka_may_be_away(settings: Settings) -> None:
    with (
        only_one(settings, "retention", "applies retention"),
        pytest.raises(ConfigurationError, match="another process"),
    ):
        apply_retention(settings)
    done = apply_retention(settings.model_copy(update={"retention": "dead_letters=30d"}))
    assert done.problems[0].startswith("dead letters: Kafka")


def test_states_that_would_differ_do_not_leave(settings: Settings, redis_client: "Redis[bytes]") -> None:
    plan = open_live(redis_client, settings).plan
    saying = settings.model_copy(update={"retention": "state:user=400d"})
    with pytest.raises(ConfigurationError, match=r"ENCORE_RETENTION: state:user: the feature .* is of all time"):
        lives_of(plan, saying)
    by_events = settings.model_copy(update={"retention": "state:user=400d", "clock": "events"})
    with pytest.raises(ConfigurationError, match="ENCORE_CLOCK=events"):
        lives_of(plan, by_events)


def test_what_grows_is_told_and_memory_that_ends(settings: Settings) -> None:
    assert (growth(samples(settings)), memory_problem(samples(settings))) == ([], "")
    for hour in range(0, 240, 12):
        note(settings, Sample(hour * HOUR_US, {"log": hour * 2**20, "redis": 4 * GB + hour * GB // 24}, 20 * GB))
    noted = samples(settings)
    assert len(noted) == 16, "of eight days"
    assert sizes_in_words(growth(noted)).startswith("log 228.0 MB (+24.0 a day), redis")
    assert "it is full in 6.5 days" in memory_problem(noted)
    assert memory_problem([Sample(one.at_us, one.bytes, 40 * GB) for one in noted]) == ""
    assert [one.a_day for one in growth(noted[:1])] == [None, None]
    settings.quality.joinpath("sizes.json").write_bytes(b"\xff")
    assert samples(settings) == []
