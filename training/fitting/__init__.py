"""Training: one function, and the parts that a recipe names."""
