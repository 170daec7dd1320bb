"""What parts without an API of their own say of themselves: to Prometheus, and whether they go on."""
