"""Make tests/data/field: the part of ../shared/reference/field that tests/test_field.py needs, samples of each output.

python tests/make_field_data.py [NAME ...]
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SOURCE = ROOT.parent / "shared" / "reference" / "field"
TARGET = Path(__file__).parent / "data" / "field"


def kept(name):
    """Return a net's facts with samples of its outputs instead of the whole ones."""
    facts, arrays = json.loads((SOURCE / f"{name}.json").read_text()), np.load(SOURCE / f"{name}.npz")
    for case in facts["cases"].values():
        for run in case["runs"]:
            run.pop("trace_of_run_0", None)
            for output in run["outputs"]:
                output["samples"] = samples_of(arrays[output["key"]])
        case.pop("trace_of_run_0", None)
    return facts


def samples_of(values):
    """Return every n-th of the output's values that the source holds, about 256 of them."""
    flat = np.asarray(values, np.float32).ravel()
    return [float(value) for value in flat[:: max(1, flat.size // 256)]]


def main():
    """Write the files."""
    TARGET.mkdir(exist_ok=True)
    for name in sys.argv[1:] or [path.name.split(".")[0] for path in TARGET.glob("*.json.gz")]:
        content = json.dumps(kept(name), separators=(",", ":")).encode()
        (TARGET / f"{name}.json.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
