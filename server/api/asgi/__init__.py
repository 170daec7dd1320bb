"""ASGI layers around the API: request envelope, keys, rate limits, HTTP protocol."""
