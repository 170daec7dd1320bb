"""Pages for whoever runs the system: traffic, history, alerts, topics."""
