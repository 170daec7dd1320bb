"""CSV files of questions: what is read, what is refused, and what comes back."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from data.default_shop import SHOP
from data.errors import DataError
from server.api.schemas import MAX_BATCH
from server.console.calculators.batch_file import MAX_ROWS, Fault, ask_all, read_questions, template_of, write_scores


def test_the_template_can_be_read() -> None:
    checked = read_questions(template_of(SHOP).encode(), SHOP)
    assert checked.faults == []
    assert checked.questions == [
        {"user_id": "user-1", "product_id": "product-1", "amount": 12.5},
        {"user_id": "user-1", "product_id": "product-2"},
    ]


def test_columns_may_stand_in_any_order_and_a_byte_order_mark_is_no_column() -> None:
    checked = read_questions("\ufeffProduct_ID, user_id\r\np,ü\r\n\r\n".encode(), SHOP)
    assert checked.questions == [{"user_id": "ü", "product_id": "p"}]


def test_faults_are_told_by_line_and_column_and_the_rest_is_read() -> None:
    text = "user_id,product_id,amount\na,p,1\n,p,1\na,p,much\na,p,-1\na,p,nan\na,p,1,2\nb,q,\n" + "x" * 129 + ",p,1\n"
    checked = read_questions(text.encode(), SHOP)
    assert [question["user_id"] for question in checked.questions] == ["a", "b"]
    assert [(fault.line, fault.column) for fault in checked.faults] == [
        (3, "user_id"),
        (4, "amount"),
        (5, "amount"),
        (6, "amount"),
        (7, ""),
        (9, "user_id"),
    ]
    assert checked.faults[4] == Fault(7, "", "4 fields where the header has 3")
    assert all(fault.fault for fault in checked.faults)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "first line must name the columns"),
        (b"user,product\na,b\n", "it has: user, product"),
        (b"user_id,product_id,price\na,b,1\n", "it has: user_id, product_id, price"),
        (b"user_id,product_id,user_id\na,b,c\n", "first line must name"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "zero bytes"),
        (b'user_id,product_id\n"a,b\n', "not a CSV: line"),
        (b"{}" * 1000, "first line must name"),
    ],
)
def test_what_is_no_such_csv_is_refused_in_words(data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as refused:
        read_questions(data, SHOP, "upload.csv")
    assert "upload.csv" in str(refused.value)
    assert "template" in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.integration
def test_too_many_rows_are_refused() -> None:
    with pytest.raises(DataError, match="split it"):
        read_questions(b"user_id,product_id\n" + b"u,p\n" * (MAX_ROWS + 1), SHOP)


def test_questions_go_in_parts_and_scores_come_back_in_order() -> None:
    asked: list[int] = []

    def ask(part: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        asked.append(len(part))
        return [{"confidence": float(row["amount"]), "prediction": True, "threshold": 0.5} for row in part]

    questions = [{"user_id": "u", "product_id": '=p,"1', "amount": number} for number in range(MAX_BATCH + 2)]
    answers = [answer for part in ask_all(ask, questions) for answer in part]
    assert asked == [MAX_BATCH, 2]
    rows = list(csv.DictReader(io.StringIO(write_scores(questions, answers, SHOP).decode())))
    assert [float(row["score"]) for row in rows] == [float(number) for number in range(MAX_BATCH + 2)]
    assert rows[0]["product_id"] == "'=p,\"1", "a spreadsheet computes nothing of it"
