"""A CSV of questions: parsed with errors row by row, scored in parts, and written with the scores."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from data.errors import DataError
from data.schema import Schema
from server.api.asking import asking_of
from server.api.schemas import MAX_BATCH
from server.console.csv_table import write_csv

__all__ = [
    "MAX_ROWS",
    "Checked",
    "Fault",
    "ask_all",
    "columns_of",
    "read_questions",
    "template_of",
    "words_of",
    "write_scores",
]

MAX_ROWS = 50_000
"""The most rows of one file."""

_SCORES = ("score", "prediction", "threshold", "cold_start", "model_version", "timestamp")


class Fault(NamedTuple):
    """An error in a line of the file (the header is line 1)."""

    line: int
    column: str
    fault: str


class Checked(NamedTuple):
    """Valid questions, and the errors of the other lines."""

    questions: list[dict[str, Any]]
    faults: list[Fault]


def columns_of(schema: Schema) -> tuple[str, ...]:
    """Return the columns of a file: what questions name, and their measures, which may be absent or empty."""
    return (*schema.asked_keys, *(measure.name for measure in schema.asked_measures))


def template_of(schema: Schema) -> str:
    """Return a file to begin with: two questions, the second without measures."""
    first = [f"{name.removesuffix('_id')}-1" for name in schema.asked_keys]
    second = [f"{name.removesuffix('_id')}-{number}" for number, name in enumerate(schema.asked_keys, 1)]
    measures = schema.asked_measures
    return write_csv(
        columns_of(schema),
        [
            dict(zip(columns_of(schema), [*first, *(12.5 for _ in measures)], strict=True)),
            dict(zip(schema.asked_keys, second, strict=True)),
        ],
    ).decode("utf-8-sig")


def read_questions(data: bytes, schema: Schema, name: str = "the file") -> Checked:
    """Parse the questions of a CSV by the API's rules. Raises DataError if the file as a whole is not such a CSV."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 (byte {error.start}). Save it as CSV in UTF-8; see the template."
        ) from error
    if "\0" in text:
        raise DataError(f"{name} is not a CSV: it holds zero bytes. Save it as CSV in UTF-8; see the template.")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(lines, [])]
        _check_header(header, schema, name)
        return _check_rows(header, lines, schema, name)
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV: line {lines.line_num}: {error}. See the template.") from error


def ask_all(
    ask: Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Any] | None]], questions: Sequence[Mapping[str, Any]]
) -> Iterator[list[dict[str, Any] | None]]:
    """Yield the answers in parts, each as large as the API accepts; None for a question without an answer."""
    for start in range(0, len(questions), MAX_BATCH):
        yield ask(questions[start : start + MAX_BATCH])


def write_scores(
    questions: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any] | None], schema: Schema
) -> bytes:
    """Return the questions with their scores as CSV; without an answer they are empty."""
    pairs = zip(questions, answers, strict=True)
    rows = ({**question, **answer, "score": answer["confidence"]} if answer else question for question, answer in pairs)
    return write_csv([*columns_of(schema), *_SCORES], rows)


def words_of(schema: Schema) -> str:
    """Return the columns of a file in words."""
    needed = ", ".join(schema.asked_keys)
    measures = " or ".join(measure.name for measure in schema.asked_measures)
    return f"{needed} and, if wanted, {measures}" if measures else needed


def _check_header(header: Sequence[str], schema: Schema, name: str) -> None:
    columns = columns_of(schema)
    absent = [column for column in columns if column in schema.keys and column not in header]
    unknown = [column for column in header if column not in columns]
    if absent or unknown or len(set(header)) != len(header):
        present = ", ".join(header)[:200] or "nothing"
        raise DataError(
            f"{name}: the first line must name the columns {words_of(schema)}; it has: {present}. See the template."
        )


def _check_rows(header: Sequence[str], lines: Iterator[list[str]], schema: Schema, name: str) -> Checked:
    checked = Checked([], [])
    for line, fields in enumerate(lines, start=2):
        if line > MAX_ROWS + 1:
            raise DataError(f"{name} has more than {MAX_ROWS:,} rows; split it.")
        if not fields:
            continue
        if len(fields) != len(header):
            checked.faults.append(Fault(line, "", f"{len(fields)} fields where the header has {len(header)}"))
            continue
        row = {column: field.strip() for column, field in zip(header, fields, strict=True) if field.strip()}
        try:
            question = asking_of(schema).query.model_validate(row)
        except ValidationError as error:
            checked.faults.extend(
                Fault(line, ".".join(map(str, details["loc"])), str(details["msg"]).removeprefix("Value error, "))
                for details in error.errors(include_url=False, include_input=False)
            )
        else:
            checked.questions.append(question.model_dump(include=set(columns_of(schema)), exclude_none=True))
    return checked
