"""A sample of a file that nobody has described yet: its columns, and how it is to be read."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgspec

from data.drafts.seen import MOSTLY, SeenColumn
from data.errors import DataError
from data.importers.beginning import guess_options
from data.importers.convert import elements, emptied, identifier, literal
from data.importers.mapping import FileOptions
from data.importers.source_file import SourceFile, error_line, expand_names, open_source
from data.printable import printable

__all__ = ["Sample", "sample_of"]

_ROWS = 20_000
_MOST_FIELDS = 20
_LINES = re.compile(
    r"item|line|product|position|article|artikel|entries|details|events|orders|basket|cart", re.IGNORECASE
)
"""Names of columns of lists whose elements are events each, such as the items of an order."""

_NOTHING = ("NULL", "null", "(null)", r"\N", "NaN", "nan", "<NA>", "#N/A", "(not set)")
_MAYBE_NOTHING = ("NA", "N/A", "n/a", "None", "none", "-", "--", "?")
_ID_LIKE = re.compile(r"id$|no$|nr$|code|sku|user|cust|client|item|prod|kunde", re.IGNORECASE)

_ISO_MARKS = "EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|TRY|ZAR|SGD|HKD|KRW|RUB|UAH"
_MARK = rf"(?:US|A|C|NZ|R|HK|S)?\p{{Sc}}|{_ISO_MARKS}|Rs\.?|kr\.?|zł|Kč|Fr\.?|Ft|lei|TL|руб\.?"
_AMOUNT = r"[+-]?[0-9][0-9.,'\x{2019}\x{a0}\x{202f} ]*"
_PRICED = rf"\s*[(+-]?\s*(?:(?:{_MARK})\s*{_AMOUNT}|{_AMOUNT}\s*(?:{_MARK}))\s*-?[)]?\s*"

_MARKS = ((".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (".", " "), (".", "'"), (",", "'"))
_VALUE = re.compile(r"[+-]?[0-9][0-9.,:/TZ +-]*")
"""A number or a time, which is no name of a column."""


@dataclass(frozen=True)
class Sample:
    """The columns of a file, and how it is to be read.

    `each` is the column of lists of which each element is an event, if any. `is_part` is whether only the beginning of
    the file was sampled. `doubts` are what the values leave open, a sentence each.
    """

    file: str
    columns: list[SeenColumn]
    options: FileOptions
    each: str = ""
    is_part: bool = False
    doubts: list[str] = field(default_factory=list)


@contextmanager
def sample_of(name: str, names: Sequence[str] = ()) -> Iterator[Sample]:
    """Yield a sample of a file, or of the first one that a glob matches; `names` replace a missing header.

    Raises DataError where the file cannot be read, has no rows or no header.
    """
    first = expand_names([name])[0]
    with closing(duckdb.connect()) as connection, tempfile.TemporaryDirectory(prefix="encore-propose-") as scratch:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")  # one thread: a draft of a file is always the same
        options = guess_options(first)
        if names:
            options = msgspec.structs.replace(options, names=tuple(names))
        source = open_source(connection, first, options, Path(scratch), sample=True)
        try:
            connection.execute(
                f"CREATE TABLE sample AS SELECT * FROM (SELECT * FROM {source.relation} WHERE NOT _broken) "
                f"USING SAMPLE {_ROWS} ROWS (reservoir, 7)"
            )
            yield _read(connection, source, options)
        except duckdb.Error as error:
            raise DataError(f"{first}: cannot be read: {error_line(error)}") from error


def _read(connection: duckdb.DuckDBPyConnection, source: SourceFile, options: FileOptions) -> Sample:
    [[rows]] = connection.execute("SELECT count(*) FROM sample").fetchall()
    doubts = []
    if rejected := source.rejected(connection):
        row, column, reason = rejected[0]
        where = f"row {row}, column {printable(column)}" if column else f"row {row}"
        if len(rejected) > rows:
            raise DataError(f"{source.name}: {where}: {error_line(reason)} ({len(rejected):,} such rows)")
        doubts.append(f"{len(rejected):,} of the sample's rows cannot be read: {where}: {error_line(reason)}")
    if not options.names and source.rejects:
        _refuse_values_as_names(source)
    types = dict(source.columns)
    options = msgspec.structs.replace(options, empty=_words_for_nothing(connection, types))
    if options.empty:
        texts = [identifier(name) for name, sql_type in types.items() if sql_type == "VARCHAR"]
        replaced = ", ".join(f"{emptied(text, options)} AS {text}" for text in texts)
        connection.execute(f"CREATE OR REPLACE TABLE sample AS SELECT * REPLACE ({replaced}) FROM sample")
    list_column = _lines(connection, source, types)
    columns = [
        column
        for name, sql_type in types.items()
        for column in _fields(connection, source, name, sql_type, options, is_element=name == list_column)
    ]
    if not any(column.filled for column in columns):
        raise DataError(f"{source.name}: there are no rows to propose a mapping from")
    options = _with_marks(columns, _with_currency(columns, options))
    doubts += filter(None, (_three_digits(column, options) for column in columns))
    if options.empty:
        doubts.append(f"taken for no value: {', '.join(map(repr, options.empty))}; see `empty` in the mapping")
    columns = [
        SeenColumn(connection, column.name, column.sql_type, options, column.value if column.is_part else None)
        for column in columns
    ]
    return Sample(source.name, columns, options, list_column, is_part=source.is_beginning, doubts=doubts)


def _refuse_values_as_names(source: SourceFile) -> None:
    odd = next((name for name in source.columns if _VALUE.fullmatch(name)), None)
    if odd is not None:
        raise DataError(
            f"{source.name}: row {source.first_row - 1} has {printable(odd, 40)!r} where the name of a column should "
            f"be; without a header, say what the {len(source.columns)} columns are called: "
            "`encore init --names user_id,item_id,...`, or `names` under [file] of a mapping"
        )


def _words_for_nothing(connection: duckdb.DuckDBPyConnection, types: dict[str, str]) -> tuple[str, ...]:
    """Return the texts that mean no value: some in any column, some only among ids, numbers or times."""
    missing: dict[str, None] = {}
    for name, sql_type in types.items():
        if sql_type != "VARCHAR":
            continue
        text = f"trim({identifier(name)})"
        words = ", ".join(map(literal, (*_NOTHING, *_MAYBE_NOTHING)))
        counted = connection.execute(
            f"SELECT {text} AS x, count(*) FROM sample WHERE x IN ({words}) GROUP BY x ORDER BY x"
        ).fetchall()
        if not counted:
            continue
        [[values, digits]] = connection.execute(
            f"SELECT count(*), count(*) FILTER (regexp_matches({text}, '^[^A-Za-z]?[0-9]')) FROM sample "
            f"WHERE {text} <> '' AND {text} NOT IN ({words})"
        ).fetchall()
        is_sure = bool(_ID_LIKE.search(name)) or (values and digits == values)
        missing |= {word: None for word, _ in counted if word in _NOTHING or is_sure}
    return tuple(missing)


def _lines(connection: duckdb.DuckDBPyConnection, source: SourceFile, types: dict[str, str]) -> str:
    """Unnest the first column of lists of bought items, one row per element; return its name, or an empty one."""
    if not source.is_sparse:
        return ""
    for name in types:
        if not _LINES.search(name):
            continue
        value = identifier(name)
        [[lists, filled]] = connection.execute(
            f"SELECT count(*) FILTER (starts_with({value}, '[{{')), "
            f"count(*) FILTER ({value} IS NOT NULL AND {value} <> '[]') FROM sample"
        ).fetchall()
        if lists and lists == filled:
            items, _ = elements(value, "VARCHAR")
            connection.execute(
                f"CREATE OR REPLACE TABLE sample AS SELECT * REPLACE (unnest({items}) AS {value}) FROM sample"
            )
            return name
    return ""


def _fields(
    connection: duckdb.DuckDBPyConnection,
    source: SourceFile,
    name: str,
    sql_type: str,
    options: FileOptions,
    *,
    is_element: bool,
) -> Iterator[SeenColumn]:
    """Yield a column, or the fields of its JSON objects, including nested ones."""
    column = SeenColumn(connection, name, sql_type, options)
    if not source.is_sparse or column.is_scalar:
        yield column
        return
    prefix = "" if is_element else f"{name}."
    yield from _parts(connection, column, column.value, prefix, options, depth=2)


def _parts(
    connection: duckdb.DuckDBPyConnection,
    whole: SeenColumn,
    value: str,
    prefix: str,
    options: FileOptions,
    *,
    depth: int,
) -> Iterable[SeenColumn]:
    text = f"({value})"
    is_object = f"CASE WHEN json_valid({text}::VARCHAR) THEN json_type({text}) = 'OBJECT' ELSE false END"
    keys = connection.execute(
        f"SELECT key FROM (SELECT unnest(json_keys({text})) AS key FROM sample WHERE {is_object}) "
        f"GROUP BY key ORDER BY count(*) DESC, key LIMIT {_MOST_FIELDS}"
    ).fetchall()
    if not depth or not keys:
        yield whole
        return
    for (key,) in keys:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ -]*", key):
            continue
        path = f"({value}->>{literal(key)})"
        part = SeenColumn(connection, prefix + key, "VARCHAR", options, path)
        if part.is_scalar:
            yield part
        else:
            inner = f"{value}->{literal(key)}"
            yield from _parts(connection, part, inner, f"{prefix}{key}.", options, depth=depth - 1)


def _with_currency(columns: Iterable[SeenColumn], options: FileOptions) -> FileOptions:
    """Return the options with the currency mark that most numbers of some column have."""
    for column in columns:
        if column.sql_type == "VARCHAR" and column.share_like(_PRICED) >= MOSTLY:
            marks = column.parts_like(f"({_MARK})")
            return msgspec.structs.replace(options, currency=marks[0])
    return options


def _with_marks(columns: Sequence[SeenColumn], options: FileOptions) -> FileOptions:
    """Return the options with the marks that read most columns as numbers; three digits after one mean thousands."""
    texts = [column for column in columns if column.sql_type == "VARCHAR" and column.share_like(r".*[0-9].*")]
    texts = [column for column in texts if column.share_like(r"[0-9]+") < 1]

    marked = [msgspec.structs.replace(options, decimal=decimal, thousands=thousands) for decimal, thousands in _MARKS]
    shares = [column.shares(marked) for column in texts]
    grouped = {mark: [_is_grouped(column, mark, options) for column in texts] for mark in ".,"}

    def score(place: int) -> tuple[float, int]:
        read = [column_shares[place] >= MOSTLY for column_shares in shares]
        odd = sum(is_read and is_odd for is_read, is_odd in zip(read, grouped[marked[place].decimal], strict=True))
        return sum(column_shares[place] for column_shares, is_read in zip(shares, read, strict=True) if is_read), -odd

    return marked[max(range(len(marked)), key=score)]  # the first of the best


def _is_grouped(column: SeenColumn, mark: str, options: FileOptions) -> bool:
    """Return whether a mark can be that of thousands.

    All numbers of the column have groups of three digits behind it, or are below 1000; one at least has the mark.
    """
    sign = rf"\s*(?:{re.escape(options.currency)})?\s*" if options.currency else r"\s*"
    grouped = rf"{sign}[+-]?[1-9][0-9]{{0,2}}(?:[{mark}][0-9]{{3}})+{sign}"
    plain = rf"{sign}[+-]?[0-9]{{1,3}}{sign}"
    return column.share_like(grouped) > 0 and column.share_like(f"{grouped}|{plain}") == 1


def _three_digits(column: SeenColumn, options: FileOptions) -> str:
    """Return the question about a column whose mark may be of decimals or of thousands; empty where there is none."""
    mark = options.thousands or options.decimal
    if column.sql_type != "VARCHAR" or mark not in ".," or not _is_grouped(column, mark, options):
        return ""
    example = column.parts_like(rf"([0-9]+[{mark}][0-9]{{3}})")[0]
    read, other = ("a whole number", "decimals") if options.thousands else ("a number with three decimals", "thousands")
    return (
        f"column {printable(column.name)}: {example!r} is taken for {read}; if the mark is of {other}, say so under "
        "[file] of the mapping"
    )
