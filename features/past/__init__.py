"""States as they were, from the event log."""
