"""DuckDB over the log with too little memory: what does not fit goes to disk, and the answer is the same."""

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_rows import append

from data.errors import DataError
from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from data.units import DAY_US
from features.batch.backfill import Backfilled
from features.batch.engine import DuckDBEngine
from features.entities import USER, USER_PRODUCT
from features.plan.plan import Plan
from features.state.states import EntityKey

pytestmark = pytest.mark.integration

PLENTY, SHORT = "2GB", "70MB"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    shop = Shop(ShopConfig(1_760_000_000_000_000, users=2_000, products=300, days=60, events_per_day=2_000.0))
    log = EventLog(tmp_path_factory.mktemp("log"))
    assert log.write_history("shop", shop.history()) > 100_000
    return log


@pytest.fixture(scope="module")
def spine(log: EventLog) -> pd.DataFrame:
    columns = ["user_id", "product_id", "timestamp"]
    events = pa.concat_tables(pq.read_table(file.path, columns=columns) for file in log.files()).to_pandas()
    drawn = events.sample(5_000, random_state=1)
    times = drawn.pop("timestamp").astype("datetime64[us, UTC]").astype("int64")
    chosen: pd.DataFrame = drawn.assign(time_us=times)
    return chosen


def values(engine: DuckDBEngine, plan: Plan, spine: pd.DataFrame) -> pa.Table:
    return engine.values(plan, USER.name, spine, [feature.name for feature in plan.of(USER.name).features])


@pytest.mark.long
def test_values_spill_rather_than_die(log: EventLog, spine: pd.DataFrame, plan: Plan) -> None:
    with DuckDBEngine(log, memory=PLENTY, threads=2) as engine:
        plenty = values(engine, plan, spine)
    with DuckDBEngine(log, memory=SHORT, threads=2) as engine:
        short = values(engine, plan, spine)
    assert short.num_rows == plenty.num_rows == len(spine)
    # A deviation adds floats in the order that they come in; all else is exact.
    pd.testing.assert_frame_equal(short.to_pandas(), plenty.to_pandas(), check_exact=False, rtol=1e-9, atol=0)
    with DuckDBEngine(log, memory=SHORT, threads=2) as engine:
        engine.connection.raw_sql("SET temp_directory = ''")
        with pytest.raises(duckdb.OutOfMemoryException):  # so the memory was indeed too little
            values(engine, plan, spine)


@pytest.mark.long
def test_states_are_made_a_share_at_a_time_where_memory_is_short(log: EventLog, plan: Plan) -> None:
    def states(memory: str) -> dict[EntityKey, Backfilled]:
        with DuckDBEngine(log, memory=memory, threads=2) as engine:
            made = list(engine.states(plan.of(USER_PRODUCT.name)))
        assert len({state.key for state in made}) == len(made)
        return {state.key: state for state in made}

    # All pairs at once want 150 MB: lists of tiles cannot be spilled.
    assert states("100MB") == states(PLENTY)


def test_what_was_spilled_is_gone_when_the_engine_closes(log: EventLog, spine: pd.DataFrame, plan: Plan) -> None:
    with DuckDBEngine(log, memory=SHORT, threads=2) as engine:
        [[folder]] = engine.connection.raw_sql("SELECT current_setting('temp_directory')").fetchall()
        values(engine, plan, spine)
        assert Path(folder).is_dir()
    assert not Path(folder).exists()


def test_a_file_that_vanishes_while_it_is_read_is_said_so(tmp_path: Path, plan: Plan) -> None:
    log = EventLog(tmp_path)
    append(log, range(10))
    path = append(log, range(10, 20))
    log.mark_consumed("kafka", 0, range(20, 25))
    spine = pd.DataFrame({"user_id": ["u0"], "time_us": [DAY_US]})
    with DuckDBEngine(log, threads=1) as engine:
        assert engine.values(plan, "user", spine, ["user_view_count"])["user_view_count"].to_pylist() == [6]
        states = engine.states(plan.of("user"))
        scan = engine.scan()
        engine.scan = lambda: scan  # type: ignore[method-assign] # as if it had just been listed
        append(log, range(10, 25))
        path.unlink()
        with pytest.raises(DataError, match="run again"):
            engine.values(plan, "user", spine, ["user_view_count"])
        with pytest.raises(DataError, match="run again"):
            next(states)


def test_a_log_of_dead_letters_alone_has_no_states(tmp_path: Path, plan: Plan) -> None:
    log = EventLog(tmp_path)
    log.mark_consumed("kafka", 0, range(25))
    with DuckDBEngine(log, threads=1) as engine:
        assert list(engine.states(plan.of("user"))) == []
