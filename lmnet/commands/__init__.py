"""The commands that need all rooms: ``lmnet`` and ``lmnet-build``."""
