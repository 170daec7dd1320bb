"""What the pages about the running system compute: rates, history, alerts, rows of messages."""
