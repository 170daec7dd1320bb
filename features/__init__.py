"""A feature is defined once (`definitions`), compiled (`plan`), and computed in batch, stream and read."""
