"""Nets in files of other formats and in other runtimes: written, compared, quantised, timed, opened again."""
