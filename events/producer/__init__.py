"""The producer: sends events of a synthetic shop or of a file, at a rate."""
