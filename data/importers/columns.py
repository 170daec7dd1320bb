"""The columns that a mapping fills, and the rules of each: what an event declares, in the importer's terms."""

from typing import Any, Literal, NamedTuple

import msgspec

from data.default_shop import ShopEvent

__all__ = ["COLUMNS", "Column", "columns_of"]

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


def _column(field: msgspec.inspect.Field) -> Column:
    kind: Any = field.type
    if isinstance(kind, msgspec.inspect.UnionType):
        [kind] = [each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType)]
    default = {msgspec.NODEFAULT: None, None: "NULL"}.get(field.default, str(field.default))
    match kind:
        case msgspec.inspect.StrType(max_length=longest):
            return Column(field.name, "key" if field.required else "label", default, longest=longest)
        case msgspec.inspect.LiteralType(values=values):
            return Column(field.name, "choice", default, choices=tuple(map(str, values)))
        case msgspec.inspect.FloatType(ge=least, le=most):
            return Column(field.name, "decimal", default, least, most)
        case msgspec.inspect.IntType(ge=least, le=most):
            return Column(field.name, "integer", default, least, most)
        case _:
            return Column(field.name, "document", default)


def columns_of(event: type[msgspec.Struct]) -> tuple[Column, ...]:
    """Return the columns that a class of events declares: all but the time, which a mapping describes by itself."""
    described = msgspec.inspect.type_info(event)
    assert isinstance(described, msgspec.inspect.StructType)  # noqa: S101 - as `event` is one
    return tuple(_column(field) for field in described.fields if field.name != "timestamp")


COLUMNS = columns_of(ShopEvent)
"""Those of the package's own shop."""
