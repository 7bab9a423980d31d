"""Print the lowest version that pyproject.toml allows of each package that it names, as constraints for pip."""

import re
import sys
from pathlib import Path

import tomllib


def main() -> None:
    """Print name==version, one a line."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = sys.argv[1:] or ["dev"]
    lines = list(project["dependencies"])
    for extra in wanted:
        for line in project["optional-dependencies"][extra]:
            own = re.match(r"lmnet\[(.+)\]", line)
            lines += (
                [x for name in own[1].split(",") for x in project["optional-dependencies"][name]] if own else [line]
            )
    for line in lines:
        found = re.match(r"([A-Za-z0-9_.-]+)(\[.*\])?>=([0-9.]+)", line)
        if found:
            print(f"{found[1]}=={found[3]}")


if __name__ == "__main__":
    main()
