"""The event log: events as rows, the Parquet files that hold them, and the sources they came from."""
