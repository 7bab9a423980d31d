"""How much processor time a command takes to start, beside `import torch`, interleaved.

python benchmarks/startup.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "import torch": "import torch",
    "import timm.layers": "import timm.layers",
    "import lmnet": "import lmnet",
    "import lmnet.blocks": "import lmnet.blocks",
    "import lmnet.integrations.onnx": "import lmnet.integrations.onnx",
    "import lmnet.integrations.timm": "import lmnet.integrations.timm",
    "import lmnet.integrations.smp": "import lmnet.integrations.smp",
    "import lmnet.integrations.monai": "import lmnet.integrations.monai",
    "import lmnet.integrations.nnunet": "import lmnet.integrations.nnunet",
    "lmnet-build --list-models": "from lmnet.commands.build import main; main(['--list-models'])",
    "lmnet-build cat lmnet_xs": "from lmnet.commands.build import main; main(['cat', 'lmnet_xs'])",
    "lmnet-build lmnet_xz (mistyped)": "from lmnet.commands.build import main; main(['lmnet_xz'])",
    "lmnet-train lmnet_xz (mistyped)": "from lmnet.training.cli_train import main; main(['lmnet_xz'])",
    "lmnet-build lmnet_xs": "from lmnet.commands.build import main; main(['lmnet_xs'])",
}


def main() -> None:
    """Print a table: median seconds of processor time, and what is above `import torch`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(args.rounds):
        for name, code in COMMANDS.items():
            times[name].append(cpu_s(code))
    torch_s = statistics.median(times["import torch"])
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {args.rounds} rounds\n")
    print("| command | CPU s, median | above `import torch` | ratio |\n|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {median - torch_s:+.2f} | {median / torch_s:.2f} |")


def cpu_s(code: str) -> float:
    """Return the user and system time of a fresh interpreter that runs some code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
