"""Every row of a public data set becomes an event for a stated reason, or none for a stated reason."""

import gzip
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from log_rows import folder_of

from data.default_shop import decode_event
from data.errors import ConfigurationError, DataError
from data.event import Event
from data.importers import SHIPPED, ImportReport, import_files, load_mapping
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS

SAMPLES = Path(__file__).parents[1] / "samples"
SAMPLE = {
    "online-retail": SAMPLES / "online_retail.csv",
    "retailrocket": SAMPLES / "retailrocket.csv",
    "rees46": SAMPLES / "rees46.csv",
}

NOW_US = 1_790_000_000_000_000
"""In September 2026."""

RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def read(name: str, path: Path) -> tuple[list[dict[str, Any]], ImportReport]:
    tables, report = import_files(load_mapping(name), [path], now_us=NOW_US)
    return pa.concat_tables(tables).to_pylist(), report


def retail(tmp_path: Path, *lines: str) -> list[dict[str, Any]]:
    path = tmp_path / "retail.csv"
    path.write_text(RETAIL_HEADER + "\n".join(lines) + "\n")
    return read("online-retail", path)[0]


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.fixture(params=SHIPPED)
def imported(request: pytest.FixtureRequest) -> tuple[list[dict[str, Any]], ImportReport]:
    return read(request.param, SAMPLE[request.param])


def test_there_is_a_sample_of_every_format() -> None:
    assert set(SAMPLE) == set(SHIPPED)


def test_the_report_accounts_for_every_row(imported: tuple[list[dict[str, Any]], ImportReport]) -> None:
    events, report = imported
    rows = len(Path(report.files[0]).read_text().splitlines()) - 1
    assert report.rows == rows == report.events + report.merged + sum(report.dropped.values())
    assert report.events == len(events)
    assert report.keys == {key: len({event[key] for event in events}) for key in ("user_id", "product_id")}
    assert report.types == Counter(event["event_type"] for event in events)
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert (report.first_us, report.last_us) == tuple(round(t.timestamp() * 1_000_000) for t in (times[0], times[-1]))
    assert str(report).startswith(
        f"{report.files[0]} ({report.mapping}): {report.events} events from {report.rows} rows"
    )


def test_imported_events_keep_the_rules_of_an_event(imported: tuple[list[dict[str, Any]], ImportReport]) -> None:
    events, report = imported
    assert len({event["event_id"] for event in events}) == len(events)
    for event in events:
        metadata = event.pop("metadata") or "null"
        raw = msgspec.json.encode(event)[:-1] + b',"metadata":' + metadata.encode() + b"}"
        assert isinstance(decode_event(raw, key=event["user_id"].encode(), now_us=report.last_us), Event)


@pytest.mark.integration
@pytest.mark.parametrize("name", SHIPPED)
def test_an_import_gives_the_same_again_also_from_gzip(name: str, tmp_path: Path) -> None:
    packed = tmp_path / "sample[1]*.csv.gz"  # characters that DuckDB would take for a pattern
    packed.write_bytes(gzip.compress(SAMPLE[name].read_bytes()))
    mapping = load_mapping(name)
    plain_tables, plain = import_files(mapping, [SAMPLE[name]], now_us=NOW_US)
    packed_tables, from_gzip = import_files(mapping, [packed], now_us=NOW_US)
    assert list(plain_tables) == list(packed_tables)
    assert (plain.events, plain.dropped) == (from_gzip.events, from_gzip.dropped)
    assert next(import_files(mapping, [packed], now_us=NOW_US)[0]).schema.equals(EVENT_COLUMNS)


def test_online_retail_leaves_out_what_no_known_customer_bought_or_sent_back() -> None:
    _, report = read("online-retail", SAMPLE["online-retail"])
    assert report.dropped == {
        "no customer": 5,
        "no product": 5,
        "price not above 0": 1,
        "equal to an earlier row": 2,
    }
    assert report.merged == 7


