"""Writes docs/zoo.md, the gallery of nets, from the specs and cards of the zoo: `make docs`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

import lmnet
from lmnet.builder.drawing import to_svg
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.zoo import list_models, zoo_folder

PAGE = Path(__file__).with_name("zoo.md")
GRAPHS = Path(__file__).with_name("zoo")
PLOT = Path(__file__).with_name("dice_against_gmacs.svg")
README = Path(__file__).parents[1] / "README.md"
MARK = "<!-- weights: written by docs/make_zoo.py -->"
HEADER = """\
# Zoo

<!-- Made by docs/make_zoo.py (`make docs`); edit the specs and cards in zoo/ instead. -->

Costs are those of the re-parameterised net at batch 1 and the spec's own image size. Dice is the mean over the lesion
Dice of the 90 test images of Kvasir-SEG (split of seed 0), scored at the images' own size, with a 95 % interval by
bootstrap over images; one training run each. A dash: no trained weights. Latency depends on your machine:
`lmnet-build NAME --benchmark` measures it.

"""


OTHERS = """\
More weights of the same nets, for `lmnet-predict NAME@DATA`, `lmnet-eval` and `--weights`. Each is scored on the test
images of its own data set.
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
    net = name.partition("@")[0]
    gmacs = plan_spec(load_spec(net), input_size=(int(size[1]), int(size[2]))).deploy_macs / 1e9
    return score[1].strip(), f"{size[1]}x{size[2]}", f"{gmacs:.3f}"


def other_weights() -> list[str]:
    """Return the table of weights that stand beside a net's usual ones: ``NAME@DATA``."""
    lines = ["| weights | trained on | image | GMACs | test Dice | test images |", "|---|---|---|---|---|---|"]
    for card in sorted(zoo_folder().glob("*@*.md")):
        text = card.read_text(encoding="utf-8")
        data, images = re.search(r"\*\*Data\*\*: ([^,(.]+)", text), re.search(r"test (\d+)\.", text)
        if data is None or images is None:
            raise ValueError(f"{card}: it has no data or no number of test images.")
        score, size, gmacs = score_of(card.stem)
        row = (f"[{card.stem}](../zoo/{card.name})", data[1].strip(), size, gmacs, score, images[1])
        lines.append(f"| {' | '.join(row)} |")
    return lines


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
    others = "\n".join([OTHERS, *other_weights()])
    return HEADER + head + "\n".join(rows) + "\n\n" + others + "\n\n" + "\n".join(entries)


def with_weights() -> list[tuple[str, float, float, str, str, float]]:
    """Return (name, GMACs, millions of parameters, score with interval, size, score) of the nets with weights."""
    found = []
    for name in list_models():
        score, size, gmacs = score_of(name)
        if score != "-":
            params = plan_spec(load_spec(name)).deploy_params / 1e6
            found.append((name, float(gmacs), params, score, size, float(score.split()[0])))
    return sorted(found, key=lambda one: one[1])


def readme_table() -> str:
    """Return the README's table of nets with weights."""
    lines = ["| net | parameters | image | GMACs | test Dice |", "|---|---|---|---|---|"]
    for name, gmacs, params, score, size, _ in with_weights():
        lines.append(f"| [{name}](zoo/{name}.md) | {params:.2f} M | {size} | {gmacs:.3f} | {score} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """Return the README with its table of nets written anew."""
    before, mark, rest = readme.partition(MARK)
    return f"{before}{mark}\n{readme_table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


def plot() -> bytes:
    """Return the plot of Dice against GMACs as SVG."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, gmacs, _, score, size, dice in with_weights():
        low, high = map(float, score.partition("[")[2].rstrip("]").split(","))
        axes.errorbar(gmacs, dice, [[dice - low], [high - dice]], fmt="o", color="#0969da", capsize=3)
        axes.annotate(f"{name}\n{size}", (gmacs, dice), (6, -14), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", xlabel="GMACs", ylabel="test lesion Dice, Kvasir-SEG", xlim=(0.008, 4))
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lmnet"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def main() -> int:
    """Write the page, the graphs, the plot and the README's table."""
    PLOT.write_bytes(plot())
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    GRAPHS.mkdir(exist_ok=True)
    for name in list_models():
        (GRAPHS / f"{name}.svg").write_text(to_svg(plan_spec(load_spec(name))), encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")
    print(f"docs/zoo.md: {len(list_models())} nets, lmnet {lmnet.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
