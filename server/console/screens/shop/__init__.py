"""Pages for the shop's staff: what sells, who is due, what to do."""
