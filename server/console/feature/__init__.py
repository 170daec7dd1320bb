"""What the pages compute about single features: their words, their past, and who uses them."""
