"""SQL that reads the times of a source, as a mapping says they are written."""

from typing import NamedTuple

from data.importers.convert import converted, literal
from data.importers.mapping import FileOptions

__all__ = ["FORMS", "TimeSql", "local_micros", "odd_hours", "time_sql"]

_UNITS = {"unix": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
FORMS = (*_UNITS, "iso", "excel")
"""Forms of time that have a name; all others are strptime's codes."""

_DATE, _CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
_LOCAL = f"^{_DATE}([T ]{_CLOCK})?$"
_ZONED = f"^{_DATE}[T ]{_CLOCK} ?(Z|UTC|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$"
_OFFSET = r" ?([+-][0-9]{2}:?[0-9]{2})( UTC)?$"
"""An offset that DuckDB reads only directly behind the clock."""

_NO_SECONDS = r"^(.{10})[T ]([0-9]{2}:[0-9]{2})( ?(Z|UTC|[+-].*))$"
"""A time that DuckDB reads only with seconds."""

_MOST = 2**53 / 1_000_000
"""Seconds since 1970 beyond which microseconds are not exact in floating point; in the year 2255."""


class TimeSql(NamedTuple):
    """SQL of a time: a local one (TIMESTAMP), or one that has its zone, in UTC microseconds; NULL where it is not."""

    local: str = "NULL::TIMESTAMP"
    instant: str = "NULL::BIGINT"

    def micros(self, zone: str) -> str:
        """Return SQL of the time in UTC microseconds; local times are those of `zone`."""
        return f"coalesce({self.instant}, {local_micros(self.local, zone)})"


def local_micros(local: str, zone: str) -> str:
    """Return SQL of a zone's local time in UTC microseconds."""
    return f"epoch_us({local})" if zone == "UTC" else f"epoch_us(timezone({literal(zone)}, {local}))"


def time_sql(value: str, sql_type: str, form: str, options: FileOptions) -> TimeSql:
    """Return SQL that reads a value of a DuckDB type as a time of a form."""
    if sql_type.startswith("TIMESTAMP WITH"):
        return TimeSql(instant=f"epoch_us({value})")
    if sql_type.startswith(("TIMESTAMP", "DATE")):
        return TimeSql(f"{value}::TIMESTAMP")
    if form in _UNITS:
        unit = _UNITS[form]
        whole = converted(value, sql_type, "integer", options)
        number = converted(value, sql_type, "number", options)
        micros = f"coalesce(try_cast({whole} * {unit}::HUGEINT AS BIGINT), round({number} * {unit})::BIGINT)"
        return TimeSql(instant=f"CASE WHEN abs({number}) < {_MOST * 1e6 / unit} THEN {micros} END")
    if form == "excel":
        number = converted(value, sql_type, "number", options)
        since = f"TIMESTAMP '1899-12-30' + to_microseconds((round({number} * 86400000) * 1000)::BIGINT)"
        return TimeSql(f"CASE WHEN {number} BETWEEN 1 AND 2958465 THEN {since} END")
    text = converted(value, sql_type, "text", options)
    if form == "iso":
        text = f"regexp_replace(replace({text}, ',', '.'), '{_OFFSET}', '\\1')"
        text = f"regexp_replace({text}, '{_NO_SECONDS}', '\\1 \\2:00\\3')"
        return TimeSql(
            f"try_cast(regexp_extract({text}, '{_LOCAL}') AS TIMESTAMP)",
            f"epoch_us(try_cast(regexp_extract({text}, '{_ZONED}') AS TIMESTAMPTZ))",
        )
    parsed = f"try_strptime({text}, {literal(form)})"
    return TimeSql(instant=f"epoch_us({parsed})") if "%z" in form or "%Z" in form else TimeSql(parsed)


def odd_hours(zone: str) -> str:
    """Return SQL of the quarters of an hour (`quarter`, of `kept._local`) that clocks of a zone repeat or leave out.

    Clocks change at full quarters, by 30 minutes to 2 hours; of a repeated time DuckDB takes the later, standard one.
    """
    name = literal(zone)
    again = " OR ".join(f"timezone({name}, there - INTERVAL {by} MINUTE) = quarter" for by in (30, 60, 120))
    quarters = "SELECT DISTINCT time_bucket(INTERVAL 15 MINUTE, _local) AS quarter FROM kept WHERE isfinite(_local)"
    return (
        f"SELECT quarter FROM (SELECT quarter, timezone({name}, quarter) AS there FROM ({quarters})) "
        f"WHERE timezone({name}, there) <> quarter OR {again}"
    )
