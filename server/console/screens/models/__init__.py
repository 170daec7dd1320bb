"""Pages for model developers: versions, features, quality."""
