"""The server's connections to Redis."""
