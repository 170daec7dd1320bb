"""What lies around the API: limits, keys, the fast lane."""
