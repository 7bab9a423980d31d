"""Throw broken specs at the planner: every one must end as a plan, a model or a SpecError, within a second of CPU.

python benchmarks/fuzz_specs.py --count 20000 [--seed 0]

Specs of the zoo and of tests/bad_specs are changed by bytes, tokens, values, structure and
variables. Prints how they ended and the slowest; exit code 1 where one raised anything else or took longer.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm  # noqa: F401 - blocks import it late, and its import is no spec's time
import yaml

from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import parse_spec
from lmnet.builder.strict_yaml import parse_yaml
from lmnet.builder.zoo import zoo_folder

LIMIT_S = 1.0
ODD: list[Any] = [
    *(0, -1, 1, 2, 3, 7, 64, 65, 65_536, 65_537, 2**31, 2**53, 2**63, 10**40, -(10**9)),
    *(0.5, -0.0, 1e-300, 1e300, float("inf"), float("nan")),
    *(
        "",
        " ",
        "²",
        "\ud800",
        "\x00",
        "é",
        "input",
        "${width}",
        "${",
        "${1/0}",
        "${width ** 9}",
        "${depth[9]}",
        "a" * 300,
    ),
    *(None, True, False, [], {}, [[]], [1, [2]], {"a": 1}, [0] * 50, {"block": "lft"}),
]
TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "|",
    ">",
    "#",
    "'",
    '"',
    "\n",
    "\t",
    "---\n",
    "${",
]


def main() -> int:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="plan these numbers alone")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    folder = Path(__file__).parents[1] / "tests" / "bad_specs"
    texts = [
        path.read_text(encoding="utf-8")
        for path in (*sorted(zoo_folder().glob("*.yaml")), *sorted(folder.glob("*.yaml")))
    ]
    ways: list[Callable[[str, random.Random], str]] = [_bytes, _tokens, _values, _structure, _variables]
    ends: Counter[str] = Counter()
    slowest, faults = (0.0, ""), []
    for number in range(args.count):
        text = rng.choice(ways)(rng.choice(texts), rng)
        if args.only and number not in args.only:
            continue
        start = time.process_time()
        try:
            plan_spec(parse_spec(text))
            end = "plan"
        except SpecError:
            end = "SpecError"
        except Exception as err:  # noqa: BLE001 - this is what is looked for
            end = type(err).__name__
            faults.append(f"{number}: {end}: {err}")
        seconds = time.process_time() - start
        slowest = max(slowest, (seconds, f"{number}"))
        if seconds > LIMIT_S:
            faults.append(f"{number}: {seconds:.1f} s of CPU")
            Path(f"slow_spec_{number}.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        ends[end] += 1
    counts = ", ".join(f"{end} {count}" for end, count in ends.most_common())
    print(f"{sum(ends.values())} specs, seed {args.seed}: {counts}")
    print(f"slowest {slowest[0]:.2f} s of CPU (number {slowest[1]})")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for fault in faults[:50]:
        print(fault[:300])
    return 1 if faults else 0


def _bytes(text: str, rng: random.Random) -> str:
    raw = bytearray(text.encode())
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(raw))
        change = rng.random()
        if change < 0.4:
            raw[place] = rng.randrange(256)
        elif change < 0.7:
            del raw[place : place + rng.randint(1, 20)]
        else:
            raw[place:place] = rng.randbytes(rng.randint(1, 6))
        if not raw:
            return ""
    return raw.decode("utf-8", rng.choice(("replace", "surrogateescape", "ignore")))


def _tokens(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 40)) + text[place:]
    return text


def _values(text: str, rng: random.Random) -> str:
    return _changed(text, rng, lambda holder, key: holder.__setitem__(key, copy.deepcopy(rng.choice(ODD))))


def _structure(text: str, rng: random.Random) -> str:
    def change(holder: Any, key: Any) -> None:
        kind = rng.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = {"again": holder[key]}
        elif kind == 2:
            holder[key] = [holder[key], holder[key]]
        elif isinstance(holder, dict):
            holder[str(rng.choice(ODD))[:20]] = holder.pop(key)

    return _changed(text, rng, change)


def _variables(text: str, rng: random.Random) -> str:
    data = _load(text)
    if not isinstance(data, dict) or not isinstance(data.get("vars"), dict) or not data["vars"]:
        return text
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(data["vars"]))
        value = data["vars"][name]
        number = rng.choice([rng.randint(-2, 200), rng.uniform(-1, 5), rng.choice(ODD)])
        if isinstance(value, list) and value and rng.random() < 0.7:
            value[rng.randrange(len(value))] = number
        else:
            data["vars"][name] = number
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _changed(text: str, rng: random.Random, change: Callable[[Any, Any], Any]) -> str:
    data = _load(text)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(data))
        if places:
            change(*rng.choice(places))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _load(text: str) -> Any:
    try:
        return copy.deepcopy(parse_yaml(text).data)
    except SpecError:
        return {"schema": "lmnet/1"}


def _places(data: Any) -> Any:
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])


if __name__ == "__main__":
    sys.exit(main())
