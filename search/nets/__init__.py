"""The nets of a search: the space, what they cost, and the limits. Knows no study and no training."""
