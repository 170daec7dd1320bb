"""Pages for whoever runs the shop: what sells, who is due, what to do."""
