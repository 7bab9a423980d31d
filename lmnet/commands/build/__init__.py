"""The command ``lmnet-build``: one file a kind of work; ``command.py`` has the options and the table of verbs."""

from lmnet.commands.build.command import main, make_parser

__all__ = ["main", "make_parser"]
