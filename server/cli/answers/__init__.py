"""Commands about answers that were given."""
