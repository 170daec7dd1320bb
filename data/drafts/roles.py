"""Roles of a file's columns by their names and values: time, customer, product, event type, money, order."""

import re
from collections.abc import Callable

from data.default_shop import EVENT_TYPES
from data.drafts.sample import Sample
from data.drafts.seen import CLOCKS, MOSTLY, SeenColumn

__all__ = ["FEW", "LINE_ID", "Roles", "event_type_of", "repeats"]

FEW = 20
"""Most distinct values of a column that tells the type of an event."""

_ROLES = {
    "user_id": "user|cust|client|visitor|member|account|shopper|buyer|household|subscriber|guest|kunde|e.?mail|card"
    "|karte|reviewer|debitor|klant|acheteur|usuario|utente|patron|клиент|покупател|客户|用户|会员|顧客|会員",
    "product_id": "prod|item|sku|stock|article|artikel|asin|material|^ean|ean$|gtin|barcode|movie|book|track"
    "|товар|商品",
    "event_type": "event|action|behav|activity|type",
    "quantity": "quant|qty|units|menge|cantidad|anzahl|pieces|pcs|stück|кол-?во|数量",
    "total": "amount|total|revenue|sales|turnover|value|spend|betrag|umsatz|montant|importe|сумма|金額|金额",
    "price": "price|preis|prix|precio|prezzo|prijs|cost|цена|価格|价格",
    "session_id": "session",
    "order_id": "invoice|order|basket|transaction|receipt|bestell|beleg|rechnung|pedido|commande|^bon|ticket|facture",
    "category": "categ|kategorie|department|gruppe|genre|rubrik|aisle|категори|分类|カテゴリ",
    "event_id": "event.?id|hit.?id|line.?id|row.?id|^id$|uuid|order.?item|line.?item.?id",
}
"""Patterns of column names by role; the first column that matches, and whose values suit the role, is taken."""

LINE_ID = re.compile("(order|invoice|line|basket).?(item|line|position|pos)s?.?(id|no|nr|num|number)?$", re.IGNORECASE)
"""Names of the number of a line within an order."""

_NO_KEY = re.compile(
    "name|desc|categ|type|price|status|group|title|quant|qty|amount|total|discount|ship|tax|fulfil|compare|weight|cost"
    "|date|time|agent|phone|city|country|gender|birth|segment|flag|session",
    re.IGNORECASE,
)
_NOT_MONEY = re.compile("tax|ship|discount|refund|fee|freight|profit|margin", re.IGNORECASE)
"""Names of money that is not what the row is about."""

_NOT_WHEN = re.compile(
    "update|modif|deliver|ship|approv|estimat|expir|limit|birth|geburt|due|until|valid|cancel|refund|payment|paid|return"
    "|fulfil|process|since|signup|register",
    re.IGNORECASE,
)
"""Names of times other than the event's own."""

_CLOCK_NAME = re.compile("time|zeit|uhr|hour|stunde|heure|hora|^ora|clock|tijd|время|時", re.IGNORECASE)

_TYPES = {
    "remove_from_cart": "remove",
    "add_to_cart": "cart|basket",
    "return": "return|refund|cancel",
    "purchase": "purchase|checkout|buy|bought|order|transaction|sale|paid",
    "view": "view|click|detail|visit|^pv$|impression",
}
"""Patterns of the values of an event type; the first that matches is taken."""


