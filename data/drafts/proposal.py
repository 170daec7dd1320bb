"""A draft of a mapping for a file that nobody has described yet, made from a sample: for a person to correct."""

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
    """Propose a mapping of a file to events of the default shop.

    Raises DataError where the file cannot be read or has no rows.
    """
    with sample_of(name) as sample:
        return _Draft(name, sample).proposal()


class _Draft:
    """Builds a proposal: assigns a role to each column."""

    def __init__(self, file: str, sample: Sample) -> None:
        self.file = file
        self.sample = sample
        self.seen_columns = sample.columns
        self.options = sample.options
        self.detected = Roles(sample)
        self.roles = self.detected.of
        for column in self.seen_columns:
            column.type = self._type(column)

    def _type(self, column: SeenColumn) -> ColumnType:
        if column.sql_type != "VARCHAR" or column in self.detected.time_columns:
            return "text"
        if column in {self.roles.get("quantity")}:
            return "integer"
        if column in {self.roles.get("total"), self.roles.get("price")}:
            return "number"
        if column in {self.roles.get("user_id"), self.roles.get("product_id")}:
            return column.key_type(self.options)
        return "number" if self._role(column) == "measure" else "text"

    def _role(self, column: SeenColumn) -> str:
        names = {role for role, candidate in self.roles.items() if candidate is column}
        if column in self.detected.time_columns:
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
        """Return the proposal; its text is a valid mapping."""
        columns = tuple(
            ProposedColumn(column.name, column.type, self._role(column), column.values, column.empty, column.example)
            for column in self.seen_columns
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
            *time_lines(self.detected),
            *self._drop_lines(),
            *self._event_lines(columns),
        ]
        text = "\n".join(lines) + "\n"
        parse_mapping(text, f"the proposal for {self.file}")
        return Proposal(self.file, text, columns)

    def _column_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        typed = [
            f"{toml_key(proposed.name)} = {toml_text(proposed.type)}  # {proposed.role}, {proposed.values:,} values, "
            f"{proposed.empty:,} empty, such as {proposed.example or 'none'}"
            for proposed, seen in zip(columns, self.seen_columns, strict=True)
            if seen.sql_type == "VARCHAR" and not seen.is_part
        ]
        return ["[columns]", *typed, ""] if typed else []

    def _drop_lines(self) -> list[str]:
        drops = []
        for role in ("user_id", "product_id"):
            column = self.roles.get(role)
            if column and column.empty:
                drops.append((f"no {column.name}", f"{column.value} IS NULL"))
        type_column = self.roles.get("event_type")
        if type_column and (type_column.empty or not all(event_type_of(value) for value in type_column.distinct())):
            accepted = ", ".join(literal(value) for value in type_column.distinct() if event_type_of(value))
            drops.append(("other event", f"NOT coalesce({type_column.value} IN ({accepted}), false)"))
        for role, condition in (("quantity", "<= 0"), ("total", "< 0"), ("price", "< 0")):
            column = self.roles.get(role)
            if column is not None:
                low = column.extremes(self.options)[0]
                if low < 0 or (low == 0 and role == "quantity"):
                    drops.append((f"{column.name} {condition}", f"{column.number} {condition}"))
        return [
            line
            for reason, where in drops
            for line in ("[[drop]]", f"reason = {toml_text(printable(reason))}", f"where = {toml_text(where)}", "")
        ]

    def _event_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        numbers = ("quantity", "total", "price")
        roles = {role: column.number if role in numbers else column.value for role, column in self.roles.items()}
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
        used = {column.name for column in (*self.roles.values(), *self.detected.time_columns)}
        rest = [column.name for column in columns if column.name not in used and column.values]
        if rest:
            values = {column.name: column.value for column in self.seen_columns}
            pairs = ", ".join(f"{literal(name)}, {values[name]}" for name in rest)
            lines.append(f"metadata = {toml_text(f'json_object({pairs})')}")
        return lines

    def _type_expression(self) -> str:
        column = self.roles.get("event_type")
        if column is None:
            return "'purchase'"
        cases = " ".join(
            f"WHEN {literal(value)} THEN {literal(kind)}"
            for value in column.distinct()
            if (kind := event_type_of(value))
        )
        return f"CASE {column.value} {cases} END"
