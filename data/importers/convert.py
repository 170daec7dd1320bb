"""SQL that converts values between types: NULL where that fails, so that the row can be reported."""

import re

from data.importers.columns import Kind
from data.importers.mapping import ColumnType, FileOptions

__all__ = ["PRINTABLE", "converted", "elements", "emptied", "identifier", "literal"]

_BLANKS = " \t\r\n\u00a0\u202f\ufeff"
_THOUSANDS = {" ": " \u00a0\u202f\u2009", "'": "'\u2019"}
"""Characters that such a mark is written as."""

_WHOLE_TYPES = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")} | {
    "INTEGER",
    "UINTEGER",
}
_EXACT = 2**53
"""Larger numbers of floating point may have lost digits."""

_EXPONENT = r"[+-]?[0-9]+\.[0-9]+[eE][+]?[0-9]+|[+-]?[0-9]+(\.[0-9]+)?[eE]\+[0-9]+"
"""An id as spreadsheets write it when it has too many digits for them: its last digits are lost."""

PRINTABLE = r"[\p{L}\p{M}\p{N}\p{P}\p{S} ]*"
"""Text that is printable by the rule of `str.isprintable`."""


def literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def converted(sql: str, sql_type: str, wanted: ColumnType | Kind, options: FileOptions) -> str:
    """Return SQL that converts a value of a DuckDB type."""
    is_text = sql_type in {"VARCHAR", "JSON"} or sql_type.startswith("ENUM")
    match wanted:
        case "number" | "decimal":
            # Of a number in single precision the shortest text is meant: 41.33, not 41.330001831.
            plain = f"{sql}::VARCHAR" if sql_type == "FLOAT" else sql
            return _finite(_number(sql, options) if is_text else f"try_cast({plain} AS DOUBLE)")
        case "integer" if is_text:
            return _number(sql, options, whole=True)
        case "integer":
            return f"try_cast({sql} AS BIGINT)" if sql_type in _WHOLE_TYPES else _whole(f"try_cast({sql} AS DOUBLE)")
        case "id" if is_text:
            whole = f"regexp_replace({_text(sql)}, '^([0-9]+)[.,]0+$', '\\1')"
            return _unless(whole, rf"{_EXPONENT}|[0-9]+[.,][0-9]+")
        case "key" if is_text:
            return _unless(_text(sql), _EXPONENT)
        case "id" | "key" if sql_type in {"FLOAT", "DOUBLE"} or sql_type.startswith("DECIMAL"):
            return _whole(f"try_cast({sql} AS DOUBLE)") + "::VARCHAR"
        case "document" if sql_type == "VARCHAR":  # DuckDB reads more than JSON, such as a comma at an end
            return f"CASE WHEN json_valid({_text(sql)}) THEN json({_text(sql)})::VARCHAR ELSE {_text(sql)} END"
        case "document" if sql_type != "JSON":
            return f"nullif(to_json({sql})::VARCHAR, 'null')"
        case _:
            return _text(sql)


def _text(sql: str) -> str:
    """Return SQL of a text without blanks around it, NULL if nothing is left. Few have blanks, and trim is slow."""
    text = f"{sql}::VARCHAR"
    trimmed = f"trim({text}, {literal(_BLANKS)})"
    return f"nullif(CASE WHEN regexp_matches({text}, '^[{_BLANKS}]|[{_BLANKS}]$') THEN {trimmed} ELSE {text} END, '')"


def _unless(text: str, pattern: str) -> str:
    return f"nullif(regexp_replace({text}, '^(?:{pattern})$', ''), '')"


def emptied(sql: str, options: FileOptions) -> str:
    """Return SQL of a text, NULL where it is one of the texts that mean no value."""
    if not options.empty:
        return sql
    words = ", ".join(map(literal, options.empty))
    return f"CASE WHEN trim({sql}, {literal(_BLANKS)}) IN ({words}) THEN NULL ELSE {sql} END"


def elements(sql: str, sql_type: str) -> tuple[str, str]:
    """Return SQL of a list's elements, a single NULL if it has none, and of whether a value is not a list."""
    if sql_type.endswith("[]"):
        return f"CASE WHEN len({sql}) > 0 THEN {sql} ELSE [NULL] END", "false"
    is_list = f"CASE WHEN json_valid({sql}) THEN json_type({sql}) = 'ARRAY' ELSE false END"
    filled = f"CASE WHEN {is_list} THEN json_array_length({sql}) > 0 ELSE false END"
    return (
        f"CASE WHEN {filled} THEN json_extract_string({sql}, '$[*]') ELSE [NULL::VARCHAR] END",
        f"{sql} IS NOT NULL AND NOT {is_list}",
    )


def _number(sql: str, options: FileOptions, *, whole: bool = False) -> str:
    """Return SQL of the number in a text: what is no number is an empty text to it, and NULL as DOUBLE.

    Thus the text is read once, however long its SQL. A minus may come last; parentheses mean one, as in accounting.
    """
    point = f"[{options.decimal}]"
    comma = f"[{_THOUSANDS.get(options.thousands, options.thousands)}]" if options.thousands else ""
    digits = f"(?:[0-9]+|[0-9]{{1,3}}(?:{comma}[0-9]{{3}})+)" if comma else "[0-9]+"
    blanks = f"[{_BLANKS}]*"
    if whole:
        shape = f"([+-]?{digits})(?:{point}0*)?"
    else:
        shape = f"([+-]?(?:{digits}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    text = f"{sql}::VARCHAR"
    if options.currency:
        mark = f"{blanks}{re.escape(options.currency)}{blanks}"
        text = f"regexp_replace({text}, {literal(f'^({blanks}[(+-]?){mark}|{mark}([)-]?{blanks})$')}, '\\1\\2')"
    last = f"right({text}, 1) IN (')', '-')"
    turned = f"regexp_replace({text}, {literal(f'^{blanks}(?:[(](.*)[)]|(.*)-)$')}, '-\\1\\2')"
    text = f"CASE WHEN {last} THEN {turned} ELSE {text} END"
    number = f"regexp_extract({text}, {literal(f'^{blanks}{shape}{blanks}$')}, 1)"
    if comma:
        number = f"regexp_replace({number}, {literal(comma)}, '', 'g')"
    if options.decimal != ".":
        number = f"replace({number}, {literal(options.decimal)}, '.')"
    return f"try_cast({number} AS {'BIGINT' if whole else 'DOUBLE'})"


def _finite(number: str) -> str:
    """Return SQL of a number, NULL where it is infinite or NaN; to DuckDB NaN equals itself."""
    return f"nullif(nullif(nullif({number}, 'nan'::DOUBLE), 'infinity'::DOUBLE), '-infinity'::DOUBLE)"


def _whole(number: str) -> str:
    return f"CASE WHEN {number} = trunc({number}) AND abs({number}) < {_EXACT} THEN {number}::BIGINT END"