def test_online_retail_joins_lines_of_one_product_in_one_invoice() -> None:
    events, _ = read("online-retail", SAMPLE["online-retail"])
    ribbons = [event for event in events if event["product_id"] == "22077"]
    assert ribbons == [
        {
            "event_id": "536412-22077-17920",
            "event_type": "purchase",
            "user_id": "17920",
            "product_id": "22077",
            "amount": 16.5,
            "quantity": 10,
            "discount": 0.0,
            "timestamp": at(2010, 12, 1, 11, 49),
            "session_id": "536412",
            "category": None,
            "brand": None,
            "device": None,
            "order_id": "536412",
            "metadata": '{"description":"6 RIBBONS RUSTIC CHARM","country":"United Kingdom"}',
        }
    ]
    bottle = next(event for event in events if event["product_id"] == "22111")
    assert (bottle["quantity"], bottle["amount"]) == (1, 4.95)  # the same line twice


def test_online_retail_cancellations_are_returns(tmp_path: Path) -> None:
    events = retail(
        tmp_path,
        "536365,22077,RIBBONS,10,2010-12-01 08:26:00,1.65,17850.0,EIRE",
        "C536379,22077,RIBBONS,-3,2010-12-05 09:41:00,1.65,17850.0,EIRE",
        "C536379,22077,RIBBONS,-1,2010-12-05 09:41:00,1.5,17850.0,EIRE",
        "C536380,22078,RIBBON,2,2010-12-05 09:50:00,1.65,17850.0,EIRE",  # a cancellation that adds
        "536381,22078,RIBBON,-2,2010-12-05 09:55:00,1.65,17850.0,EIRE",  # a correction
        "A536382,22078,RIBBON,1,2010-12-05 09:56:00,1.65,17850.0,EIRE",  # a debt
    )
    taken = [(one["event_id"], one["event_type"], one["quantity"], one["amount"]) for one in events]
    assert taken == [
        ("536365-22077-17850", "purchase", 10, 16.5),
        ("C536379-22077-17850", "return", 4, 6.45),
    ]


def test_online_retail_tells_of_returns_from_before_the_file() -> None:
    events, report = read("online-retail", SAMPLE["online-retail"])
    assert [event["event_id"] for event in events if event["event_type"] == "return"] == ["C536383-35004C-15311"]
    assert report.undone == {"return of what has no earlier purchase in these files": 1}


def test_online_retail_reads_london_time() -> None:
    events, _ = read("online-retail", SAMPLE["online-retail"])
    mug = next(event for event in events if event["product_id"] == "21399")
    assert mug["timestamp"] == at(2011, 3, 28, 6, 53)  # 07:53 in summer time


@pytest.mark.integration
@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2011-03-27 00:59:00", at(2011, 3, 27, 0, 59)),
        ("2011-03-27 01:30:00", at(2011, 3, 27, 1, 30)),  # never was: clocks went from 01:00 to 02:00
        ("2011-03-27 02:00:00", at(2011, 3, 27, 1, 0)),
        ("2011-10-30 00:59:00", at(2011, 10, 29, 23, 59)),
        ("2011-10-30 01:30:00", at(2011, 10, 30, 1, 30)),  # was twice: clocks went from 02:00 to 01:00
        ("2011-10-30 02:00:00", at(2011, 10, 30, 2, 0)),
        ("7/9/2011 8:26", at(2011, 7, 9, 7, 26)),  # month first, as in some copies
    ],
)
def test_online_retail_hours_at_the_change_of_clocks(tmp_path: Path, local: str, utc: datetime) -> None:
    (event,) = retail(tmp_path, f"536365,22077,RIBBONS,1,{local},1.65,17850,EIRE")
    assert event["timestamp"] == utc


def test_online_retail_takes_codes_that_differ_in_case_for_one_product(tmp_path: Path) -> None:
    events = retail(
        tmp_path,
        "536365,15056BL,PARASOL,1,2011-01-04 10:00:00,5.95,17850.0,EIRE",
        "536365,15056bl,PARASOL,2,2011-01-04 10:00:00,4.95,17850,EIRE",
        "536366,15056bl,PARASOL,1,2011-01-05 10:00:00,5.95,17850,EIRE",
    )
    assert [(event["product_id"], event["quantity"], event["amount"]) for event in events] == [
        ("15056BL", 3, 15.85),
        ("15056BL", 1, 5.95),
    ]


