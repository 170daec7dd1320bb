"""A mapping says what a file means; whatever a file holds is read right, or refused by file, row and column."""

import gzip
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.default_shop import SHOP, ShopEvent, decode_event
from data.errors import ConfigurationError, DataError, FaultyRowsError
from data.event import Event
from data.importers import ImportReport, import_files, load_mapping
from data.importers.columns import columns_of
from data.importers.mapping import Mapping, parse_mapping
from data.importers.report import Fault
from data.importers.steps import Steps
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS

SAMPLES = Path(__file__).parents[1] / "samples"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
NOW_US = round(NOW.timestamp() * 1_000_000)

PLAIN = """
name = "shop"
[columns]
who = "id"
many = "integer"
price = "number"
[time]
value = "at"
[event]
event_type = "'purchase'"
user_id = "who"
product_id = "what"
amount = "price"
quantity = "many"
"""
HEADER = "at,who,what,many,price"
ROW = "2024-05-01 12:00:00,7,A1,2,9.5"


def plain(old: str = "", new: str = "") -> Mapping:
    assert old in PLAIN
    return parse_mapping(PLAIN.replace(old, new, 1) if old else PLAIN, "shop.toml")


def with_file(*lines: str) -> Mapping:
    return plain("[time]", "[file]\n" + "\n".join(lines) + "\n[time]")


def run(mapping: Mapping, *files: Path | str, skip_faults: bool = False) -> tuple[list[dict[str, Any]], ImportReport]:
    tables, report = import_files(mapping, files, now_us=NOW_US, skip_faults=skip_faults)
    return pa.concat_tables(tables).to_pylist(), report


def csv(tmp_path: Path, *rows: str, header: str = HEADER, name: str = "shop.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def faults(mapping: Mapping, *files: Path) -> list[Fault]:
    with pytest.raises(FaultyRowsError) as raised:
        run(mapping, *files)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{raised.value.faults[0].file}: row ")
    return list(raised.value.faults)


def only_fault(mapping: Mapping, *files: Path) -> tuple[int, str | None, str, str | None]:
    [fault] = faults(mapping, *files)
    return fault.row, fault.column, fault.reason, fault.value


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_columns_are_those_that_an_event_declares() -> None:
    by_name = {column.name: column for column in columns_of(SHOP)}
    assert {*by_name, "timestamp"} == set(ShopEvent.__struct_fields__) == set(EVENT_COLUMNS.names)
    assert by_name["quantity"][1:5] == ("integer", "1", 1, 2**31 - 1)
    assert by_name["user_id"].longest == 128
    assert by_name["user_id"].default is None


# Shops of other shapes.


def test_a_german_shop(tmp_path: Path) -> None:
    events, report = run(load_mapping(str(SAMPLES / "kaffee.toml")), SAMPLES / "kaffee.csv")
    assert report.dropped == {"no customer": 1}
    assert [(event["event_id"], event["user_id"], event["amount"], event["timestamp"]) for event in events] == [
        ("R-1001-K-07", "00123", 25.8, at(2024, 3, 31, 0, 30)),
        ("R-1001-F-01", "00123", 3.14, at(2024, 3, 31, 0, 30)),
        ("R-1002-K-07", "123", 12.9, at(2024, 3, 31, 1, 15)),
        ("R-1003-K-11", "00124", 10495.0, at(2024, 4, 2, 7, 5)),  # a blank after the customer
        ("R-1004-K-07", "00123", 12.9, at(2024, 4, 5, 15, 40)),  # one of the two of R-1001, sent back
        ("R-1006-K-11", "00130", 3138.5, at(2024, 10, 27, 1, 30)),
        ("R-1007-F-01", "00130", 13.96, at(2024, 10, 28, 11, 0)),
    ]
    assert report.clock_change == 1
    assert events[1]["category"] == "Zubehör"
    assert [event["event_type"] for event in events] == ["purchase"] * 4 + ["return"] + ["purchase"] * 2
    assert [event["discount"] for event in events] == [0, 0.35, 0, 0, 0, 10, 0]
    assert report.undone == {}
    assert events[6]["metadata"] == '{"name":"Filter\\nGröße 4"}'


@pytest.mark.parametrize("packed", [False, True])
def test_clicks_in_json_lines(tmp_path: Path, packed: bool) -> None:
    path = SAMPLES / "clicks.jsonl"
    if packed:
        path = tmp_path / "clicks.jsonl.gz"
        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + (SAMPLES / "clicks.jsonl").read_bytes()) + bytes(512))
    events, report = run(load_mapping(str(SAMPLES / "clicks.toml")), path)
    assert report.dropped == {"refund": 1}
    assert [(each["event_type"], each["user_id"], each["product_id"], each["amount"]) for each in events] == [
        ("view", "9007", "00101", 19.5),
        ("add_to_cart", "9007", "00101", 39.0),
        ("purchase", "9007", "00101", 39.0),
        ("view", "9008", "101", 7.0),
    ]
    assert [event["timestamp"] for event in events] == [
        at(2025, 1, 5, 9, 0), at(2025, 1, 5, 9, 1), at(2025, 1, 5, 9, 5), at(2025, 1, 10, 8, 30),
    ]  # fmt: skip
    assert events[3]["category"] == 'Cups; "new"'


