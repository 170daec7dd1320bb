"""Features and states computed over the whole event log."""
