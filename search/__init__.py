"""The architecture search under a hard cost limit."""
