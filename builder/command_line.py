"""What all command lines share: parser, exit codes, one-line errors, values in key=value, own modules, late imports."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lmnet.builder.at_work import at_work
from lmnet.builder.did_you_mean import closest
from lmnet.builder.notices import command_notices

DONE, FAILED, USAGE = 0, 1, 2

_FIRST_WORD = "the name of the model as the first word, without --model"
_CLASSES = (
    ("--set", "--set num_classes=4"),
    ("--minutes", "--class-names background,a,b,c: lmnet counts them"),
    ("--class-names", "--class-names background,a,b,c to name them: their number is the model's"),
)
_ELSEWHERE = {
    "--learning-rate": (("--set", "--set lr=1e-3"),),
    "--lr": (("--set", "--set lr=1e-3"),),
    "--classes": _CLASSES,
    "--num-classes": _CLASSES,
    "--in-channels": (("--set", "--set input.channels=1"),),
    "--in-chans": (("--set", "--set input.channels=1"),),
    "--channels": (("--set", "--set input.channels=1"),),
    "--pretrained": (("--pretrained-encoder", "--pretrained-encoder, for an encoder from ImageNet"),
                     ("--weights", "--weights NAME@DATA, for a whole trained net")),
    "--resume": (("--out", "the same command again, which continues, or --weights RUN --out NEW"),),
    "--continue": (("--out", "the same command again, which continues, or --weights RUN --out NEW"),),
    "--gpu": (("--device", "--device cuda"),),
    "--gpus": (("--devices", "--device cuda --devices 2"), ("--device", "--device cuda")),
    "--cuda": (("--device", "--device cuda"),),
    "--cpu": (("--device", "--device cpu"),),
    "--model": (("--spec", "--spec NAME"), ("spec", _FIRST_WORD), ("model", _FIRST_WORD)),
    "--optimizer": (("--set", "--set optimizer=adamw"),),
    "--augment": (("--set", "--set augment=heavy"),),
    "--precision": (("--set", "--set precision=bf16-mixed"),),
    "--amp": (("--set", "--set precision=bf16-mixed"),),
    "--input": (("images", "the images as words, without --input"),),
    "--onnx": (("--export", "--export net.onnx"),),
    "--format": (("--export", "--export net.onnx: the ending says the format"),),
    "--list": (("--list-models", "--list-models"),),
    "--flops": (("--list-models", "the name of the net alone, which shows its cost"),),
    "--max-latency-ms": (("--max-ms", "--max-ms 20"),),
    "--latency": (("--max-ms", "--max-ms 20"), ("--max-latency-ms", "--max-latency-ms 20")),
}  # fmt: skip
"""What other tools call an option → the option or positional of ours that it needs, and what to write."""


class Parser(argparse.ArgumentParser):
    """A parser that takes no shortened options, and answers a wrong word with the nearest right one, in one line."""

    def __init__(self, *args: Any, removed: Mapping[str, str] | None = None, **options: Any) -> None:
        self.removed = removed or {}  # options of the version before → what to use instead
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all of ``args``; see argparse."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            self.error(self._advice(left))
        return found

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        line = message if message.endswith((".", "?")) else f"{message}."
        show(f"{self.prog}: {line} {self.prog} --help lists the options.")
        raise SystemExit(USAGE)

    def _advice(self, left: Sequence[str]) -> str:
        """Return what is wrong with words that no option takes, and what was probably intended."""
        word = next((each for each in left if each.startswith("-")), left[0])
        if not word.startswith("-"):
            return f"{word!r} is one word too many. {self._place_of(word)}".rstrip()
        name = word.partition("=")[0]
        if name in self.removed:
            return f"{name} is no longer an option. {self.removed[name]}"
        known = [option for option in self._option_string_actions if option.startswith("--")]
        words = [action.dest for action in self._actions if not action.option_strings]
        for needed, advice in _ELSEWHERE.get(name.replace("_", "-"), ()):
            if needed in known or needed in words:
                return f"there is no option {name}. Write {advice}."
        close = closest(name, known)
        return f"there is no option {name}." + (f" Did you mean {close}?" if close else "")

    def _place_of(self, word: str) -> str:
        """Return which option a word without one is probably for."""
        known = self._option_string_actions
        if "--data" in known and (Path(word).is_dir() or Path(word).suffix in (".csv", ".json", ".zip")):
            return f"For data, write --data {word}."
        if "--spec" in known:
            return f"For a spec, write --spec {word}."
        if "--weights" in known and Path(word).suffix in (".safetensors", ".pth", ".pt"):
            return f"For weights, write --weights {word}."
        return ""


def run_command(program: str, body: Callable[[], int], *, debug: bool) -> int:
    """Run a command's body and return its exit code; errors become one line each on stderr.

    Exit codes: 0 done, 1 ran and failed, 2 usage or bad input, 130 after Ctrl-C. A TypeError and the like are faults
    of lmnet, or of a module of the user's: their place is shown, and the exit code is 1.

    Args:
        program: the command's name.
        body: does the work and returns the exit code.
        debug: let exceptions through with their traceback.
    """
    if debug:
        with command_notices():
            return body()
    try:
        with command_notices(), at_work() if is_first_process() else contextlib.nullcontext():
            code = body()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        show(f"{program}: stopped by Ctrl-C.")
        return 130
    except ValueError as err:  # SpecError has one line a problem, with its place
        text = str(err)
        show(text if hasattr(err, "problems") else f"{program}: {text}")
        return USAGE
    except (OSError, ImportError) as err:
        show(f"{program}: {err}")
        return USAGE
    except RuntimeError as err:
        show(f"{program}: {cause(err)}")
        return FAILED
    except Exception as err:  # noqa: BLE001 - whatever it is, people get one line
        show(f"{program}: {_fault(err) if _is_plain(err) else f'{type(err).__name__}: {cause(err)}'}")
        return FAILED
    return code


def show(text: str) -> None:
    """Print a message on stderr, whatever characters the user's file names and values hold."""
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a line for people on stderr, from the first process of a training only."""
    if is_first_process():
        show(text)


def is_first_process() -> bool:
    """Return whether this is the only process of a training on several devices that prints."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def cause(err: BaseException) -> str:
    """Return the one line of an error that says what happened.

    Its first line, but for errors that carry another error's traceback: there the last line, which is the cause. Where
    a first line ends in a colon or says of packages that they are missing, the lines that name them are added.
    """
    lines = [line.strip() for line in str(err).strip().splitlines() if line.strip()]
    if not lines:
        return type(err).__name__
    if "Traceback (most recent call last)" in str(err):
        text = lines[-1]
        if lines[0].startswith("Caught ") and " in DataLoader worker" in lines[0]:
            text = f"{text} (in a data-loading process)"
    else:
        text = " ".join(lines[:6]) if _goes_on(lines[0]) else lines[0]
    root = err
    while root.__cause__ is not None:
        root = root.__cause__
    if root is not err and not _is_plain(err):  # a driver's error often says only that there was one
        text = f"{text} ({cause(root)})"
    return f"{text}{_advice_for(str(err))}"


def _is_plain(err: BaseException) -> bool:
    """Return whether an error is Python's or lmnet's own; one of another package speaks of what it found."""
    return type(err).__module__.partition(".")[0] in ("builtins", "lmnet")


def _goes_on(line: str) -> bool:
    return line.endswith((":", ",", "(")) or "missing dependencies" in line


def _advice_for(text: str) -> str:
    """Return what to do about faults of the machine that torch reports in its own words."""
    if "shared memory" in text or "/dev/shm" in text or "DataLoader worker" in text and "Bus error" in text:
        return " The shared memory is too small: give --workers 0, or start docker with --shm-size 2g."
    if "out of memory" in text:
        return " Give a smaller --batch-size or --size."
    return ""


def _fault(err: Exception) -> str:
    """Return a line for an error that no input should raise: what it is, and where."""
    place = err.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place is not None else ""
    return (
        f"{type(err).__name__}: {cause(err)}{at}. This is a fault of lmnet or of a module of yours, not of your input. "
        "Run again with --debug and report what it prints."
    )


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
