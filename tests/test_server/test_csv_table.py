"""Files to take away: a spreadsheet takes none of their text for a formula, and a reader finds all of it."""

import csv
import io
from typing import Any

import pytest
from strange import IDS

from data.default_shop import SHOP
from server.console.calculators.batch_file import write_scores
from server.console.csv_table import write_csv

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", [*IDS, *(f"{first}1" for first in FORMULAS), " =1"])
def test_no_cell_begins_like_a_formula(text: str) -> None:
    [header, [cell, number]] = read(write_csv(["user", "amount"], [{"user": text, "amount": -1.5}]))
    assert header == ["user", "amount"]
    assert not cell.lstrip(" ").startswith(FORMULAS)
    assert cell in {text, f"'{text}", text.encode("utf-8", "backslashreplace").decode()}
    assert number == "-1.5"


def test_scores_stand_beside_their_questions_and_are_empty_where_there_is_no_answer() -> None:
    answer = {
        "user_id": "=1",
        "product_id": "p",
        "confidence": 0.5,
        "prediction": True,
        "threshold": 0.4,
        "cold_start": False,
        "model_version": "v",
        "timestamp": "2026-03-01T11:00:00Z",
    }
    questions: list[dict[str, Any]] = [
        {"user_id": "=1", "product_id": "p", "amount": 2.0},
        {"user_id": "u", "product_id": "p"},
    ]
    _, first, second = read(write_scores(questions, [answer, None], SHOP))
    assert first == ["'=1", "p", "2.0", "0.5", "True", "0.4", "False", "v", "2026-03-01T11:00:00Z"]
    assert second == ["u", "p", *[""] * 7]
