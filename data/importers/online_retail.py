"""UCI "Online Retail" (Chen, 2015): the invoice lines of a British wholesaler of gifts, purchases only.

What is not obvious, and why it is done so:

- A line without CustomerID has nobody to predict for: left out.
- A cancellation (InvoiceNo begins with C) or a line with no positive quantity is goods going back or a correction of
  the stock. It is no purchase, and the purchase it undoes did happen: left out, and the purchase stays. Other letters
  (A: bad debt) are bookkeeping.
- Price 0 is a sample, a gift or a correction: nobody chose to buy it.
- A product's code is five digits and perhaps letters. All else (POST, DOT, M, D, BANK CHARGES, vouchers, ...) is
  postage, fees and manual entries, which "come back" for reasons that have nothing to do with wanting a thing again.
- Letters of a code are upper-cased: 15056bl and 15056BL carry one description.
- Lines equal in every column are taken for one line entered twice (a file cannot tell).
- Several lines of one product in one invoice are one purchase: amounts and quantities are added up, at the first line's
  time. As several events they would look like buying again within a minute.
- Times are the shop's wall clock (Europe/London). An hour that the clock change repeats or leaves out is read as GMT.

InvoiceDate is read as ISO (2010-12-01 08:26:00) or as in the copies with 12/1/2010 8:26.
"""

from data.importers.csv_format import CsvFormat

__all__ = ["ONLINE_RETAIL"]

_LOCAL_TIME = "try_strptime(InvoiceDate, ['%Y-%m-%d %H:%M:%S', '%m/%d/%Y %H:%M'])"

ONLINE_RETAIL = CsvFormat(
    name="online-retail",
    columns={
        "InvoiceNo": "VARCHAR",
        "StockCode": "VARCHAR",
        "Description": "VARCHAR",
        "Quantity": "DOUBLE",
        "InvoiceDate": "VARCHAR",
        "UnitPrice": "DOUBLE",
        "CustomerID": "DOUBLE",
        "Country": "VARCHAR",
    },
    wrong=(
        ("Quantity", "Quantity <> trunc(Quantity) OR abs(Quantity) > 1e9", "a whole number"),
        ("InvoiceDate", f"year({_LOCAL_TIME}) NOT BETWEEN 1971 AND 2100", "a time like 2010-12-01 08:26:00"),
        ("UnitPrice", "NOT isfinite(UnitPrice) OR abs(UnitPrice) > 1e9", "a price"),
        ("CustomerID", "coalesce(CustomerID <> trunc(CustomerID) OR abs(CustomerID) > 1e15, false)", "a whole number"),
    ),
    dropped=(
        ("no customer", "CustomerID IS NULL"),
        ("cancelled or no invoice", "NOT coalesce(regexp_full_match(InvoiceNo, '[0-9]{1,12}'), false)"),
        ("no product", "NOT coalesce(regexp_full_match(StockCode, '[0-9]{5}[A-Za-z]{0,3}'), false)"),
        ("quantity not above 0", "Quantity <= 0"),
        ("price not above 0", "UnitPrice <= 0"),
    ),
    events=f"""
        SELECT
            concat_ws('-', InvoiceNo, product_id, user_id) AS event_id,
            'purchase' AS event_type,
            CustomerID::BIGINT::VARCHAR AS user_id,
            upper(StockCode) AS product_id,
            round(sum(Quantity * UnitPrice), 6) AS amount,
            sum(Quantity)::BIGINT AS quantity,
            epoch_us(timezone('Europe/London', min({_LOCAL_TIME}))) AS timestamp_us,
            InvoiceNo AS session_id,
            NULL::VARCHAR AS category,
            json_object('description', arg_min(Description, line), 'country', min(Country)) AS metadata,
            min(line) AS line
        FROM kept
        GROUP BY InvoiceNo, user_id, product_id
    """,  # noqa: S608 (made of this module's constants)
)
