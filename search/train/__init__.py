"""The training runs of a search: the loop, and the pools that run them."""
