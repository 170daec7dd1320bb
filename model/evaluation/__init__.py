"""How good a model is: on examples, beside others, and on live traffic."""