def test_the_mapping_in_the_docs_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mappings.md").read_text()
    written = parse_mapping(page.partition("```toml\n")[2].partition("```")[0], "")
    loaded = load_mapping(str(SAMPLES / "kaffee.toml"))
    assert written == msgspec.structs.replace(loaded, path="", text=written.text)


def test_what_takes_back_something_from_before_the_files_is_told(tmp_path: Path) -> None:
    """A return before its purchase, of another product, by another user; and one that takes back what there is."""
    returns = plain("event_type = \"'purchase'\"", "event_type = \"if(many < 0, 'return', 'purchase')\"")
    mapping = parse_mapping(
        returns.text.replace('"many"', '"abs(many)"') + '[undoes]\nreturn = "purchase"\n', "shop.toml"
    )
    rows = [ROW]
    for day, who, what in ((1, 7, "A2"), (2, 8, "A1"), (30, 7, "A1"), (1, 7, "A1")):
        month = "04" if day == 30 else "05"
        rows.append(f"2024-{month}-{day:02} 12:00:00,{who},{what},-1,9.5")
    events, report = run(mapping, csv(tmp_path, *rows))
    assert report.types == {"return": 4, "purchase": 1}
    assert report.undone == {"return of what has no earlier purchase in these files": 3}
    assert "  3 return of what has no earlier purchase in these files" in str(report).splitlines()
    assert events[0]["event_type"] == "return"
    with pytest.raises(ConfigurationError, match="there are no events of type 'refund'; there are view, add_to"):
        run(parse_mapping(mapping.text.replace('return = "pur', 'refund = "pur'), "shop.toml"), csv(tmp_path, *rows))


# One file, in every dress.


def dresses(tmp_path: Path) -> Iterable[tuple[str, Path | str]]:
    """The same two rows in every format and compression."""
    rows = [ROW, "2024-05-02 12:00:00,8,A2,1,5"]
    text = csv(tmp_path, *rows).read_text()
    yield "csv", tmp_path / "shop.csv"
    yield "uri", f"file://{tmp_path}/shop.csv"
    yield "glob", f"{tmp_path}/sho*.csv"
    for name, content in {
        "bom.csv": b"\xef\xbb\xbf" + text.encode(),
        "padded.csv.gz": gzip.compress(text.encode()) + bytes(1024),
        "shop.csv.zst": pa.compress(text.encode(), "zstd", asbytes=True),
        "crlf.csv": text.replace("\n", "\r\n").encode(),
        "mixed.csv": text.replace("\n", "\r\n", 1).encode(),
        "blanks.csv": text.replace("A1", "A1 ").replace(",7,", ", 7\u00a0,").encode(),
        "shop.jsonl": b'{"at":"2024-05-01T12:00Z","who":7,"what":"A1","many":2,"price":9.50}\n'
        b'{"at":"2024-05-02 12:00:00","what":"A2","many":"1","price":"5","who":"8"}\n',
        "shop.json": b'[{"at":"2024-05-01T12:00Z","who":7.0,"what":"A1","many":2.0,"price":9.5},\n'
        b'{"at":"2024-05-02 12:00:00","what":"A2","many":1,"price":5,"who":"8"}]',
    }.items():
        (tmp_path / name).write_bytes(content)
        yield name, tmp_path / name
    table = pa.table(
        {
            "at": pa.array([at(2024, 5, 1, 12), at(2024, 5, 2, 12)]).cast(pa.timestamp("ms")),
            "who": pa.array([7.0, 8.0]),
            "what": ["A1 ", "A2"],
            "many": pa.array([2, 1], pa.int8()),
            "price": pa.array(["9.5", "5"]).cast(pa.decimal128(9, 2)),
        }
    )
    pq.write_table(table, tmp_path / "shop.parquet")
    yield "parquet", tmp_path / "shop.parquet"


