"""What the definitions compile to: aggregates of events and expressions over them."""
