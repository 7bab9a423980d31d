"""The study in its storage: trials, claims, heartbeats, and what must not change between two sessions."""
