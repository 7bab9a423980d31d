"""Scores: one store of counts for each image, every named convention computed from it, intervals and comparisons."""