@pytest.mark.long
@pytest.mark.integration
def test_the_same_rows_in_every_format_are_the_same_events(tmp_path: Path) -> None:
    mapping = parse_mapping(PLAIN + "event_id = \"concat_ws('-', who, what)\"\n", "shop.toml")
    wanted = [
        ("7-A1", "7", "A1", 9.5, 2, at(2024, 5, 1, 12)),
        ("8-A2", "8", "A2", 5.0, 1, at(2024, 5, 2, 12)),
    ]
    for name, path in dresses(tmp_path):
        events, _ = run(mapping, path)
        columns = ("event_id", "user_id", "product_id", "amount", "quantity", "timestamp")
        assert [tuple(event[column] for column in columns) for event in events] == wanted, name


@pytest.mark.integration
def test_several_files_are_one_history_and_faults_name_theirs(tmp_path: Path) -> None:
    one, two = csv(tmp_path, ROW, name="a.csv"), csv(tmp_path, "2024-04-01,8,A2,1,5", name="b.csv")
    events, report = run(plain(), tmp_path / "*.csv")
    assert [event["user_id"] for event in events] == ["8", "7"]
    assert report.files == (str(one), str(two))
    two.write_text(two.read_text() + "2024-04-01,8,A2,x,5\n")
    [fault] = faults(plain(), one, two)
    assert (fault.file, fault.row, fault.column, fault.value) == (str(two), 3, "many", "x")
    two.write_text("at,who\n2024-01-01,8\n")
    with pytest.raises(DataError, match=r"b\.csv: there is no column 'what', which .*a\.csv has"):
        run(plain(), one, two)


@pytest.mark.integration
def test_an_id_of_a_row_is_the_same_in_every_import(tmp_path: Path) -> None:
    first, _ = run(plain(), csv(tmp_path, ROW, "2024-05-02,8,A2,1,5", ROW))
    again, _ = run(plain(), csv(tmp_path, "2024-05-02,8,A2,1,5", ROW, name="other.csv"))
    assert [event["event_id"] for event in first] == [event["event_id"] for event in again]
    kept, _ = run(plain("[columns]", 'equal_rows = "keep"\n[columns]'), csv(tmp_path, ROW, ROW, ROW))
    ids = [event["event_id"] for event in kept]
    assert ids == [first[0]["event_id"], f"{ids[0]}-2", f"{ids[0]}-3"]


# Faults of rows.


