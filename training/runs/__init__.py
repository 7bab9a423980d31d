"""Runs in folders: trained, opened again, scored, reported, cross-validated, quantised."""
