"""A schema and a mapping for a file that nobody has described yet, made from a sample of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from data.drafts.mapping_text import file_lines, time_lines, toml_key, toml_text
from data.drafts.names import name_of
from data.drafts.roles import FEW, LINE_ID, Roles, event_type_of, repeats
from data.drafts.sample import Sample, sample_of
from data.drafts.seen import MOSTLY, SeenColumn
from data.errors import DataError
from data.importers.convert import literal
from data.importers.mapping import ColumnType, parse_mapping
from data.printable import printable
from data.schema import ALWAYS, Entity, EventType, Measure, Schema
from data.units import DAY_US

__all__ = ["BUYING", "DraftColumn", "ShopDraft", "draft_shop", "plain_shop"]

_ID = re.compile(
    r"(?i:(^|[_\W])(id|no|nr|num|nummer|number|code|key|uuid|guid)$|nummer$|sku|isbn|^ean|gtin)"
    r"|[a-z](ID|Id|No|Nr|Code|Key|Number)$|(?i:[a-z]{3,}id$)"
)
_NO_ID = re.compile("(paid|void|valid|grid|bid|hybrid|android|phone.*)$", re.IGNORECASE)
_TYPE = re.compile("event|action|behav|activity|type|kind|vorgang|^art$|operation|status", re.IGNORECASE)
_CODED = re.compile("event|action|behav|activity", re.IGNORECASE)
"""Names of columns whose numbers may be event types."""

_CLASS = re.compile(
    "class|categ|dept|department|zip|postal|postcode|^plz|pin|year|month|hour|weekday|dow$", re.IGNORECASE
)
"""Names of columns whose numbers are labels rather than measures."""

_COUNTER = re.compile(r"^(column\d+|index|unnamed.*|row.*|#)$", re.IGNORECASE)

BUYING = ("purchase", "sale", "order", "buy", "bought", "checkout", "paid", "verkauf", "transaction", "completed")
"""Parts of the names of event types that mean a purchase."""

_MOST_LABELS = 1_000
"""A text with more values than this in a sample becomes metadata: as a label, each value would be an entity."""
_MOST_KEYS, _MOST_MEASURES = 3, 5
_MOST_AMOUNT = 10**9
_RETURNED = 0.4
"""Largest share of rows with numbers below 0 that are taken for returns."""

_SPANS = ((120, 30), (28, 7), (0, 1))
"""Least days that a sample spans, and the horizon in days that a question may have then."""


@dataclass(frozen=True)
class DraftColumn:
    """A column of the file, its name in the schema, and its role: time, type, key, label, measure or other."""

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
    microseconds, and `horizon_days` a horizon that its span allows. `doubts` are what it leaves open, a sentence each.
    """

    file: str
    schema: Schema
    mapping: str
    columns: tuple[DraftColumn, ...] = field(repr=False)
    newest_us: int
    horizon_days: int
    doubts: tuple[str, ...] = ()


def draft_shop(file: str, project: str, names: Sequence[str] = ()) -> ShopDraft:
    """Return the draft for a file; `names` are those of its columns where it has no header.

    Raises DataError, in one line, where it cannot be read or has no times or keys.
    """
    with sample_of(file, names) as sample:
        roles = Roles(sample)
        if roles.time is None:
            raise _no_time(file, sample)
        return _Columns(file, sample, roles, roles.time).shop(project)


def _no_time(file: str, sample: Sample) -> DataError:
    """Return the error for a file without times: it names a column that nearly holds them, or is named like one."""
    for column in sample.columns:
        if column.filled and column.is_scalar and (odd := column.odd_time()):
            return DataError(
                f"{file}: column {printable(column.name)}: most times are of the form {odd[0]}, and {odd[1]!r} "
                "is not; write all of a file in one form"
            )
    time_column = next((column for column in sample.columns if column.filled and column.is_named_time), None)
    example = f" (column {printable(time_column.name)} has {time_column.example!r})" if time_column else ""
    return DataError(
        f"{file}: no column holds times in a form that is known{example}; write them as 2026-11-21T03:04:05Z, or make "
        "the project without --from, and say in its mapping.toml how they are written: [time] takes an expression too"
    )