FAULTY = [
    ("2024-05-01,1.43322E+12,A1,1,1", "who", "no whole id", "1.43322E+12"),
    ("2024-05-01,257597.5,A1,1,1", "who", "no whole id", "257597.5"),
    ("2024-05-01,7,1.5E+3,1,1", "what", "no id: it lost digits", "1.5E+3"),
    ("2024-05-01,,A1,1,1", "who", "empty", None),
    ("2024-05-01,7, ,1,1", "what", "empty", None),
    ("2024-05-01,7,A\u200b1,1,1", "what", "not printable", "A\u200b1"),
    (f"2024-05-01,7,{'x' * 129},1,1", "what", "longer than 128 characters", "x" * 129),
    ("2024-05-01,7,A1,1.5,1", "many", "not a whole number", "1.5"),
    ("2024-05-01,7,A1,0,1", "many", "below 1", "0"),
    (f"2024-05-01,7,A1,{2**31},1", "many", "above 2,147,483,647", str(2**31)),
    ("2024-05-01,7,A1,1e400,1", "many", "not a whole number", "1e400"),
    ("2024-05-01,7,A1,1,1e400", "price", "not a number", "1e400"),
    ('2024-05-01,7,A1,1,"1,5"', "price", "not a number", "1,5"),
    ("2024-05-01,7,A1,1,1_000", "price", "not a number", "1_000"),
    ("2024-05-01,7,A1,1,0x10", "price", "not a number", "0x10"),
    ("2024-05-01,7,A1,1,inf", "price", "not a number", "inf"),
    ("2024-05-01,7,A1,1,-1", "price", "below 0", "-1.0"),
    ("2024-05-01,7,A1,1,", "price", "empty", None),
    ("2062-05-01,7,A1,1,1", "at", "later than 2026-11-26 00:05 UTC", "2062-05-01"),
    ("1969-05-01,7,A1,1,1", "at", "before 1970", "1969-05-01"),
    ("01.05.2024,7,A1,1,1", "at", "no time of the form iso", "01.05.2024"),
    ("2024-02-30,7,A1,1,1", "at", "no time of the form iso", "2024-02-30"),
    (",7,A1,1,1", "at", "empty", None),
]
"""A row, and the column, reason and value by which it is refused."""


@pytest.mark.integration
def test_a_faulty_row_is_refused_by_file_row_column_and_reason(tmp_path: Path) -> None:
    """Each in a file of its own, after a sound row and one with a line break."""
    rows = [row for row, *_ in FAULTY]
    broken = '"2024-05-01\n",9,A1,1,1'
    files = [csv(tmp_path, ROW, broken, row, name=f"{number:02}.csv") for number, row in enumerate(rows)]
    found = {fault.file: fault for fault in faults(plain(), *files)}
    for (_, column, reason, value), path in zip(FAULTY, files, strict=True):
        fault = found[str(path)]
        assert (fault.row, fault.column, fault.value, fault.count) == (4, column, value, 1)
        assert fault.reason.startswith(reason)
    events, report = run(plain(), *files, skip_faults=True)
    assert len(events) == report.events == 2
    assert report.rows == 3 * len(FAULTY) == 2 + sum(report.dropped.values()) + len(report.faults)


def test_faults_of_a_kind_are_counted_and_told_by_the_first(tmp_path: Path) -> None:
    path = csv(tmp_path, ROW, *["2024-05-01,7,A1,x,1"] * 3, "2024-05-01,7,A1,1,free")
    with pytest.raises(FaultyRowsError) as raised:
        run(plain(), path)
    assert str(raised.value) == (
        f"{path}: row 3, column many: 'x' is not a whole number (3 such rows); nothing was imported, for 4 faulty "
        "rows: correct the file, or leave them out with --skip-faults"
    )


def test_metadata_that_the_stream_would_refuse(tmp_path: Path) -> None:
    mapping = parse_mapping(PLAIN + 'metadata = "extra"\n', "shop.toml")
    deep = ['{"a":' * depth + '"]]}}[[{{" ' + "}" * depth for depth in (32, 33)]
    wide = '{"a":[' + ",".join(["[{}]"] * 99) + "]}"
    extras = [
        *deep,
        wide,
        "[1]",
        "{",
        '{"a":"\\ud800"}',
        '{"a":"' + "x" * 61_440 + '"}',
        "",
        '{"a":NaN}',
        "7",
        '{"nan":"inf",}',
    ]
    path = tmp_path / "t.csv"
    quoted = ['"' + each.replace('"', '""') + '"' for each in extras]
    path.write_text(f"{HEADER},extra\n" + "".join(f"{ROW.replace('A1', f'A{n}')},{q}\n" for n, q in enumerate(quoted)))
    events, report = run(mapping, path, skip_faults=True)
    assert [(fault.row, fault.reason, fault.count) for fault in report.faults] == [
        (3, "nested over 32 deep", 1),
        (5, "not a JSON object", 5),
        (8, "longer than 61,440 bytes", 1),
    ]
    assert [event["metadata"] for event in events] == [deep[0].replace('" }', '"}'), wide, None, '{"nan":"inf"}']