def test_retailrocket_events_have_no_price_and_are_put_in_order() -> None:
    events, report = read("retailrocket", SAMPLE["retailrocket"])
    assert report.dropped == {"unknown event": 1, "equal to an earlier row": 1}
    mine = [event for event in events if event["user_id"] == "105"]
    assert [(event["event_type"], event["product_id"]) for event in mine[:6]] == [
        ("view", "5004"),
        ("add_to_cart", "5004"),
        ("view", "5005"),
        ("add_to_cart", "5005"),
        ("purchase", "5004"),
        ("purchase", "5005"),
    ]
    assert {event["amount"] for event in events} == {0.0}
    assert [event["metadata"] for event in mine[-2:]] == ['{"transaction":901}', '{"transaction":902}']
    assert events[0]["timestamp"] == datetime(2015, 6, 22, 19, 6, 40, 123_000, UTC)


def test_rees46_events_keep_the_order_of_the_file_within_a_second() -> None:
    events, report = read("rees46", SAMPLE["rees46"])
    assert report.dropped == {"unknown event type": 1, "no price": 1, "price below 0": 1, "equal to an earlier row": 1}
    phone = [event for event in events if event["product_id"] == "7005"]
    assert [event["event_type"] for event in phone] == ["view", "add_to_cart", "purchase"] * 2
    assert {event["timestamp"] for event in phone[:3]} == {at(2019, 12, 3, 8, 0, 4)}
    assert phone[2]["amount"] == 981.98
    assert phone[2]["category"] == "electronics.smartphone"
    assert phone[2]["session_id"] == "00000000-0000-4000-8000-000000000005"
    assert phone[2]["brand"] == "plum"
    assert phone[2]["metadata"] == '{"category_id":"2100000000000000005"}'
    assert next(event["amount"] for event in events if event["product_id"] == "7012") == 1.123457
    assert next(event["session_id"] for event in events if event["product_id"] == "7011") is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("online-retail", ",6.0,2010-12-01 08:26:00,3.39", ",6.0,2010-12-01 08:26:00,3.3x", "row 3, column UnitPrice"),
        (
            "online-retail",
            "8.0,2010-12-01 08:26",
            "8.5,2010-12-01 08:26",
            "row 4, column Quantity: '8.5' is not a whole",
        ),
        ("online-retail", "2010-12-01 09:41:00", "2010-13-01 09:41:00", "row 7, column InvoiceDate: '2010-13-01"),
        ("online-retail", "18.0,12583.0", "nan,12583.0", "row 6, column UnitPrice: 'nan' is not a number"),
        ("online-retail", "6.0,2010-12-01 08:26:00,3.39", ",2010-12-01 08:26:00,3.39", "row 3, column amount: empty"),
        ("online-retail", ",FELTCRAFT DOLL MOLLY,1.0", "", "row 15, column CustomerID: Expected Number"),
        ("online-retail", "C2,CARRIAGE", "C2,CARRIAGE,CARRIAGE", "row 26"),
        ("online-retail", "POST,POSTAGE", 'POST,"POSTAGE', "row 6"),
        ("online-retail", "Country", "Land", "has no column 'Country'; it has 'InvoiceNo'"),
        ("online-retail", "Country", "Country,City", "row 2, column City: Expected Number of Columns: 9 Found: 8"),
        ("retailrocket", "1435000300456", "yesterday", "row 3, column timestamp"),
        (
            "retailrocket",
            "1435000300456",
            "1435000300456000",
            "row 3, column timestamp: '1435000300456000' is no time of the form unix_ms",
        ),
        ("retailrocket", "1435000300456,102", "1435000300456,", "row 3, column visitorid: empty"),
        ("rees46", "2019-12-03 08:00:01 UTC,view,7003", "2019-12-03T08:00:01,view,7003", "row 4, column event_time"),
        ("rees46", "35.50,501", "dear,501", "row 2, column price"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_refused_by_row_and_column(
    tmp_path: Path, name: str, old: str, new: str, said: str
) -> None:
    path = tmp_path / "wrong.csv"
    text = SAMPLE[name].read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(name, path, said)


def refused(name: str, path: Path, said: str) -> None:
    """The file is refused in one line that names it, and nothing is written."""
    log = EventLog(path.parent / "log")
    with pytest.raises((DataError, ConfigurationError)) as raised:
        log.write_history("imported", import_files(load_mapping(name), [path], now_us=NOW_US)[0])
    message = str(raised.value)
    assert str(path) in message
    assert said in message
    assert "\n" not in message
    assert not folder_of(log).exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.csv"
    path.write_bytes(bytes(range(256)) * 40)
    refused("rees46", path, "row 1")
    path.write_bytes(SAMPLE["rees46"].read_bytes().replace(b"aquafix", b"aqua\xfffix"))
    refused("rees46", path, "row 3, column brand: Invalid unicode")


@pytest.mark.parametrize("cut", [1, 8, 200])
def test_a_truncated_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(SAMPLE["rees46"].read_bytes())[:-cut])
    refused("rees46", path, "ended before")


