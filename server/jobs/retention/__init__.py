"""What is kept for how long, how much that is, and how it grows."""
