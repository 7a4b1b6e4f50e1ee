"""Training: how the weights that ship were made, and how to make one's own."""
