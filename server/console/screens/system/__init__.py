"""Pages for operators: traffic, history, alerts, topics."""
