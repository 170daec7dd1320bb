"""RetailRocket "Recommender system dataset", events.csv: what visitors of a shop viewed, carted and bought.

What is not obvious, and why it is done so:

- The data set has no prices: `amount` is 0, and features of money say nothing here.
- It has no sessions, and categories only in other files that change over time: both stay empty.
- Rows equal in every column are one event written twice: one is kept.
- Rows are not in time order. Times are UTC milliseconds since 1970.
"""

from data.importers.csv_format import CsvFormat

__all__ = ["RETAILROCKET"]

RETAILROCKET = CsvFormat(
    name="retailrocket",
    columns={
        "timestamp": "BIGINT",
        "visitorid": "BIGINT",
        "event": "VARCHAR",
        "itemid": "BIGINT",
        "transactionid": "BIGINT",
    },
    wrong=(
        ("timestamp", '"timestamp" NOT BETWEEN 31536000000 AND 4102444800000', "milliseconds since 1970"),
        ("visitorid", "visitorid IS NULL", "a number"),
        ("itemid", "itemid IS NULL", "a number"),
    ),
    dropped=(("unknown event", "NOT coalesce(event IN ('view', 'addtocart', 'transaction'), false)"),),
    events="""
        SELECT
            'rr-' || md5(concat_ws('|', "timestamp", visitorid, event, itemid, transactionid)) AS event_id,
            CASE event WHEN 'view' THEN 'view' WHEN 'addtocart' THEN 'add_to_cart' ELSE 'purchase' END AS event_type,
            visitorid::VARCHAR AS user_id,
            itemid::VARCHAR AS product_id,
            0.0::DOUBLE AS amount,
            1::BIGINT AS quantity,
            "timestamp" * 1000 AS timestamp_us,
            NULL::VARCHAR AS session_id,
            NULL::VARCHAR AS category,
            CASE WHEN transactionid IS NOT NULL THEN json_object('transaction', transactionid) END AS metadata,
            line
        FROM kept
    """,
)
