"""What is kept: of one person, and for how long."""
