"""Where candidates come from: samplers, their proposals, and the choice among them."""
