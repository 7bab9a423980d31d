"""Writes docs/zoo.md, the gallery of nets, from the specs and cards of the zoo: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import lmnet
from lmnet.builder.drawing import to_svg
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.zoo import list_models, zoo_folder

PAGE = Path(__file__).with_name("zoo.md")
GRAPHS = Path(__file__).with_name("zoo")
HEADER = """\
# Zoo

<!-- Made by docs/make_zoo.py (`make docs`); edit the specs and cards in zoo/ instead. -->

Costs are those of the re-parameterised net at batch 1 and the spec's own image size. Dice is the mean over the lesion
Dice of the 90 test images of Kvasir-SEG (split of seed 0), scored at the images' own size, with a 95 % interval by
bootstrap over images; one training each. A dash: no trained weights. Latency depends on your machine:
`lmnet-build NAME --benchmark` measures it.

"""


def score_of(name: str) -> tuple[str, str, str]:
    """Return the test score in a net's card, its image size and its GMACs there; dashes where it has no card."""
    card = zoo_folder() / f"{name}.md"
    if not card.exists():
        return "-", "-", "-"
    text = card.read_text(encoding="utf-8")
    score = re.search(r"\| dice_foreground_mean \| ([^|]+) \|", text)
    size = re.search(r"stretched to (\d+) x (\d+)", text)
    if score is None or size is None:
        raise ValueError(f"{card}: it has no score or no image size.")
    gmacs = plan_spec(load_spec(name), input_size=(int(size[1]), int(size[2]))).deploy_macs / 1e9
    return score[1].strip(), f"{size[1]}x{size[2]}", f"{gmacs:.3f}"


def describe(name: str) -> str:
    """Return the comment at the top of a spec, without its first line, the command."""
    lines = (zoo_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    return " ".join(comment[1:])


def render() -> str:
    """Return the page."""
    rows, entries = [], []
    for name in list_models():
        plan = plan_spec(load_spec(name))
        score, scored_at, gmacs = score_of(name)
        size = "x".join(map(str, plan.input_shape[1:]))
        costs = f"{plan.deploy_params / 1e6:.2f} M | {size} | {plan.deploy_macs / 1e9:.3f}"
        rows.append(f"| [{name}](#{name}) | {costs} | {score} | {scored_at} | {gmacs} |")
        card = f" Weights: [card](../zoo/{name}.md)." if score != "-" else ""
        entries.append(f"## {name}\n\n{describe(name)}{card}\n\n![The graph of {name}](zoo/{name}.svg)\n")
    names = ("net", "parameters", "image", "GMACs", "test Dice", "scored at", "GMACs there")
    head = f"| {' | '.join(names)} |\n{'|---' * len(names)}|\n"
    return HEADER + head + "\n".join(rows) + "\n\n" + "\n".join(entries)


def main() -> int:
    """Write the page and the graphs."""
    GRAPHS.mkdir(exist_ok=True)
    for name in list_models():
        (GRAPHS / f"{name}.svg").write_text(to_svg(plan_spec(load_spec(name))), encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")
    print(f"docs/zoo.md: {len(list_models())} nets, lmnet {lmnet.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
