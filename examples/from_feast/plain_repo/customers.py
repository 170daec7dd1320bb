"""What the shop serves today: values that a job computed at midnight."""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)

customer_daily = FeatureView(
    name="customer_daily",
    entities=[customer],
    ttl=timedelta(days=2),
    schema=[Field(name="orders_7d", dtype=Int64), Field(name="spend_7d", dtype=Float64)],
    source=FileSource(path="data/customer_daily.parquet", timestamp_field="event_timestamp"),
)
