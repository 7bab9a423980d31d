"""The blocks."""
