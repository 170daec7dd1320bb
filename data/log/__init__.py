"""The event log: events as rows, files of them, and the sources they came from."""
