"""Run the speed benchmarks and write what they print to benchmarks/RESULTS.md.

    python benchmarks/results.py [--only inference training_step] [-- --threads 1 --clock cpu --repeats 3]

Each section stands under the command that made it and the line on machine, versions and load that the script prints.
With --only, the other sections stay as they are. What follows ``--`` goes to each script.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "RESULTS.md"
SECTIONS = {
    "attention": ("Window attention by backend", []),
    "inference": ("Inference of the whole net", ["--nets", "lmnet_release", "lmnet_paper", "--runtimes"]),
    "training_step": ("Training step", []),
    "side_by_side": ("Side by side with other packages' nets", ["--runtimes"]),
}
HEAD = """\
# Speed, measured

Written by `make bench`; every figure comes from a script in this folder. Times on a loaded machine are not those of an
idle one: each section gives the load average when it began. Ratios are of medians of calls in turns in one process.

GPU: not run.
"""


def read_sections() -> dict[str, str]:
    """Return the sections that RESULTS.md has, by title."""
    if not RESULTS.exists():
        return {}
    parts = RESULTS.read_text(encoding="utf-8").split("\n## ")[1:]
    return {title.strip(): body.strip() for title, _, body in (part.partition("\n") for part in parts)}


def run_section(script: str, options: list[str]) -> str:
    """Return what a script prints, under its command; a script that fails leaves its last line."""
    command = ["benchmarks/" + script + ".py", *options]
    done = subprocess.run([sys.executable, *command], cwd=FOLDER.parent, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or ["no message"]
    text = done.stdout.strip() if done.returncode == 0 else f"{done.stdout.strip()}\n\nStopped: {lines[-1]}"
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"`python {shlex.join(command)}`, {now}\n\n{text}"


def main() -> int:
    """Run the scripts and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, passed_on = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    for script in args.only:
        title, options = SECTIONS[script]
        print(f"{script} ...", flush=True)
        body = run_section(script, [*options, *passed_on])
        sections = read_sections() | {title: body}
        ordered = [f"\n## {name}\n\n{sections[name]}\n" for name, _ in SECTIONS.values() if name in sections]
        RESULTS.write_text(HEAD + "".join(ordered), encoding="utf-8")
    print(f"wrote {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
