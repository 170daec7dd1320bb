"""The plan that definitions compile to: aggregates of events, and expressions over them."""