def test_ids_as_they_are_written(tmp_path: Path) -> None:
    ids = ["17850.0", "00123", "123", "101.00", "00101", "12E5", "A-7", "9007199254740993"]
    events, _ = run(plain(), csv(tmp_path, *(f"2024-05-01,{each},A1,1,1" for each in ids)))
    assert [event["user_id"] for event in events] == [
        "17850", "00123", "123", "101", "00101", "12E5", "A-7", "9007199254740993",
    ]  # fmt: skip


def test_numbers_of_parquet_that_are_no_ids(tmp_path: Path) -> None:
    mapping = plain('who = "id"\n')
    table = pa.table(
        {"at": ["2024-05-01"] * 4, "who": [17850.0, 257597.5, 1e17, None], "what": ["A"] * 4, "many": [1] * 4}
    ).append_column("price", pa.array([1.0] * 4))
    pq.write_table(table, tmp_path / "t.parquet")
    assert [(fault.row, fault.value, fault.count) for fault in faults(mapping, tmp_path / "t.parquet")] == [
        (2, "257597.5", 2),
        (4, None, 1),
    ]


def test_two_different_rows_of_one_event_id(tmp_path: Path) -> None:
    mapping = parse_mapping(PLAIN + 'event_id = "what"\n', "shop.toml")
    path = csv(tmp_path, ROW, ROW, ROW.replace("9.5", "9.6"))
    assert only_fault(mapping, path) == (4, "what", "the event_id of an earlier row too", "A1")
    _, report = run(mapping, path, skip_faults=True)
    assert report.dropped == {"equal to an earlier row": 1}


def test_a_column_that_is_a_number_in_one_row_and_text_in_another(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"at":"2024-05-01","who":1,"what":2,"many":1,"price":1}\n{broken\n[1]\n'
        '{"at":"2024-05-01","who":"x","what":"b","many":{"n":1},"price":"free"}\n'
    )
    assert [(each.row, each.column, each.value, each.count) for each in faults(plain(), path)] == [
        (2, None, None, 2),
        (4, "many", '{"n":1}', 1),
    ]


def test_rows_of_csv_that_do_not_parse_do_not_shift_the_others(tmp_path: Path) -> None:
    path = csv(tmp_path, ROW, "2024-05-01,7", '2024-05-01,7,"A\n1",1,1', ROW + ",more", "2024-05-01,7,A1,x,1")
    assert [(each.row, each.column, each.value) for each in faults(plain(), path)] == [
        (3, "what", None),
        (5, None, None),
        (6, "many", "x"),
        (4, "what", "A\n1"),
    ]


# Times.


@pytest.mark.integration
@pytest.mark.parametrize(
    ("form", "zone", "written", "wanted"),
    [
        ("%d/%m/%Y %H:%M", "UTC", "03/04/2024 10:00", at(2024, 4, 3, 10)),
        ("%m/%d/%Y %I:%M %p", "UTC", "3/4/2024 1:05 pm", at(2024, 3, 4, 13, 5)),
        ("excel", "Europe/Paris", "45292.5", at(2024, 1, 1, 11)),
        ("excel", "UTC", "45292.354166666664", at(2024, 1, 1, 8, 30)),
        ("unix", "UTC", "1704067200.25", at(2024, 1, 1, 0, 0, 0, 250_000)),
        ("unix_ms", "UTC", "1704067200123", at(2024, 1, 1, 0, 0, 0, 123_000)),
        ("unix_us", "UTC", "1704067200000001", at(2024, 1, 1, 0, 0, 0, 1)),
        ("iso", "America/New_York", "2024-01-01", at(2024, 1, 1, 5)),
        ("iso", "America/New_York", "2024-01-01T00:00:00,5+0100", at(2023, 12, 31, 23, 0, 0, 500_000)),
        ("%Y-%m-%d %H:%M %z", "Asia/Tokyo", "2024-01-01 00:00 +0100", at(2023, 12, 31, 23)),
        ("iso", "Australia/Lord_Howe", "2024-04-07T01:45", at(2024, 4, 6, 15, 15)),  # twice, half an hour apart
    ],
)
def test_forms_of_time(tmp_path: Path, form: str, zone: str, written: str, wanted: datetime) -> None:
    mapping = plain('value = "at"', f'value = "at"\nformats = ["{form}"]\nzone = "{zone}"')
    [event], _ = run(mapping, csv(tmp_path, f'"{written}",7,A1,1,1'))
    assert event["timestamp"] == wanted


