"""Training, trying, promoting and judging models."""
