"""One person: what is known of them, and forgetting it."""
