"""What all command lines share: exit codes, one-line errors, values in key=value, own modules, late imports."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

DONE, FAILED, USAGE = 0, 1, 2


def run_command(program: str, body: Callable[[], int], *, debug: bool) -> int:
    """Run a command's body and return its exit code; errors become one line each on stderr.

    Exit codes: 0 done, 1 ran and failed, 2 usage or bad input, 130 after Ctrl-C.

    Args:
        program: the command's name.
        body: does the work and returns the exit code.
        debug: let exceptions through with their traceback.
    """
    if debug:
        return body()
    try:
        code = body()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print(f"{program}: stopped by Ctrl-C.", file=sys.stderr)
        return 130
    except ValueError as err:  # SpecError has one line a problem, with its place
        text = str(err)
        _say(text if hasattr(err, "problems") else f"{program}: {text}")
        return USAGE
    except (OSError, ImportError, TypeError) as err:
        _say(f"{program}: {err}")
        return USAGE
    except RuntimeError as err:
        _say(f"{program}: {str(err).strip().splitlines()[0]}")
        return FAILED
    return code


def _say(text: str) -> None:
    """Print an error on stderr, whatever characters the user's file names and values hold."""
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector during imports: torch and timm make many objects, none of them garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that all commands have for modules of the user's own."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import a module of yours that registers blocks, losses, augmentations or optimizers",
    )  # fmt: skip


def import_modules(modules: Sequence[str]) -> None:
    """Import the user's modules; the current folder is looked in first.

    Raises:
        ValueError: a module is not there, or fails while it is imported.
    """
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as err:  # noqa: BLE001 - a user's module may raise anything
            line = (str(err).strip() or type(err).__name__).splitlines()[0]
            hint = "Install it, or run in its folder." if isinstance(err, ModuleNotFoundError) else "Correct it."
            raise ValueError(
                f"--import {module}: it cannot be imported ({type(err).__name__}: {line}). {hint}"
            ) from err


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Return ``key=value`` texts as a dict, the values read as YAML 1.2.

    Raises:
        ValueError: a text has no ``=`` or no key, or a value is not YAML.
    """
    from lmnet.builder.strict_yaml import parse_yaml

    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set: an override must look like key=value, got {text!r}. Write width=16.")
        values[key.strip()] = parse_yaml(value, f"--set {text}").data
    return values