def test_a_gzip_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv.gz"
    path.write_bytes(SAMPLE["rees46"].read_bytes())
    refused("rees46", path, "Not a gzipped file")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused("rees46", tmp_path / "absent.csv", "No such file")


def test_a_file_without_events_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(RETAIL_HEADER)
    refused("online-retail", path, "no events in 0 rows (there is none in it)")
    path.write_text(RETAIL_HEADER + "536370,POST,POSTAGE,3,2010-12-01 08:45:00,18,12583,France\n")
    refused("online-retail", path, "no events in 1 rows (no product: 1)")
    path.write_text("")
    refused("online-retail", path, "row 1: there is no header; the file is empty")


def test_an_unknown_mapping_is_refused_with_those_that_come_along() -> None:
    with pytest.raises(ConfigurationError, match=r"give a \.toml file, or one of online-retail, rees46, retailrocket"):
        load_mapping("amazon")


def test_an_imported_history_is_read_back_from_the_log(tmp_path: Path) -> None:
    tables, report = import_files(load_mapping("retailrocket"), [SAMPLE["retailrocket"]], now_us=NOW_US)
    assert isinstance(tables, Iterator)
    assert EventLog(tmp_path).write_history("retailrocket", tables) == report.events


def written_by_the_docs(folder: Path, workbook: str) -> Path:
    """What the command of docs/real-data.md makes of UCI's workbook, in the folder that holds it."""
    text = (Path(__file__).parents[2] / "docs" / "real-data.md").read_text()
    [command] = [code for code in re.findall(r'/python -c "(.*?)"\n', text, re.DOTALL) if workbook in code]
    subprocess.run([sys.executable, "-c", command], cwd=folder, check=True)
    return folder / "online_retail.csv.gz"


def in_a_spreadsheet(path: Path) -> pd.DataFrame:
    """A sample as its workbook has it: numbers, times and texts in their cells, and codes of digits as numbers."""
    frame = pd.read_csv(path, parse_dates=["InvoiceDate"])
    for column in ("InvoiceNo", "StockCode"):
        frame[column] = [int(code) if code.isdigit() else code for code in frame[column]]
    return frame


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_ucis_workbook_is_read_as_the_docs_say(tmp_path: Path) -> None:
    sheet = in_a_spreadsheet(SAMPLE["online-retail"])
    sheet.to_excel(tmp_path / "Online Retail.xlsx", sheet_name="Online Retail", index=False)
    expected, report = read("online-retail", SAMPLE["online-retail"])
    found, again = read("online-retail", written_by_the_docs(tmp_path, "Online Retail.xlsx"))
    assert found == expected
    assert (again.rows, again.dropped) == (report.rows, report.dropped)


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_the_second_workbook_is_read_as_the_docs_say(tmp_path: Path) -> None:
    """Its two sheets overlap by some days, which count once."""
    sheet = in_a_spreadsheet(SAMPLE["online-retail"]).rename(
        columns={"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}
    )
    with pd.ExcelWriter(tmp_path / "online_retail_II.xlsx") as writer:
        sheet[:30].to_excel(writer, sheet_name="Year 2009-2010", index=False)
        sheet[20:].to_excel(writer, sheet_name="Year 2010-2011", index=False)
    expected, report = read("online-retail", SAMPLE["online-retail"])
    found, again = read("online-retail", written_by_the_docs(tmp_path, "online_retail_II.xlsx"))
    assert found == expected
    assert again.rows == report.rows + 10
