"""A schema and a mapping for a file that nobody has described yet, made from a sample of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from data.drafts.names import name_of
from data.errors import DataError
from data.importers.convert import literal
from data.importers.mapping import ColumnType, FileOptions, parse_mapping
from data.importers.proposal import FEW, Draft, SeenColumn, sample_of, toml_key, toml_text
from data.printable import printable
from data.schema import ALWAYS, Entity, EventType, Measure, Schema
from data.units import DAY_US

__all__ = ["DraftColumn", "ShopDraft", "draft_shop", "plain_shop"]

_ID = re.compile(r"(^|[_\W]|[a-z])(id|ID|Id|no|No|nr|Nr|code|Code|sku|SKU|nummer|number)$|(?i:sku|isbn|ean)")
_TYPE = re.compile("event|action|behav|activity|type|kind|vorgang|^art$|operation|status", re.IGNORECASE)
_MOST_LABELS = 1_000
"""A text with more values than this in a sample is kept as metadata: as a label each value would be an entity."""
_MOST_KEYS, _MOST_MEASURES = 3, 5
_MOSTLY = 0.95
_MOST_AMOUNT = 10**9
_SPANS = ((120, 30), (28, 7), (0, 1))
"""Days that a sample spans at least, and the horizon of days that a question may have then."""


@dataclass(frozen=True)
class DraftColumn:
    """A column of the file, the name it gets, and what it seems to be: time, type, key, label, measure or other."""

    column: str
    name: str
    role: str
    values: int
    empty: int
    example: str


@dataclass(frozen=True)
class ShopDraft:
    """What a sample of a file suggests.

    The schema's event types are ordered by how frequent they are. `newest_us` is the newest time of the sample, UTC
    microseconds, and `horizon_days` a horizon that its span allows.
    """

    file: str
    schema: Schema
    mapping: str
    columns: tuple[DraftColumn, ...] = field(repr=False)
    newest_us: int
    horizon_days: int


def draft_shop(file: str, project: str) -> ShopDraft:
    """Return the draft for a file. Raises DataError, in one line, where it cannot be read or has no times or keys."""
    with sample_of(file) as (seen, options):
        draft = Draft(file, seen, options)
        if draft.time is None:
            for column in seen:
                if odd := column.odd_time():
                    raise DataError(
                        f"{file}: column {printable(column.name)}: most times are of the form {odd[0]}, and {odd[1]!r} "
                        "is not; write all of a file in one form"
                    )
            raise DataError(
                f"{file}: no column holds times in a form that is known; write them as 2026-11-21T03:04:05Z, or make "
                "the project without --from, and say in its mapping.toml how they are written"
            )
        return _Columns(draft, options).shop(project)


class _Columns:
    """Which column of the file is what."""

    def __init__(self, draft: Draft, options: FileOptions) -> None:
        self._draft = draft
        self._options = options
        self._names: dict[str, str] = {}
        assert draft.time is not None  # noqa: S101 - as `draft_shop` saw
        self._time = draft.time
        rest = [column for column in draft.seen if column is not self._time and column.filled]
        self._event_id = self._role("event_id", rest)
        self._type = next((column for column in rest if self._is_type(column)), None)
        rest = [column for column in rest if column not in (self._event_id, self._type)]
        self._keys = self._key_columns(rest)
        rest = [column for column in rest if column not in self._keys]
        self._session = self._role("session_id", rest) or self._role("order_id", rest)
        rest = [column for column in rest if column is not self._session]
        self._measures = [each for each in rest if self._is_measure(each)][:_MOST_MEASURES]
        self._labels = [each for each in rest if each not in self._measures and 1 < each.values <= _MOST_LABELS]
        self._others = [each for each in rest if each not in (*self._measures, *self._labels)]
        for column in (*self._keys, *self._labels, *self._measures):
            self._names[column.name] = name_of(column.name, {*ALWAYS, *self._names.values()})

    def shop(self, project: str) -> ShopDraft:
        """Return the draft."""
        first_us, newest_us = self._time.span()
        days = (newest_us - first_us) / DAY_US
        schema = self._schema()
        mapping = self._mapping(project, schema)
        parse_mapping(mapping, f"the proposal for {self._draft.file}")
        return ShopDraft(
            self._draft.file,
            schema,
            mapping,
            tuple(self._told(column) for column in self._draft.seen),
            newest_us,
            next(horizon for least, horizon in _SPANS if days >= least),
        )

    def _role(self, role: str, among: list[SeenColumn]) -> SeenColumn | None:
        found = self._draft.roles.get(role)
        return found if found in among else None

    def _is_type(self, column: SeenColumn) -> bool:
        if column is self._draft.roles.get("event_type"):
            return True
        few = 1 < column.values <= FEW and column.sql_type == "VARCHAR"
        return few and bool(_TYPE.search(column.name)) and not column.reads("number", self._options)

    def _key_columns(self, among: list[SeenColumn]) -> list[SeenColumn]:
        """Return what names who and what: whom events are of first, by whose key they are ordered."""
        named = [each for role in ("user_id", "product_id") if (each := self._role(role, among))]
        sessions = [self._draft.roles.get(role) for role in ("session_id", "order_id")]
        ids = [each for each in among if _ID.search(each.name) and each.filled and each not in sessions]
        found = list(dict.fromkeys([*named, *(each for each in ids if not each.empty)]))[:_MOST_KEYS]
        if found:
            return found
        texts = [each for each in among if 1 < each.values < each.filled and not each.reads("number", self._options)]
        if not texts:
            raise DataError(
                f"{self._draft.file}: no column names who an event is of, with some of them more than once; make the "
                "project without --from, and write its schema.py by hand"
            )
        return [max(texts, key=lambda column: column.values)]

    def _is_measure(self, column: SeenColumn) -> bool:
        """Also where a few values are none: the import names their rows."""
        return column.share("number", self._options) >= _MOSTLY and not _ID.search(column.name)

    def _schema(self) -> Schema:
        keys = tuple(self._names[column.name] for column in self._keys)
        labels = tuple(self._names[column.name] for column in self._labels)
        measures = tuple(self._measure(column) for column in self._measures)
        types = self._type.commonest() if self._type else ["purchase" if self._money else "event"]
        described = [(key,) for key in keys] + [(keys[0], key) for key in keys[1:]]
        described += [pair for label in self._described_label() for pair in ((label,), (keys[0], label))]
        entities: dict[str, Entity] = {}
        for columns in described:
            name = self._entity_name(columns)
            if name not in entities:
                words = " and ".join(f"a {self._entity_name([each])}" for each in columns)
                entities[name] = Entity(name, columns, words)
        asks = (*keys[:2], *([self._names[self._money.name]] if self._money else []))
        return Schema(
            types=tuple(map(EventType, types)),
            keys=keys,
            labels=labels,
            measures=measures,
            ordered_by=keys[0],
            entities=tuple(entities.values()),
            asks=asks,
        )

    def _described_label(self) -> list[str]:
        """The label that is an entity too, if any: the category, else the one with the fewest values."""
        category = self._draft.roles.get("category")
        found = category if category in self._labels else min(self._labels, key=lambda one: one.values, default=None)
        return [self._names[found.name]] if found else []

    @property
    def _money(self) -> SeenColumn | None:
        """The measure that a question may have: the price or total, if there is one."""
        roles = [self._draft.roles.get(role) for role in ("total", "price")]
        return next((column for column in self._measures if column in roles), None)

    def _entity_name(self, keys: Sequence[str]) -> str:
        return "_".join(re.sub(r"_(id|no|nr|code)$", "", key) for key in keys)

    def _measure(self, column: SeenColumn) -> Measure:
        decimals = column.decimals(self._options)
        least, most = column.extremes(self._options)
        bound = max(_MOST_AMOUNT, 10 ** len(f"{max(abs(least), abs(most)):.0f}"))
        return Measure(
            self._names[column.name],
            decimals=max(2, decimals) if decimals else 0,
            least=0 if least >= 0 else -bound,
            most=bound,
            default=0 if column.empty else None,
        )

    def _value(self, column: SeenColumn) -> str:
        """The expression of a column."""
        if column in self._keys and column.is_object:
            return f"{column.value}->>'id'"
        return f"coalesce({column.value}, 0)" if column in self._measures and column.empty else column.value

    def _mapping(self, project: str, schema: Schema) -> str:
        lines = [
            f"# How {printable(self._draft.file)} becomes events of {project}; see docs/mappings.md.",
            "",
            f"name = {toml_text(project)}",
            'equal_rows = "drop"  # rows equal in every column are one event; "keep": each is one',
            "",
            *self._draft.file_lines(),
            *self._column_lines(),
            *self._draft.time_lines(),
        ]
        for column in (*self._keys, *([self._type] if self._type else [])):
            if column.empty:
                reason, where = f"no {printable(column.name)}", f"{column.value} IS NULL"
                lines += ["[[drop]]", f"reason = {toml_text(reason)}", f"where = {toml_text(where)}", ""]
        lines.append("[event]")
        if self._event_id:
            lines.append(f"event_id = {toml_text(self._event_id.value)}")
        kind = self._type.value if self._type else literal(schema.type_names[0])
        lines.append(f"event_type = {toml_text(kind)}")
        for column in (*self._keys, *self._measures, *self._labels):
            lines.append(f"{self._names[column.name]} = {toml_text(self._value(column))}")
        if self._session:
            lines.append(f"session_id = {toml_text(self._session.value)}")
        if self._others:
            pairs = ", ".join(f"{literal(each.name)}, {each.value}" for each in self._others)
            lines.append(f"metadata = {toml_text(f'json_object({pairs})')}")
        return "\n".join(lines) + "\n"

    def _column_lines(self) -> list[str]:
        typed = [column for column in self._draft.seen if column.sql_type == "VARCHAR" and column.filled]
        lines = [f"{toml_key(column.name)} = {toml_text(self._column_type(column))}" for column in typed]
        return ["[columns]", *lines, ""] if lines else []

    def _column_type(self, column: SeenColumn) -> ColumnType:
        if column in self._measures:
            return "integer" if column.reads("integer", self._options) else "number"
        is_number = column.reads("number", self._options)
        return "id" if column in (*self._keys, self._event_id, self._session) and is_number else "text"

    def _told(self, column: SeenColumn) -> DraftColumn:
        roles = {"key": self._keys, "measure": self._measures, "label": self._labels, "other": self._others}
        role = next((role for role, columns in roles.items() if column in columns), "empty")
        single = {"time": self._time, "type": self._type, "id": self._event_id, "session": self._session}
        role = next((name for name, one in single.items() if one is column), role)
        name = {"time": "timestamp", "type": "event_type", "id": "event_id", "session": "session_id"}.get(role, "")
        name = name or self._names.get(column.name, "metadata" if role == "other" else "")
        return DraftColumn(column.name, name, role, column.values, column.empty, column.example)


def plain_shop(project: str) -> ShopDraft:
    """Return a draft of no file: who bought what, for a person to change."""
    schema = Schema(
        types=(EventType("view", "views"), EventType("purchase", "purchases")),
        keys=("customer_id", "item_id"),
        labels=("category",),
        measures=(Measure("amount", decimals=2, most=_MOST_AMOUNT),),
        ordered_by="customer_id",
        entities=(
            Entity("customer", ("customer_id",), "a customer"),
            Entity("item", ("item_id",), "an item"),
            Entity("customer_item", ("customer_id", "item_id"), "a customer and an item"),
            Entity("category", ("category",), "a category"),
            Entity("customer_category", ("customer_id", "category"), "a customer and a category"),
        ),
        asks=("customer_id", "item_id", "amount"),
    )
    columns = (*schema.keys, *schema.labels, "amount")
    mapping = "\n".join(
        [
            f"# How the rows of your files become events of {project}; see docs/mappings.md.",
            "",
            f"name = {toml_text(project)}",
            "",
            "[columns]",
            'amount = "number"',
            "",
            "[time]",
            'value = "at"',
            'formats = ["iso"]',
            'zone = "UTC"  # of times without one: the shop\'s, such as Europe/Paris',
            "",
            "[event]",
            'event_type = "what"',
            *(f'{name} = "{name}"' for name in columns),
        ]
    )
    return ShopDraft("events.csv", schema, mapping + "\n", (), 2**62, 30)