class _Columns:
    """Assigns roles to the columns of the file, and drafts a schema and a mapping of them."""

    def __init__(self, file: str, sample: Sample, roles: Roles, time: SeenColumn) -> None:
        self._file = file
        self._sample = sample
        self._roles = roles
        self._options = sample.options
        self._names: dict[str, str] = {}
        self._time = time
        rest = [column for column in sample.columns if column not in roles.time_columns and column.filled]
        self._event_id = self._role("event_id", rest)
        self._type = next((column for column in rest if self._is_type(column)), None)
        rest = [column for column in rest if column not in (self._event_id, self._type)]
        self._keys = self._key_columns(rest)
        rest = [column for column in rest if column not in self._keys]
        self._session = self._role("session_id", rest) or self._role("order_id", rest)
        rest = [column for column in rest if column is not self._session]
        paid = [column for role in ("quantity", "price", "total") if (column := self._role(role, rest))]
        measures = [*paid, *(column for column in rest if column not in paid and self._is_measure(column))][
            :_MOST_MEASURES
        ]
        self._measures = [column for column in rest if column in measures]
        self._labels = [column for column in rest if column not in self._measures and self._is_label(column)]
        self._others = [column for column in rest if column not in (*self._measures, *self._labels)]
        self._signed = self._signed_column()
        for column in (*self._keys, *self._labels, *self._measures):
            taken = {*ALWAYS, *self._names.values()}
            instead = next(iter(sorted(roles.roles_of(column))), "column").removesuffix("_id")
            self._names[column.name] = name_of(column.name, taken, instead=instead)

    def shop(self, project: str) -> ShopDraft:
        """Return the draft."""
        first_us, newest_us = self._time.span()
        days = (newest_us - first_us) / DAY_US
        schema = self._schema()
        mapping = self._mapping(project, schema)
        parse_mapping(mapping, f"the proposal for {self._file}")
        return ShopDraft(
            self._file,
            schema,
            mapping,
            tuple(self._draft_column(column) for column in self._sample.columns),
            newest_us,
            next(horizon for least, horizon in _SPANS if days >= least),
            tuple(self._doubts(schema)),
        )

    def _role(self, role: str, among: list[SeenColumn]) -> SeenColumn | None:
        column = self._roles.of.get(role)
        return column if column in among else None

    def _is_type(self, column: SeenColumn) -> bool:
        if column is self._roles.of.get("event_type"):
            return True
        if not 1 < column.values <= FEW or column.sql_type != "VARCHAR" or column.empty:
            return False
        is_number = column.reads("number", self._options)
        kinds = {event_type_of(value) for value in column.distinct()}
        if len(kinds) > 1 and None not in kinds:
            return True
        return bool((_CODED if is_number else _TYPE).search(column.name))

    def _is_id(self, column: SeenColumn) -> bool:
        name = column.name.strip(" ._")
        if not _ID.search(name) or _NO_ID.search(name) or LINE_ID.search(name):
            return False
        return column.is_scalar and not column.forms and repeats(column)

    def _key_columns(self, among: list[SeenColumn]) -> list[SeenColumn]:
        """Return the key columns; events are ordered by the first, which names whom they are of."""
        user, product = self._role("user_id", among), self._role("product_id", among)
        sessions = [self._roles.of.get(role) for role in ("session_id", "order_id")]
        ids = [column for column in among if self._is_id(column) and not column.empty and column not in sessions]
        first = [user] if user else [column for column in ids if column is not product][:1]
        first = first or [column for column in sessions[:1] if column in among and repeats(column)]
        keys = list(dict.fromkeys([*first, *([product] if product else []), *ids]))[:_MOST_KEYS]
        if keys:
            return keys
        texts = [
            column
            for column in among
            if 1 < column.values < column.filled
            and column.is_scalar
            and not column.forms
            and (column.has_zeros or not column.reads("number", self._options))
        ]
        if not texts:
            unique = next((column for column in among if _ID.search(column.name) and not repeats(column)), None)
            why = f" ({printable(unique.name)} has another value in every row)" if unique else ""
            raise DataError(
                f"{self._file}: no column names who an event is of, with some of them more than once{why}; join the "
                "file with the one that says who, or make the project without --from and write its schema.py by hand"
            )
        return [max(texts, key=lambda column: (column.has_zeros, column.values))]

    def _is_measure(self, column: SeenColumn) -> bool:
        """Return whether a column is a measure; a few values may be no numbers: the import reports their rows."""
        if _ID.search(column.name.strip(" ._")) or _CLASS.search(column.name) or column.has_zeros or column.forms:
            return False
        if not column.is_scalar or (_COUNTER.search(column.name) and column.values == column.filled):
            return False
        return column.share("number", self._options) >= MOSTLY

    def _is_label(self, column: SeenColumn) -> bool:
        return 1 < column.values <= _MOST_LABELS and column.is_scalar and not column.forms

    def _signed_column(self) -> SeenColumn | None:
        """Return the measure that is negative in rows of returns, where no column tells event types."""
        for role in ("quantity", "total"):
            column = self._roles.of.get(role)
            if self._type or column is None or column not in self._measures:
                continue
            if 0 < column.negative_share(self._options) <= _RETURNED:
                return column
        return None

    def _doubts(self, schema: Schema) -> list[str]:
        doubts = list(self._sample.doubts)
        if not self._time.has_zone:
            doubts.append("times have no zone, and are taken for UTC; see `zone` in the mapping")
        if len(self._time.forms) > 1:
            doubts.append(f"times can be read as {' and as '.join(self._time.forms)}; keep one of `formats`")
        if others := [printable(column.name) for column in self._roles.other_times]:
            doubts.append(f"the time of an event is {printable(self._time.name)}, not {', '.join(others)}")
        if self._role("user_id", self._keys) is None:
            doubts.append(
                f"no name says whom an event is of: {schema.ordered_by} is taken, by which events are ordered then"
            )
        doubts += [
            f"rows without {printable(column.name)} ({column.empty:,} of the sample) make no event; make it a label "
            "if they should"
            for column in self._keys
            if column.empty
        ]
        if self._signed:
            doubts.append(f"rows with {printable(self._signed.name)} below 0 are taken for returns")
        elif self._type is None:
            doubts.append(f"no column tells types of events: each is a {schema.type_names[0]}")
        if self._sample.is_part:
            doubts.append(
                "only the beginning of the file was read: what is the same in all of it may differ later, and the "
                "horizon in targets.py and ENCORE_CLOCK in encore.toml are drafted by it"
            )
        return doubts

    def _schema(self) -> Schema:
        keys = tuple(self._names[column.name] for column in self._keys)
        labels = tuple(self._names[column.name] for column in self._labels)
        measures = tuple(self._measure(column) for column in self._measures)
        types = self._type.commonest() if self._type else ["purchase" if self._money else "event"]
        types.sort(key=lambda kind: not any(word in kind.lower() for word in BUYING))  # purchases, then by frequency
        types += ["return"] if self._signed else []
        described = [(key,) for key in keys] + [(keys[0], key) for key in keys[1:]]
        described += [pair for label in self._described_label() for pair in ((label,), (keys[0], label))]
        entities: dict[str, Entity] = {}
        for columns in described:
            name = self._entity_name(columns)
            if name not in entities:
                words = " and ".join(f"a {self._entity_name([key])}" for key in columns)
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
        """The label that is an entity too, if any: the category, else the one of fewest values, preferably not two."""
        category = self._roles.of.get("category")
        fewest = min(self._labels, key=lambda column: (column.values == 2, column.values), default=None)
        label = category if category in self._labels else fewest
        return [self._names[label.name]] if label else []

    @property
    def _money(self) -> SeenColumn | None:
        """The measure that a question may name: the total or price, if there is one."""
        roles = [self._roles.of.get(role) for role in ("total", "price")]
        money = [column for column in roles if column in self._measures]
        return min(filter(None, money), key=lambda column: bool(column.empty), default=None)

    def _entity_name(self, keys: Sequence[str]) -> str:
        return "_".join(re.sub(r"_(id|no|nr|code)$", "", key) for key in keys)

    def _measure(self, column: SeenColumn) -> Measure:
        decimals = column.decimals(self._options)
        least, most = column.extremes(self._options)
        if self._is_turned(column):
            least, most = 0, max(abs(least), abs(most))
        bound = max(_MOST_AMOUNT, 10 ** len(f"{max(abs(least), abs(most)):.0f}"))
        return Measure(
            self._names[column.name],
            decimals=max(2, decimals) if decimals else 0,
            least=0 if least >= 0 else -bound,
            most=bound,
            default=0 if column.empty else None,
        )

    def _value(self, column: SeenColumn) -> str:
        """Return the expression of a column in the mapping."""
        if column not in self._measures:
            return column.value
        value = f"abs({column.number})" if self._is_turned(column) else column.number
        return f"coalesce({value}, 0)" if column.empty else value

    def _is_turned(self, column: SeenColumn) -> bool:
        """Return whether a measure is negative in rows of returns, so that its sign is dropped."""
        named = [self._roles.of.get(role) for role in ("quantity", "total")]
        return self._signed is not None and column in named and column.extremes(self._options)[0] < 0

    def _mapping(self, project: str, schema: Schema) -> str:
        lines = [
            f"# How {printable(self._file)} becomes events of {project}; see docs/mappings.md.",
            "",
            f"name = {toml_text(project)}",
            'equal_rows = "keep"  # the same twice in a day is two events; "drop": written twice, it is one'
            if self._time.is_days and self._event_id is None
            else 'equal_rows = "drop"  # rows equal in every column are one event; "keep": each is one',
            *([f"each = {toml_text(self._sample.each)}  # an event for each element"] if self._sample.each else []),
            *self._undoes_lines(schema),
            "",
            *file_lines(self._options),
            *self._column_lines(),
            *time_lines(self._roles),
        ]
        for column in (*self._keys, *([self._type] if self._type else [])):
            if column.empty:
                reason, where = f"no {printable(column.name)}", f"{column.value} IS NULL"
                lines += ["[[drop]]", f"reason = {toml_text(reason)}", f"where = {toml_text(where)}", ""]
        lines.append("[event]")
        if self._event_id:
            lines.append(f"event_id = {toml_text(self._event_id.value)}")
        kind = self._type.value if self._type else literal(schema.type_names[0])
        if self._signed:
            kind = f"if({self._signed.number} < 0, 'return', {kind})"
        lines.append(f"event_type = {toml_text(kind)}")
        for column in (*self._keys, *self._measures, *self._labels):
            lines.append(f"{self._names[column.name]} = {toml_text(self._value(column))}")
        if self._session:
            lines.append(f"session_id = {toml_text(self._session.value)}")
        if self._others:
            pairs = ", ".join(f"{literal(column.name)}, {column.value}" for column in self._others)
            lines.append(f"metadata = {toml_text(f'json_object({pairs})')}")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _undoes_lines(schema: Schema) -> list[str]:
        """Return the line by which returns undo purchases, where the event types mean so."""
        first = schema.type_names[0]
        if event_type_of(first) != "purchase":
            return []
        undone = [
            f"{toml_key(kind)} = {toml_text(first)}" for kind in schema.type_names if event_type_of(kind) == "return"
        ]
        return [f"undoes = {{ {', '.join(undone)} }}"] if undone else []

    def _column_lines(self) -> list[str]:
        typed = [
            column
            for column in self._sample.columns
            if column.sql_type == "VARCHAR" and column.filled and not column.is_part
        ]
        lines = [f"{toml_key(column.name)} = {toml_text(self._column_type(column))}" for column in typed]
        return ["[columns]", *lines, ""] if lines else []

    def _column_type(self, column: SeenColumn) -> ColumnType:
        if column in self._measures:
            return "integer" if column.reads("integer", self._options) else "number"
        return column.key_type(self._options) if column in (*self._keys, self._event_id, self._session) else "text"

    def _draft_column(self, column: SeenColumn) -> DraftColumn:
        roles = {"key": self._keys, "measure": self._measures, "label": self._labels, "other": self._others}
        role = next((role for role, columns in roles.items() if column in columns), "empty")
        if column in self._roles.time_columns:
            role = "time"
        single = {"type": self._type, "id": self._event_id, "session": self._session}
        role = next((name for name, candidate in single.items() if candidate is column), role)
        name = {"time": "timestamp", "type": "event_type", "id": "event_id", "session": "session_id"}.get(role, "")
        name = name or self._names.get(column.name, "metadata" if role == "other" else "")
        return DraftColumn(column.name, name, role, column.values, column.empty, column.example)


def plain_shop(project: str) -> ShopDraft:
    """Return a draft without a file: customers who view and buy items, for a person to change."""
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
