"""What all command lines share: exit codes, one-line errors, values in key=value."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
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
        print(text if hasattr(err, "problems") else f"{program}: {text}", file=sys.stderr)
        return USAGE
    except (OSError, ImportError, TypeError) as err:
        print(f"{program}: {err}", file=sys.stderr)
        return USAGE
    except RuntimeError as err:
        print(f"{program}: {str(err).strip().splitlines()[0]}", file=sys.stderr)
        return FAILED
    return code


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
