"""The command ``lmnet``: one name for all commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from lmnet import __version__
from lmnet.builder.command_line import DONE, USAGE, show
from lmnet.builder.did_you_mean import did_you_mean

COMMANDS = {
    "build": ("lmnet.commands.build", "check a spec, print what its net costs, draw, time or export it"),
    "train": ("lmnet.training.cli_train", "train a net on your images"),
    "eval": ("lmnet.training.cli_eval", "score a net, or compare two"),
    "predict": ("lmnet.training.cli_predict", "segment images"),
    "search": ("lmnet.search.cli", "search for a better net under a cost limit"),
    "suggest": ("lmnet.search.suggest.cli", "which net to take for your data under your limits"),
}
"""Word → the module whose ``main`` runs it, and what it does."""


def usage() -> str:
    """Return what ``lmnet --help`` prints."""
    lines = [f"  lmnet {word:8} {text}" for word, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lmnet COMMAND [OPTIONS]",
            "",
            "Light-weight nets for medical image segmentation.",
            "",
            *lines,
            "",
            "lmnet COMMAND --help lists the options. lmnet-build and so on are the same commands.",
            "lmnet --version prints the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lmnet COMMAND`` and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv:
        show(usage())
        return USAGE
    word, *rest = argv
    if word in ("-h", "--help", "help"):
        print(usage())
        return DONE
    if word in ("--version", "-V", "version"):
        print(f"lmnet {__version__}")
        return DONE
    if word not in COMMANDS:
        show(f"lmnet: there is no command {word}. {did_you_mean(word, list(COMMANDS))} lmnet --help lists them.")
        return USAGE
    code: int = importlib.import_module(COMMANDS[word][0]).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
