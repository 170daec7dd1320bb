"""The server's ways into Redis."""
