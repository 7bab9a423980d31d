"""The training runs of a search: the loop, who runs them, and when one is stopped early."""
