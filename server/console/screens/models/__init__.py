"""Pages for whoever makes models: versions, features, quality."""
