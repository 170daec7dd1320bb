"""Commands and helpers of whoever operates a deployment: the doctor, and metrics of the parts."""
