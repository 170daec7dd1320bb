"""What `encore init` drafts from a sample: a schema that can be read, and a mapping that imports the file by it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from data.drafts.names import name_of
from data.drafts.project import project_files
from data.drafts.shop import draft_shop, plain_shop
from data.errors import DataError, FaultyRowsError
from data.importers import import_files
from data.importers.mapping import parse_mapping
from data.project import open_project
from data.schema import Measure
from model.targets import targets_of

pytestmark = pytest.mark.integration  # it reads whole files with DuckDB

SAMPLES = Path(__file__).parents[1] / "samples"
NOW_US = round(datetime(2026, 11, 26, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Artikel-Nr", "artikel_nr"),
        ("CustomerID", "customer_id"),
        ("Menge (g)", "menge_g"),
        ("Straße", "strasse"),
        ("Größe", "grosse"),
        ("2x", "column_2x"),
        ("日本", "column"),
        ("class", "column_class"),
        ("tile", "column_tile"),
        ("x" * 200, "x" * 40),
        ("a'); DROP", "a_drop"),
    ],
)
def test_names_are_of_letters_digits_and_underscores(text: str, name: str) -> None:
    assert name_of(text) == name
    assert name_of(text, {name}) == f"{name}_2"


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "keys", "types", "events"),
    [
        ("kaffee.csv", ("kunde", "artikel"), ("Verkauf", "Retoure"), 9),
        ("online_retail.csv", ("customer_id", "stock_code"), ("purchase", "return"), 32),
        ("retailrocket.csv", ("visitorid", "itemid"), ("view", "addtocart", "transaction", "wishlist"), 20),
        ("clicks.jsonl", ("customer_id", "sku"), ("page_view", "basket_add", "checkout", "refund"), 5),
    ],
)
def test_a_draft_imports_the_file_it_was_made_from(
    file: str, keys: tuple[str, ...], types: tuple[str, ...], events: int, tmp_path: Path
) -> None:
    draft = draft_shop(str(SAMPLES / file), "shop")
    assert draft.schema.keys == keys
    assert sorted(draft.schema.type_names) == sorted(types)
    tables, report = import_files(
        parse_mapping(draft.mapping, "mapping.toml"), [SAMPLES / file], now_us=NOW_US, schema=draft.schema
    )
    found = pa.concat_tables(tables).to_pylist()
    assert not report.faults
    assert len(found) == pytest.approx(events, abs=2)
    assert {event["event_type"] for event in found} <= set(types)
    for name, text in project_files("shop", draft, NOW_US).items():
        (tmp_path / name).write_text(text)
    project = open_project(tmp_path)
    assert project.schema == draft.schema
    assert next(iter(targets_of(project).values())).entity in {one.name for one in draft.schema.asked}


def test_what_a_column_is_is_told_with_an_example() -> None:
    roles = {one.column: (one.role, one.name) for one in draft_shop(str(SAMPLES / "kaffee.csv"), "shop").columns}
    assert roles == {
        "Beleg": ("session", "session_id"),
        "Kunde": ("key", "kunde"),
        "Artikel": ("key", "artikel"),
        "Bezeichnung": ("label", "bezeichnung"),
        "Warengruppe": ("label", "warengruppe"),
        "Menge": ("measure", "menge"),
        "Einzelpreis": ("measure", "einzelpreis"),
        "Rabatt": ("measure", "rabatt"),
        "Datum": ("time", "timestamp"),
        "Art": ("type", "event_type"),
    }


def csv(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path = tmp_path / "events.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return str(path)


def test_decimals_bounds_and_gaps_are_seen(tmp_path: Path) -> None:
    file = csv(
        tmp_path,
        "at,reader_id,book_id,fee,pages,change",
        "2026-01-01T00:00:00Z,1,7,0.125,3,-2.5",
        "2026-01-02T00:00:00Z,1,8,,12,1",
    )
    assert draft_shop(file, "library").schema.measures == (
        Measure("fee", decimals=3, most=10**9, default=0),
        Measure("pages", most=10**9),
        Measure("change", decimals=2, least=-(10**9), most=10**9),
    )


def test_a_text_with_too_many_values_is_no_label(tmp_path: Path) -> None:
    """A label with 10⁶ values would be as many entities: it is kept as metadata."""
    rows = [f"2026-01-{1 + n % 28:02d}T00:00:00Z,r{n % 9},b{n % 7},note {n}" for n in range(1_500)]
    draft = draft_shop(csv(tmp_path, "at,reader_id,book_id,remark", *rows), "library")
    assert draft.schema.labels == ()
    assert "metadata = \"json_object('remark', remark)\"" in draft.mapping


def test_a_text_among_numbers_leaves_a_measure_whose_row_the_import_names(tmp_path: Path) -> None:
    rows = [f"2026-01-01T00:00:00Z,r{n % 9},{'free' if n == 30 else n}" for n in range(60)]
    file = csv(tmp_path, "at,reader_id,fee", *rows)
    draft = draft_shop(file, "library")
    assert [measure.name for measure in draft.schema.measures] == ["fee"]
    with pytest.raises(FaultyRowsError, match=r"events\.csv: row 32, column fee: .*'free'"):
        import_files(parse_mapping(draft.mapping, "mapping.toml"), [file], now_us=NOW_US, schema=draft.schema)


def test_texts_of_a_file_are_no_code_of_the_project(tmp_path: Path) -> None:
    odd = """x"); raise SystemExit("it ran")  # «name» ''' ' """
    rows = [
        json.dumps({"at": f"2026-01-0{n}T00:00:00Z", "reader_id": "a", "event": odd if n % 2 else 'b"\\', odd: n})
        for n in range(1, 6)
    ]
    path = tmp_path / "od\"d's «file».jsonl"
    path.write_text("\n".join(rows))
    folder = tmp_path / "library"
    folder.mkdir()
    for name, text in project_files("library", draft_shop(str(path), "library"), NOW_US).items():
        (folder / name).write_text(text)
    project = open_project(folder)
    assert set(project.schema.type_names) == {odd.strip(), 'b"\\'}
    assert len(targets_of(project)) == 1, "of the reader alone there is one question"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["reader_id,book_id", "1,2", "1,3"], "no column holds times in a form that is known"),
        (["at,fee", "2026-01-01T00:00:00Z,1", "2026-01-02T00:00:00Z,1"], "no column names who an event is of"),
        (["at,reader_id"], "no rows"),
        (
            ["at,reader_id", "2026-01-01,1", "2026-01-02,1", "31.12.2026,1"],
            "column at: most times are of the form iso, and '31.12.2026' is not; write all of a file in one form",
        ),
    ],
)
def test_what_cannot_be_drafted_is_told_in_a_line(lines: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as raised:
        draft_shop(csv(tmp_path, *lines), "library")
    assert "\n" not in str(raised.value)


def test_a_byte_order_mark_and_another_encoding_are_seen(tmp_path: Path) -> None:
    lines = ("Zeit;Kunde;Gruppe;Preis", "01.02.2026 10:00;1;Grüntee;1,50", "03.02.2026 10:00;1;Oolong;2,50")
    for encoding in ("utf-8-sig", "latin-1"):
        draft = draft_shop(csv(tmp_path, *lines, encoding=encoding), "tea")
        assert draft.schema.keys == ("kunde",)
        assert draft.schema.measures == (Measure("preis", decimals=2, most=10**9),)
        assert 'decimal = ","' in draft.mapping


def test_days_in_digits_and_customers_alone(tmp_path: Path) -> None:
    """The shape of CDNOW's public file: who, a day of eight digits, how many, how much."""
    rows = [f"{n % 7:05d},1997{n % 12 + 1:02d}{n % 28 + 1:02d},{n % 4},{n}.77" for n in range(1, 60)]
    draft = draft_shop(csv(tmp_path, "customer_id,date,number_of_cds,dollar_value", *rows), "cds")
    assert (draft.schema.keys, draft.schema.asks) == (("customer_id",), ("customer_id", "dollar_value"))
    assert draft.schema.type_names == ("purchase",)
    assert 'formats = ["%Y%m%d"]' in draft.mapping
    files = project_files("cds", draft, NOW_US)
    assert "purchase_again" in files["targets.py"]
    assert "purchase_soon" not in files["targets.py"]


def test_households_are_ordered_before_products(tmp_path: Path) -> None:
    """The shape of the Complete Journey's public file: who comes after where, and before what."""
    rows = [
        f"{n % 3},{n % 9},{n},{n % 20},1,{n}.5,2017-01-{n % 28 + 1:02d} 10:00:00,{'GROCERY' if n % 2 else 'DELI'}"
        for n in range(1, 60)
    ]
    named = "store_id,household_id,basket_id,product_id,quantity,sales_value,transaction_timestamp,department"
    draft = draft_shop(csv(tmp_path, named, *rows), "journey")
    assert draft.schema.ordered_by == "household_id"
    assert draft.schema.asks == ("household_id", "product_id", "sales_value")
    assert {"household_product", "department"} <= {entity.name for entity in draft.schema.entities}


def test_without_a_file_there_is_a_project_to_change(tmp_path: Path) -> None:
    for name, text in project_files("library", plain_shop("library"), NOW_US).items():
        (tmp_path / name).write_text(text)
    project = open_project(tmp_path)
    assert project.schema == plain_shop("library").schema
    assert list(targets_of(project)) == ["purchase_again", "purchase_soon"]
