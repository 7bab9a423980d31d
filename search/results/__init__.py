"""What a study has come to: counts, tables, the report, and progress."""
