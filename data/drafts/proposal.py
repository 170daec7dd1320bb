"""A mapping for a file that nobody has described yet, made from a sample of it: a draft for a person to correct."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.drafts.mapping_text import file_lines, time_lines, toml_key, toml_text
from data.drafts.roles import Roles, event_type_of
from data.drafts.sample import Sample, sample_of
from data.drafts.seen import SeenColumn
from data.importers.convert import literal
from data.importers.mapping import ColumnType, parse_mapping
from data.printable import printable

__all__ = ["Proposal", "ProposedColumn", "propose"]


@dataclass(frozen=True)
class ProposedColumn:
    """What a column of the file seems to be: its type, its role (key, label, measure or time), and how varied it is."""

    name: str
    type: str
    role: str
    values: int
    empty: int
    example: str


@dataclass(frozen=True)
class Proposal:
    """A mapping as the text of a TOML file, and what it was made from."""

    file: str
    text: str
    columns: tuple[ProposedColumn, ...]


def propose(name: str) -> Proposal:
    """Return a mapping of a file to the columns that an event of the package's own shop has.

    Raises DataError where the file cannot be read or has no rows.
    """
    with sample_of(name) as sample:
        return _Draft(name, sample).proposal()


class _Draft:
    """The proposal in the making: which column has which role."""

    def __init__(self, file: str, sample: Sample) -> None:
        self.file = file
        self.sample = sample
        self.seen = sample.columns
        self.options = sample.options
        self.found = Roles(sample)
        self.roles = self.found.of
        for column in self.seen:
            column.type = self._type(column)

    def _type(self, column: SeenColumn) -> ColumnType:
        if column.sql_type != "VARCHAR" or column in self.found.time_columns:
            return "text"
        if column in {self.roles.get("quantity")}:
            return "integer"
        if column in {self.roles.get("total"), self.roles.get("price")}:
            return "number"
        if column in {self.roles.get("user_id"), self.roles.get("product_id")}:
            return column.key_type(self.options)
        return "number" if self._role(column) == "measure" else "text"

    def _role(self, column: SeenColumn) -> str:
        names = {role for role, each in self.roles.items() if each is column}
        if column in self.found.time_columns:
            return "time"
        if names & {"user_id", "product_id", "event_id"}:
            return "key"
        if names & {"quantity", "total", "price"}:
            return "measure"
        if (
            names
            or not column.reads("number", self.options)
            or re.search("id$|code|no$|zip", column.name, re.IGNORECASE)
        ):
            return "label"
        return "measure"

    def proposal(self) -> Proposal:
        """Return the text, which is a mapping that can be read, and the columns."""
        columns = tuple(
            ProposedColumn(each.name, each.type, self._role(each), each.values, each.empty, each.example)
            for each in self.seen
        )
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(self.file).name.split(".")[0]).strip("-") or "import"
        lines = [
            f"# Proposed from a sample of {printable(Path(self.file).name)}: correct it, and save it as a .toml file.",
            "",
            f"name = {toml_text(name)}",
            'equal_rows = "drop"  # rows equal in every column are one event; "keep": each is one',
            *([f"each = {toml_text(self.sample.each)}  # an event for each element"] if self.sample.each else []),
            "",
            *file_lines(self.options),
            *self._column_lines(columns),
            *time_lines(self.found),
            *self._drop_lines(),
            *self._event_lines(columns),
        ]
        text = "\n".join(lines) + "\n"
        parse_mapping(text, f"the proposal for {self.file}")
        return Proposal(self.file, text, columns)

    def _column_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        typed = [
            f"{toml_key(each.name)} = {toml_text(each.type)}  # {each.role}, {each.values:,} values, {each.empty:,} "
            f"empty, such as {each.example or 'none'}"
            for each, seen in zip(columns, self.seen, strict=True)
            if seen.sql_type == "VARCHAR" and not seen.is_part
        ]
        return ["[columns]", *typed, ""] if typed else []

    def _drop_lines(self) -> list[str]:
        drops = []
        for role in ("user_id", "product_id"):
            column = self.roles.get(role)
            if column and column.empty:
                drops.append((f"no {column.name}", f"{column.value} IS NULL"))
        kind = self.roles.get("event_type")
        if kind and (kind.empty or not all(event_type_of(each) for each in kind.distinct())):
            known = ", ".join(literal(each) for each in kind.distinct() if event_type_of(each))
            drops.append(("other event", f"NOT coalesce({kind.value} IN ({known}), false)"))
        for role, least in (("quantity", "<= 0"), ("total", "< 0"), ("price", "< 0")):
            column = self.roles.get(role)
            if column is not None:
                low = column.extremes(self.options)[0]
                if low < 0 or (low == 0 and role == "quantity"):
                    drops.append((f"{column.name} {least}", f"{column.number} {least}"))
        return [
            line
            for reason, where in drops
            for line in ("[[drop]]", f"reason = {toml_text(printable(reason))}", f"where = {toml_text(where)}", "")
        ]

    def _event_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        numbers = ("quantity", "total", "price")
        roles = {role: each.number if role in numbers else each.value for role, each in self.roles.items()}
        if "quantity" in roles and self.roles["quantity"].empty:
            roles["quantity"] = f"coalesce({roles['quantity']}, 1)"
        lines = ["[event]"]
        if "event_id" in roles:
            lines.append(f"event_id = {toml_text(roles['event_id'])}")
        lines.append(f"event_type = {toml_text(self._type_expression())}")
        for role, kind in (("user_id", "user"), ("product_id", "product")):
            missing = "" if role in roles else f"  # which column names the {kind}?"
            lines.append(f"{role} = {toml_text(roles.get(role, 'NULL'))}{missing}")
        amount = roles.get("total")
        if amount is None and "price" in roles:
            amount = f"{roles['price']} * {roles['quantity']}" if "quantity" in roles else roles["price"]
        lines.append(f"amount = {toml_text(amount or '0')}" + ("" if amount else "  # no column of money was seen"))
        others = ("quantity", "session_id", "order_id", "category")
        lines += [f"{role} = {toml_text(roles[role])}" for role in others if role in roles]
        used = {column.name for column in (*self.roles.values(), *self.found.time_columns)}
        rest = [each.name for each in columns if each.name not in used and each.values]
        if rest:
            values = {column.name: column.value for column in self.seen}
            pairs = ", ".join(f"{literal(each)}, {values[each]}" for each in rest)
            lines.append(f"metadata = {toml_text(f'json_object({pairs})')}")
        return lines

    def _type_expression(self) -> str:
        column = self.roles.get("event_type")
        if column is None:
            return "'purchase'"
        cases = " ".join(
            f"WHEN {literal(each)} THEN {literal(kind)}" for each in column.distinct() if (kind := event_type_of(each))
        )
        return f"CASE {column.value} {cases} END"
