"""The editions of the states that a worker folds into: the live one, and the other one while there is one."""
