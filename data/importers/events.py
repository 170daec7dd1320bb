"""Events from the rows of an import: which rows are dropped, the times of the rest, and the columns of events."""

from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from data.errors import ConfigurationError, DataError, FaultyRowsError
from data.event import FUTURE_TOLERANCE_US
from data.importers.checks import Checks, check_event
from data.importers.columns import Column
from data.importers.convert import converted, identifier, literal
from data.importers.mapping import Mapping
from data.importers.report import ImportReport
from data.importers.rows import Rows
from data.importers.source_file import error_line
from data.importers.times import FORMS, TimeSql, odd_hours, time_sql
from data.units import from_micros

__all__ = ["Events"]

_Place = tuple[str | int, ...]


class Events:
    """The steps from the table `lines` to the table `events`, each reporting the rows that it leaves out."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, mapping: Mapping, rows: Rows, declared: Sequence[Column]
    ) -> None:
        self._connection = connection
        self._mapping = mapping
        self._declared = declared
        self._rows = rows
        self._faults = list(rows.faults)
        self._dropped: dict[str, int] = {}
        self._clock_change = 0
        self._columns = [name for name in self._types("lines") if name not in {"_row", "_fault", "_value"}]

    def make(self, now_us: int, begin: Callable[[str], None], *, skip_faults: bool) -> ImportReport:
        """Make the table `events`, of the declared columns, `timestamp_us` and `_row`; return the report.

        Raises ConfigurationError where the mapping does not suit the files, FaultyRowsError or DataError.
        """
        begin(f"placing {self._rows.count:,} rows in time")
        self._drop()
        self._place_in_time(now_us)
        kept = self._count("kept")
        begin(f"making events of {kept:,} rows")
        merged = kept - self._make_events()
        begin("looking for ids that come twice")
        self._refuse_second_ids()
        if self._faults and not skip_faults:
            raise FaultyRowsError(self._faults)
        return self._report(merged)

    def _drop(self) -> None:
        """Make the view `judged`: `lines` with `_reason`, the number of the condition by which a row is dropped."""
        conditions = {("drop", number, "where"): drop.where for number, drop in enumerate(self._mapping.drop)}
        for place, condition in conditions.items():
            self._type(condition, place, "lines")
        cases = " ".join(f"WHEN {self._sql(condition)} THEN {place[1]}" for place, condition in conditions.items())
        reason = f"CASE {cases} END" if cases else "NULL"
        listed = ", ".join(map(identifier, self._columns))
        self._connection.execute(f"CREATE VIEW judged AS SELECT {listed}, _row, {reason} AS _reason FROM lines")
        counts = dict(self._run("SELECT _reason, count(*) FROM judged GROUP BY _reason", conditions, "lines"))
        self._dropped = {
            drop.reason: counts[number] for number, drop in enumerate(self._mapping.drop) if number in counts
        }
        self._undropped = counts.get(None, 0)

    def _place_in_time(self, now_us: int) -> None:
        """Make the table `kept`: rows of `judged` that stay, once each, with `_time` in UTC microseconds."""
        time = self._mapping.time
        place = ("time", "value")
        sql_type = self._type(time.value, place, "judged")
        value = self._sql(time.value)
        until_us = self._until(now_us)
        if self._mapping.equal_rows == "drop":
            rows = "SELECT * EXCLUDE (_row, _reason), min(_row) AS _row FROM judged WHERE _reason IS NULL GROUP BY ALL"
        else:
            rows = "SELECT * EXCLUDE (_reason) FROM judged WHERE _reason IS NULL"
        moment = self._time(value, sql_type)
        checks = Checks()
        label = self._label("timestamp", time.value)
        checks.add(label, "_time IS NULL AND _when IS NULL", "empty")
        checks.add(label, "_time IS NULL", f"no time of the form {' or '.join(time.formats)}", "_when")
        checks.add(label, "_time < 0", "before 1970", "_when")
        checks.add(label, f"_time > {until_us}", f"later than {from_micros(until_us):%Y-%m-%d %H:%M} UTC", "_when")
        when = f"nullif({value}::VARCHAR, '') AS _when"
        read = f"SELECT *, {moment.local} AS _local, {moment.instant} AS _instant, {when} FROM ({rows})"
        micros = TimeSql("_local", "_instant").micros(time.zone)
        timed = checks.applied(f"SELECT * EXCLUDE (_instant), {micros} AS _time FROM ({read})")
        self._run(f"CREATE TABLE kept AS SELECT * EXCLUDE (_when) FROM ({timed})", {place: time.value}, "judged")
        if self._undropped > (distinct := self._count("kept")):
            self._dropped["equal to an earlier row"] = self._undropped - distinct
        self._connection.execute("DROP VIEW judged; DROP TABLE lines")
        self._faults += checks.collect(self._connection, "kept", self._rows.placed)
        self._judge_clock_changes(label)

    def _time(self, value: str, sql_type: str) -> TimeSql:
        """Return SQL of the time in a row, in the form of its file."""
        time = self._mapping.time
        for number, form in enumerate(time.formats):
            if form not in FORMS and "%" not in form:
                raise self._mapping.wrong(
                    ("time", "formats"),
                    f"{form!r} (number {number + 1}) is no form of time: give one of {', '.join(FORMS)}, or strptime's "
                    "codes such as %d.%m.%Y %H:%M",
                )
        if not self._rows_of(f"SELECT 1 FROM pg_timezone_names() WHERE name = {literal(time.zone)}"):
            raise self._mapping.wrong(("time", "zone"), f"{time.zone!r} is no time zone; Europe/Paris and UTC are")
        try:
            read = [time_sql(value, sql_type, form, self._mapping.file) for form in time.formats]
            micros = [variant.micros(time.zone) for variant in read]
            self._connection.execute(f"DESCRIBE SELECT {', '.join(micros)} FROM judged")
        except duckdb.Error as error:
            raise self._mapping.wrong(("time", "formats"), error_line(error)) from error
        if len(read) == 1:
            return read[0]
        chosen = self._forms(value, micros)
        local = " ".join(f"WHEN {file} THEN {read[number].local}" for file, number in chosen.items())
        instant = " ".join(f"WHEN {file} THEN {read[number].instant}" for file, number in chosen.items())
        if not chosen:
            return read[0]
        return TimeSql(f"CASE _row >> 40 {local} END", f"CASE _row >> 40 {instant} END")

    def _forms(self, value: str, micros: Sequence[str]) -> dict[int, int]:
        """Return the number of the form that the times of each file are in, where several may be.

        Raises ConfigurationError where two read all times of a file, and read them differently.
        """
        counts = self._rows_of(
            f"SELECT _row >> 40, count({value}), {', '.join(f'count({sql})' for sql in micros)} FROM judged "
            "WHERE _reason IS NULL GROUP BY ALL ORDER BY ALL"
        )
        chosen = {}
        for file, _, *read in counts:
            best = [number for number, count in enumerate(read) if count == max(read)]
            chosen[file] = best[0]
            for other in best[1:]:
                differing = self._rows_of(
                    f"SELECT {value}::VARCHAR FROM judged WHERE _row >> 40 = {file} AND _reason IS NULL "
                    f"AND {micros[best[0]]} <> {micros[other]} ORDER BY _row LIMIT 1"
                )
                if differing and max(read):
                    first, second = (self._mapping.time.formats[number] for number in (best[0], other))
                    raise self._mapping.wrong(
                        ("time", "formats"),
                        f"{self._rows.sources[file].name} can be read as {first!r} and as {second!r}, which differ in "
                        f"{differing[0][0]!r}; keep the one that is meant",
                    )
        return chosen

    def _until(self, now_us: int) -> int:
        """Return the latest valid time, UTC microseconds."""
        if not self._mapping.time.until:
            return now_us + FUTURE_TOLERANCE_US
        read = time_sql(literal(self._mapping.time.until), "VARCHAR", "iso", self._mapping.file)
        [[until]] = self._rows_of(f"SELECT {read.micros(self._mapping.time.zone)}")
        if until is None:
            raise self._mapping.wrong(("time", "until"), f"{self._mapping.time.until!r} is no time like 2026-11-26")
        return int(until)

    def _judge_clock_changes(self, label: str) -> None:
        """Count, or refuse, the rows at local times that the clocks of the zone repeat or leave out."""
        if self._mapping.time.zone == "UTC":
            return
        odd = [quarter for (quarter,) in self._rows_of(odd_hours(self._mapping.time.zone))]
        if not odd:
            return
        listed = ", ".join(f"TIMESTAMP '{quarter}'" for quarter in odd)
        at_change = f"time_bucket(INTERVAL 15 MINUTE, _local) IN ({listed})"
        if self._mapping.time.clock_change == "standard":
            [[self._clock_change]] = self._rows_of(f"SELECT count(*) FROM kept WHERE {at_change}")
            return
        checks = Checks()
        checks.add(label, at_change, "a time that the clocks repeat or leave out", "_local")
        self._connection.execute(
            f"CREATE TABLE sure AS {checks.applied('SELECT * EXCLUDE (_fault, _value) FROM kept')}; "
            "DROP TABLE kept; ALTER TABLE sure RENAME TO kept"
        )
        self._faults += checks.collect(self._connection, "kept", self._rows.placed)

    def _make_events(self) -> int:
        """Make the table `events` of `kept`; return how many there were before faulty ones were left out."""
        mapping = self._mapping
        for number, expression in enumerate(mapping.join):
            self._type(expression, ("join", number), "kept")
        group = f"GROUP BY {', '.join(map(self._sql, mapping.join))}" if mapping.join else ""
        time, row = ("min(_time)", "min(_row)") if group else ("_time", "_row")
        raws, values = [f"{time} AS timestamp_us", f"{row} AS _row"], ["timestamp_us", "_row"]
        checks = Checks()
        expressions: dict[_Place, str] = {}
        for column in self._declared:
            place = ("event", column.name)
            if column.name in mapping.event:
                expression = expressions[place] = mapping.event[column.name]
            else:
                expression = self._own_id() if column.name == "event_id" else str(column.default)
            sql_type = self._type(expression, place, "kept", group)
            raw, name = f"_raw_{column.name}", identifier(column.name)
            raws.append(f"{self._sql(expression)} AS {raw}")
            value = converted(raw, sql_type, column.kind, mapping.file)
            if column.kind == "decimal":
                value = f"round({value}, {column.decimals})"
            values += [f"{value} AS {name}", raw]
            check_event(checks, column, self._label(column.name, expression), name, raw)
        inner = f"SELECT {', '.join(raws)} FROM kept {group}"
        listed = ", ".join(identifier(column.name) for column in self._declared)
        judged = checks.applied(f"SELECT {', '.join(values)} FROM ({inner})")
        made = f"SELECT {listed}, timestamp_us, _row, _fault, _value FROM ({judged})"
        self._run(f"CREATE TABLE events AS {made}", expressions, "kept", group)
        self._connection.execute("DROP TABLE kept")
        events = self._count("events")
        self._faults += checks.collect(self._connection, "events", self._rows.placed)
        return events

    def _own_id(self) -> str:
        """Return SQL of an id that is the same in every import: a digest of a row's columns, or of what joins rows."""
        parts = self._mapping.join or [identifier(name) for name in self._columns]
        digest = f"md5(json_array({', '.join(f'{self._sql(part)}::VARCHAR' for part in parts)})::VARCHAR)"
        if self._mapping.equal_rows == "drop" or self._mapping.join:
            return digest
        return f"concat_ws('-', {digest}, nullif(row_number() OVER (PARTITION BY {digest} ORDER BY _row), 1))"

    def _refuse_second_ids(self) -> None:
        """Leave out events with the event_id of an earlier row: two different rows, or the mapping, are wrong."""
        checks = Checks()
        checks.add(
            self._label("event_id", self._mapping.event.get("event_id", "")), "", "the event_id of an earlier row too"
        )
        self._connection.execute(
            "UPDATE events SET _fault = 0, _value = event_id FROM "
            "(SELECT event_id AS id, min(_row) AS first FROM events GROUP BY event_id HAVING count(*) > 1) "
            "WHERE event_id = id AND _row <> first"
        )
        self._faults += checks.collect(self._connection, "events", self._rows.placed)
        self._connection.execute("ALTER TABLE events DROP _fault; ALTER TABLE events DROP _value")

    def _report(self, merged: int) -> ImportReport:
        names = tuple(source.name for source in self._rows.sources)
        keys = [column.name for column in self._declared if column.kind == "key" and column.name != "event_id"]
        distinct = ", ".join(f"count(DISTINCT {identifier(key)})" for key in keys)
        [[events, first_us, last_us, *counts]] = self._rows_of(
            f"SELECT count(*), min(timestamp_us), max(timestamp_us), {distinct} FROM events"
        )
        if events == 0:
            left_out = "; ".join(f"{reason}: {count}" for reason, count in self._dropped.items())
            why = left_out or ("all are faulty" if self._faults else "there is none in it")
            raise DataError(f"{', '.join(names)}: no events in {self._rows.count} rows ({why})")
        types = self._rows_of("SELECT event_type, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC, 1")
        return ImportReport(
            mapping=self._mapping.name,
            files=names,
            rows=self._rows.count,
            events=events,
            merged=merged,
            dropped=self._dropped,
            faults=tuple(self._faults),
            clock_change=self._clock_change,
            undone=self._undone(keys),
            types=dict(types),
            keys=dict(zip(keys, counts, strict=True)),
            first_us=first_us,
            last_us=last_us,
        )

    def _undone(self, keys: Sequence[str]) -> dict[str, int]:
        """Count the events that undo an event which is not before them, of the same keys."""
        by, undone = ", ".join(map(identifier, keys)), {}
        for kind, target in self._mapping.undoes.items():
            [[count]] = self._rows_of(
                f"SELECT count(*) FROM events LEFT JOIN (SELECT {by}, min(timestamp_us) AS first_us FROM events "
                f"WHERE event_type = {literal(target)} GROUP BY {by}) USING ({by}) "
                f"WHERE event_type = {literal(kind)} AND coalesce(first_us > timestamp_us, true)"
            )
            if count:
                undone[f"{kind} of what has no earlier {target} in these files"] = count
        return undone

    def _sql(self, expression: str) -> str:
        """Return an expression of the mapping as a part of SQL; a column's name alone needs no quotes."""
        name = expression.strip()
        return identifier(name) if name in self._columns else f"({expression}\n)"  # a comment ends with its line

    def _label(self, column: str, expression: str) -> str:
        """Return how a fault names a column: by the source's column, where that is all of the expression."""
        name = expression.strip().removeprefix('"').removesuffix('"')
        return name if name in self._columns else column

    def _type(self, expression: str, place: _Place, relation: str, group: str = "") -> str:
        """Return the DuckDB type of an expression. Raises ConfigurationError where it is none."""
        try:
            described = self._rows_of(f"DESCRIBE SELECT {self._sql(expression)} AS x FROM {relation} {group}")
        except duckdb.ParserException as error:
            hint = "a column's name that is also a word of SQL, or has blanks, goes between double quotes"
            raise self._mapping.wrong(place, f"{self._alone(expression) or error_line(error)}; {hint}") from error
        except duckdb.Error as error:
            raise self._mapping.wrong(place, error_line(error)) from error
        if not group:
            try:
                self._connection.execute(f"DESCRIBE SELECT _row, {self._sql(expression)} AS x FROM {relation}")
            except duckdb.Error as error:
                raise self._mapping.wrong(
                    place, "an aggregate, where every row is an event: `join` says which rows are one event together"
                ) from error
        return str(described[0][1])

    def _alone(self, expression: str) -> str:
        """Return what is wrong with an expression by itself, in a message that names nothing of the query around it."""
        try:
            self._connection.extract_statements(f"SELECT {expression}")
        except duckdb.Error as error:
            return error_line(error)
        return ""

    def _run(self, query: str, expressions: dict[Any, str], relation: str, group: str = "") -> list[Any]:
        """Run a query made of expressions; the ConfigurationError names the one that fails on some row."""
        try:
            return self._rows_of(query)
        except duckdb.Error as error:
            for place, expression in expressions.items():
                try:
                    self._rows_of(f"SELECT count(x) FROM (SELECT {self._sql(expression)} AS x FROM {relation} {group})")
                except duckdb.Error as culprit:
                    raise self._mapping.wrong(
                        place, f"{error_line(culprit)}; TRY_CAST gives NULL where a value is none"
                    ) from culprit
            raise ConfigurationError(f"{self._mapping.path}: {error_line(error)}") from error

    def _types(self, table: str) -> dict[str, str]:
        return {name: sql_type for name, sql_type, *_ in self._rows_of(f"DESCRIBE {table}")}

    def _count(self, table: str) -> int:
        return int(self._rows_of(f"SELECT count(*) FROM {table}")[0][0])

    def _rows_of(self, query: str) -> list[Any]:
        return self._connection.execute(query).fetchall()