@pytest.mark.parametrize("local", ["2024-03-31 02:30:00", "2024-10-27 02:30:00"])
def test_times_that_clocks_leave_out_or_repeat_are_told_or_refused(tmp_path: Path, local: str) -> None:
    path = csv(tmp_path, f"{local},7,A1,1,1", "2024-06-01,7,A1,1,1")
    berlin = 'value = "at"\nzone = "Europe/Berlin"'
    _, report = run(plain('value = "at"', berlin), path)
    assert report.clock_change == 1
    assert only_fault(plain('value = "at"', berlin + '\nclock_change = "refuse"'), path) == (
        2, "at", "a time that the clocks repeat or leave out", local,
    )  # fmt: skip


def test_a_form_is_of_the_whole_file_and_never_guessed_by_row(tmp_path: Path) -> None:
    """With 13/04 the file is day-first in every row; where all rows can be both, a person must say."""
    both = 'value = "at"\nformats = ["%d/%m/%Y", "%m/%d/%Y"]'
    events, _ = run(plain('value = "at"', both), csv(tmp_path, "03/04/2024,7,A1,1,1", "13/04/2024,7,A1,1,1"))
    assert [event["timestamp"] for event in events] == [at(2024, 4, 3), at(2024, 4, 13)]
    with pytest.raises(ConfigurationError, match=r"shop\.toml:9: .*differ in '03/04/2024'; keep the one that is meant"):
        run(plain('value = "at"', both), csv(tmp_path, "03/04/2024,7,A1,1,1"))
    mixed = csv(tmp_path, "03/04/2024,7,A1,1,1", "13/04/2024,7,A1,1,1", "04/13/2024,7,A1,1,1", "14/04/2024,7,A1,1,1")
    assert only_fault(plain('value = "at"', both), mixed)[0] == 4


def test_a_declared_end_allows_and_refuses(tmp_path: Path) -> None:
    path = csv(tmp_path, "2030-01-01,7,A1,1,1", "2030-01-03,7,A1,1,1")
    assert only_fault(plain('value = "at"', 'value = "at"\nuntil = "2030-01-02"'), path)[0] == 3
    late = (NOW + timedelta(minutes=4)).strftime("%Y-%m-%d %H:%M:%S")
    assert run(plain(), csv(tmp_path, f"{late},7,A1,1,1"))[1].events == 1


# Mappings that are wrong.