class Roles:
    """The columns of a sample by role: `time` (None where there is none), and `of`, by the names of roles.

    `time` may join a column of days with one of times of the day; `time_columns` are the columns of the file that it is
    made of. `other_times` are the columns that could be the time as well.
    """

    def __init__(self, sample: Sample) -> None:
        self._options = sample.options
        self.time: SeenColumn | None = None
        self.time_columns: tuple[SeenColumn, ...] = ()
        self.other_times: list[SeenColumn] = []
        self._find_time(sample.columns)
        self.of: dict[str, SeenColumn] = {}
        for role, pattern in _ROLES.items():
            named = [
                column for column in sample.columns if re.search(pattern, column.name, re.IGNORECASE) and column.filled
            ]
            chosen = next((column for column in sorted(named, key=_rank(role)) if self._suits(role, column)), None)
            if chosen is not None:
                self.of[role] = chosen
        id_column = next((column for column in sample.columns if column.name.lower() == "id"), None)
        if sample.each and id_column is not None and id_column.filled and not self.roles_of(id_column):
            self.of.setdefault("order_id", id_column)  # the id of an exploded row is its order's

    def roles_of(self, column: SeenColumn) -> set[str]:
        """Return the names of the roles that a column has."""
        return {role for role, candidate in self.of.items() if candidate is column}

    def _find_time(self, columns: list[SeenColumn]) -> None:
        timed = [column for column in columns if column.forms]
        if not timed:
            for column in columns:
                column.take_numbers_for_times()
            numeric = [column for column in columns if column.forms and column.forms != ["excel"]]
            timed = numeric if len(numeric) == 1 else []
        ranked = sorted(
            timed, key=lambda column: (bool(_NOT_WHEN.search(column.name)), not column.is_named_time, column.is_days)
        )
        if not ranked:
            return
        self.time, *self.other_times = ranked
        self.time_columns = (self.time,)
        if self.time.is_days and not self.time.is_part:
            self._add_clock(self.time, [column for column in columns if _CLOCK_NAME.search(column.name)])

    def _add_clock(self, day: SeenColumn, clocks: list[SeenColumn]) -> None:
        form = "%Y-%m-%d" if day.forms[0] == "iso" else day.forms[0]
        for clock in clocks:
            if clock is day or clock.forms or not clock.filled or clock.is_part:
                continue
            joined = day.joined_with(clock, [date + suffix for date in (form, *day.forms[1:]) for suffix in CLOCKS])
            if joined.forms and not joined.is_days:
                self.time, self.time_columns = joined, (day, clock)
                return

    def _suits(self, role: str, column: SeenColumn) -> bool:
        if column in self.of.values() or column in self.time_columns or not column.is_scalar:
            return False
        match role:
            case "user_id" | "product_id":
                return not (_NO_KEY.search(column.name) or LINE_ID.search(column.name)) and repeats(column)
            case "event_type":
                return column.values <= FEW and any(event_type_of(value) for value in column.distinct())
            case "quantity":
                return not column.has_zeros and column.reads("integer", self._options)
            case "total" | "price":
                if role == "total" and _NOT_MONEY.search(column.name):
                    return False
                return not column.has_zeros and column.share("number", self._options) >= MOSTLY
            case "event_id":
                return column.values == column.filled and not column.empty
            case _:
                return True


def repeats(column: SeenColumn) -> bool:
    """Return whether some value occurs more than once, or there are too few rows to tell."""
    return bool(column.values < column.filled or column.filled < FEW)


def _rank(role: str) -> Callable[[SeenColumn], bool]:
    """Return the sort key of columns whose names match a role.

    Columns named like ids come first as keys and last as categories; as money, columns without empty values come first.
    """
    match role:
        case "user_id" | "product_id":
            is_id = re.compile("id$|code|no$|nr$|sku", re.IGNORECASE)
            return lambda column: is_id.search(column.name) is None
        case "category":
            return lambda column: bool(re.search("id$|no$|nr$|sku", column.name, re.IGNORECASE))
        case "total" | "price":
            return lambda column: bool(column.empty)
        case _:
            return lambda _: False


def event_type_of(value: str) -> str | None:
    """Return the event type of the default shop that a value means; None where there is none."""
    squeezed = re.sub(r"[^a-z]", "", value.lower())
    matched = next((kind for kind, pattern in _TYPES.items() if re.search(pattern, squeezed)), None)
    return matched if matched in EVENT_TYPES else None
