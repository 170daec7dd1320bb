"""What an event is, where events come from, and the log that keeps them."""