@pytest.mark.integration
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('amount = "price"', 'amount = "prize"', "shop.toml:13: event.amount: .*prize.*not found.*price"),
        ('amount = "price"', 'amount = "price +"', "shop.toml:13: event.amount: .*syntax error"),
        ('amount = "price"', 'amount = "sum(price)"', "shop.toml:13: event.amount: an aggregate"),
        ('amount = "price"', 'amounts = "price"', "shop.toml:13: event.amounts: .*did you mean amount"),
        ('amount = "price"', 'amount = "CAST(what AS DOUBLE)"', "shop.toml:13: event.amount: .*'A1'.*TRY_CAST"),
        (
            'amount = "price"',
            "amount = \"(SELECT max(a) FROM read_csv('/etc/passwd') t(a))\"",
            "shop.toml:13: .*disabled",
        ),
        ('amount = "price"\n', "", "shop.toml:9: event: .*nothing of amount"),
        ('amount = "price"', 'amount = "abs((price"', "shop.toml:13: event.amount: .*syntax error at end of input"),
        ('name = "shop"', 'name = "shop"\neach = "lines"', "shop.toml:3: each: .*no column 'lines'; it has 'at'"),
        ("[time]", '[file]\nnames = ["a", "b"]\n[time]', "row 1 has 5 columns, and there are 2 names"),
        ('value = "at"', 'value = "moment"', "shop.toml:8: time.value: .*moment"),
        ('value = "at"', 'value = "at"\nzone = "Mars"', "shop.toml:9: time.zone: 'Mars'"),
        ('value = "at"', 'value = "at"\nformats = ["dd.mm.yy"]', "shop.toml:9: time.formats: 'dd.mm.yy'"),
        ('value = "at"', 'value = "at"\nuntil = "soon"', "shop.toml:9: time.until: 'soon'"),
        ('value = "at"', 'value = "at"\nzones = "UTC"', "shop.toml:9: time.zones: .*unknown field"),
        ('who = "id"', 'Whom = "id"', "shop.toml:4: columns.Whom: .*no column 'Whom'; it has 'at', 'who'"),
        ('who = "id"', 'who = "float"', "shop.toml:3: columns: Invalid enum value 'float'"),
        ("[time]", '[[drop]]\nreason = "x"\nwhere = "who = = 1"\n[time]', "shop.toml:9: drop.1.where: .*syntax"),
        ("[time]", '[[drop]]\nreason = "x"\nwhere = "what::INT = 1"\n[time]', "shop.toml:9: drop.1.where: .*'A1'"),
        ("[columns]", 'join = ["whom"]\n[columns]', "shop.toml:3: join.1: .*whom"),
        ("[columns]", "[columns", "shop.toml: not TOML: .*line 3"),
        ("[time]", '[file]\nencoding = "klingon"\n[time]', "shop.toml:8: file.encoding: .*klingon"),
        ("[time]", '[file]\nencoding = "rot13"\n[time]', "shop.toml:8: file.encoding: .*rot13"),
        ("[time]", '[file]\ndecimal = ","\nthousands = ","\n[time]', "shop.toml:9: file.thousands"),
        ('name = "shop"', 'name = "a/b"', "shop.toml:2: name: "),
    ],
)
def test_a_wrong_mapping_is_one_line_with_file_line_and_way_out(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        run(plain(old, new), csv(tmp_path, ROW))
    assert "\n" not in str(raised.value)


@pytest.mark.integration
def test_values_and_names_of_files_are_never_sql(tmp_path: Path) -> None:
    evil = "x'); DROP TABLE lines; --"
    path = csv(tmp_path, f'2024-05-01,7,"{evil}",1,1,2', header=f'{HEADER},"{evil}"', name="it's; --.csv")
    [event], _ = run(plain(), path)
    assert event["product_id"] == evil
    path = tmp_path / "evil.jsonl"
    row = {"at": "2024-05-01", "who": evil, "what": evil, "many": 1, "price": 1, evil: '"', '"': 1, "a.b": 2}
    path.write_bytes(msgspec.json.encode(row))
    [event], _ = run(plain(), path)
    assert event["user_id"] == evil


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"at,who,WHO\n", "two columns are called 'WHO'"),
        ("a.csv", b"at,_row\n", "rename it"),
        ("a.xlsx", b"PK", "a spreadsheet; save its sheet as CSV"),
        ("a.dat", b"x", "its name does not say what it is"),
        ("a.parquet", b"PAR1 no", "cannot be read as parquet"),
        ("a.csv.zst", pa.compress(ROW.encode() * 99, "zstd", asbytes=True)[:-3], "is it there, and whole"),
        ("a.json", b'[{"at":1},{"at":', "cannot be read"),
        ("a.csv", "at;who\nK\u00f6ln".encode("utf-16"), "no CSV text in UTF-8"),
        ("a.csv", HEADER.encode() + b"\nK\xf6ln,1,2,3,4\n", "row 2, column at: Invalid unicode"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, ConfigurationError), match=said) as raised:
        run(plain(), tmp_path / name)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


