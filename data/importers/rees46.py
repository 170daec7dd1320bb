"""REES46 "eCommerce behavior data" (multi category store, cosmetics shop, ...): sessions of views, carts and purchases.

What is not obvious, and why it is done so:

- Each row is one unit at its price: `amount` is the price, `quantity` 1.
- Rows equal in every column fall in one second of one session: taken for one event written twice, one is kept.
- A price below 0 (the cosmetics shop has some) or none is no sum of money: left out.
- Times have seconds only. Within a second the file's order is kept.
- `category` is category_code; where that is empty it stays empty, and category_id is in the metadata.
"""

from data.importers.csv_format import CsvFormat

__all__ = ["REES46"]

_TIME = "try_strptime(event_time, '%Y-%m-%d %H:%M:%S UTC')"

REES46 = CsvFormat(
    name="rees46",
    columns={
        "event_time": "VARCHAR",
        "event_type": "VARCHAR",
        "product_id": "BIGINT",
        "category_id": "BIGINT",
        "category_code": "VARCHAR",
        "brand": "VARCHAR",
        "price": "DOUBLE",
        "user_id": "BIGINT",
        "user_session": "VARCHAR",
    },
    wrong=(
        ("event_time", f"year({_TIME}) NOT BETWEEN 1971 AND 2100", "a time like 2019-10-01 00:00:00 UTC"),
        ("product_id", "product_id IS NULL", "a number"),
        ("price", "coalesce(NOT isfinite(price) OR abs(price) > 1e9, false)", "a price"),
        ("user_id", "user_id IS NULL", "a number"),
    ),
    dropped=(
        (
            "unknown event type",
            "NOT coalesce(event_type IN ('view', 'cart', 'remove_from_cart', 'purchase'), false)",
        ),
        ("no price", "price IS NULL"),
        ("price below 0", "price < 0"),
    ),
    events=f"""
        SELECT
            'r46-' || md5(concat_ws('|', event_time, event_type, product_id, coalesce(category_id, 0),
                coalesce(category_code, ''), coalesce(brand, ''), price, user_id, user_session)) AS event_id,
            CASE event_type WHEN 'cart' THEN 'add_to_cart' ELSE event_type END AS event_type,
            user_id::VARCHAR AS user_id,
            product_id::VARCHAR AS product_id,
            round(price, 6) AS amount,
            1::BIGINT AS quantity,
            epoch_us({_TIME}) AS timestamp_us,
            user_session[:256] AS session_id,
            category_code[:256] AS category,
            json_object('brand', brand, 'category_id', category_id::VARCHAR) AS metadata,
            line
        FROM kept
    """,  # noqa: S608 (made of this module's constants)
)
