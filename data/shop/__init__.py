"""The synthetic shop: catalogue, shoppers, their habits, and the events they cause."""