def test_a_text_that_is_not_in_the_encoding_it_is_declared_in(tmp_path: Path) -> None:
    path = csv(tmp_path, ROW)
    path.write_bytes(path.read_bytes() + b"\x81\n")
    with pytest.raises(DataError, match=r"not text in cp1252 .*say its encoding"):
        run(with_file('encoding = "cp1252"'), path)


def test_no_file_of_a_glob_and_no_place_of_a_uri(tmp_path: Path) -> None:
    for name, said in {
        f"{tmp_path}/*.csv": "no file is called so",
        "gopher://x/y.csv": "no place that can be read",
    }.items():
        with pytest.raises(DataError, match=said):
            run(plain(), name)


def test_what_is_imported_is_what_the_stream_accepts(tmp_path: Path) -> None:
    for name, file in {"kaffee.toml": "kaffee.csv", "clicks.toml": "clicks.jsonl"}.items():
        for event in run(load_mapping(str(SAMPLES / name)), SAMPLES / file)[0]:
            event["metadata"] = event["metadata"] and msgspec.json.decode(event["metadata"])
            raw = msgspec.json.encode(event)
            assert isinstance(decode_event(raw, key=event["user_id"].encode(), now_us=NOW_US), Event)


# Beside what the log has.


def append(log: EventLog, source: str, *files: Path) -> int:
    tables, _ = import_files(plain(), files, now_us=NOW_US, logged=(source, log.tables()))
    return log.write_history(source, tables)


@pytest.mark.integration
def test_the_same_appended_again_changes_nothing_and_nothing_is_counted_twice_or_lost(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    may, june = csv(tmp_path, ROW, name="may.csv"), csv(tmp_path, ROW.replace("05-01", "06-01"), name="june.csv")
    append(log, "may", may)
    append(log, "june", june)
    before = pa.concat_tables(log.tables())
    append(log, "may", may)
    assert pa.concat_tables(log.tables()) == before
    with pytest.raises(DataError, match=r"source june .* has 1 of these events already"):
        append(log, "july", june)
    with pytest.raises(DataError, match=r"source may .* has 1 events that these files do not have"):
        append(log, "may", csv(tmp_path, ROW.replace("05-01", "07-01"), name="july.csv"))
    assert pa.concat_tables(log.tables()) == before
    append(log, "may", may, csv(tmp_path, ROW.replace("05-01", "07-01"), name="july.csv"))
    assert log.count() == 3


def test_a_label_with_a_million_values_is_refused_where_entities_are_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["data.importers.import_files"], "MOST_LABELS", 2)
    path = csv(tmp_path, *(f"2024-05-01 12:00:00,{n},A1,2,9.5" for n in range(3)))
    mapping = plain("[event]", "[event]\ncategory = \"who || 'x'\"")
    with pytest.raises(DataError, match="label category has 3 values, and the entity category a state for each"):
        run(mapping, path)
    bounded = msgspec.structs.replace(
        SHOP, entities=tuple(one for one in SHOP.entities if "category" not in one.join_keys)
    )
    import_files(mapping, [path], now_us=NOW_US, schema=bounded)


@pytest.mark.integration
def test_a_long_step_tells_how_far_it_is() -> None:
    told: list[str] = []
    with duckdb.connect() as connection, Steps(connection, told.append, every_s=0.01) as begin:
        connection.execute("CREATE TABLE numbers AS SELECT i FROM range(2000000) AS x(i)")
        begin("counting")
        deadline = time.monotonic() + 60
        while len(told) < 2 and time.monotonic() < deadline:
            connection.execute("SELECT count(DISTINCT md5(i::VARCHAR)) FROM numbers")
    assert told[0] == "counting"
    assert re.fullmatch(r"counting: \d+ %", told[1])


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither copies nor spilled rows, whether an import succeeds or not."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{ROW}\n".encode()))
    run(plain(), path)
    path.write_bytes(gzip.compress(f"{HEADER}\n,,,,\n".encode()))
    faults(plain(), path)
    assert list(scratch.iterdir()) == []
