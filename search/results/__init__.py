"""The state of a study: counts, tables, the report, and progress."""
