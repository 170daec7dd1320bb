"""The columns that a mapping fills, and the rules of each: what an event declares, in the importer's terms."""

from typing import Literal, NamedTuple

from data.schema import Measure, Schema

__all__ = ["Column", "columns_of"]

Kind = Literal["key", "label", "choice", "decimal", "integer", "document"]


class Column(NamedTuple):
    """One declared column. `default` is SQL, None where a mapping must give an expression.

    A key is never empty; a label and a document (a JSON object) may be. `longest` is in characters.
    """

    name: str
    kind: Kind
    default: str | None = None
    least: float | None = None
    most: float | None = None
    decimals: int = 6
    longest: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether an event cannot be without a value."""
        return self.kind not in {"label", "document"}


def columns_of(schema: Schema) -> tuple[Column, ...]:
    """Return the columns that a schema's events have: all but the time, which a mapping describes separately."""
    event_id, kind = Column("event_id", "key", longest=64), Column("event_type", "choice", choices=schema.type_names)
    keys = [Column(key, "key", longest=128) for key in schema.keys]
    required = [_number(measure) for measure in schema.measures if measure.default is None]
    others = [_number(measure) for measure in schema.measures if measure.default is not None]
    labels = [Column(label, "label", "NULL", longest=256) for label in ("session_id", *schema.labels)]
    return event_id, kind, *keys, *required, *others, *labels, Column("metadata", "document", "NULL")


def _number(measure: Measure) -> Column:
    number = int if measure.is_whole else float
    default = None if measure.default is None else str(number(measure.default))
    kind: Kind = "integer" if measure.is_whole else "decimal"
    return Column(measure.name, kind, default, number(measure.least), number(measure.most), measure.decimals)
