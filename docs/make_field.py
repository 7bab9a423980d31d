"""Writes docs/field.md, what the field's light nets cost, from the zoo's specs and measured times: `make docs`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lmnet
from lmnet.builder.plan import Plan
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.zoo_table import OURS, families

PAGE = Path(__file__).with_name("field.md")
TIMES = Path(__file__).parents[1] / "benchmarks" / "field.json"
SIZE = (256, 256)
HEADER = """\
# Light nets of the field

<!-- Made by docs/make_field.py (`make docs`) from the specs in zoo/; edit these instead. -->

Published light nets for medical segmentation, as specs of shared blocks: `lmnet-build unext` shows one, `lmnet-train
unext` trains it, `lmnet-search unext` varies it, and `lmnet-build --list-models --family all` lists all. A net that
has the name of a paper's net computes what its authors' code computes: `tests/test_field.py` compares outputs,
parameters and MACs with those of their code. A checkpoint of the authors is recognised by its names: `lmnet-train
unext --weights FILE`. `lraspp_*`, `segformer_mlp_*` and `fpn_*` are known heads on light encoders of timm; such a pair
has no paper of its own. [Write a net of a paper as a spec](howto/paper_net.md) shows how one is added.

Figures are counted for two classes at 256x256, as everywhere in lmnet: one GMAC is 10^9 multiply-accumulates at batch
1, norms and activations are free. "Deployed" is the re-parameterised form. Heads that only train
([`aux`](spec.md#losses-of-their-own-aux)) are not counted. "Paper" is what the paper states, in its own unit: some
papers' GFLOPs are MACs, some are twice as many. "MiB" is the most memory that the feature maps of one image take at
once in the deployed form, float32, without weights. "Their sizes" are those that the authors' code takes; ours takes
any size of 32 or more: it pads the image to multiples of the last column and cuts the logits back.

"""


def table_of(nets: dict[str, Plan]) -> list[str]:
    """Return what each net costs, beside what its paper says."""
    names = ("net", "params", "GMACs", "deployed: params", "GMACs", "MiB", "paper: params", "GFLOPs", "licence")
    names = (*names, "their sizes", "padded to")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, plan in nets.items():
        paper = plan.spec.layout.paper
        says = [getattr(paper, key, None) or "" for key in ("params", "gmacs", "licence", "sizes")]
        ours = [
            f"{plan.params:,}",
            f"{plan.macs / 1e9:.3f}",
            f"{plan.deploy_params:,}",
            f"{plan.deploy_macs / 1e9:.3f}",
            f"{plan.peak_bytes / 2**20:.1f}",
        ]
        lines.append(f"| [{name}](../zoo/{name}.yaml) | {' | '.join([*ours, *says, str(plan.stride)])} |")
    return lines


def sources_of(specs: dict[str, Spec]) -> list[str]:
    """Return each net's source, and how it differs from the paper or the authors' code."""
    lines = []
    for name, spec in specs.items():
        paper = spec.layout.paper
        note = f" {paper.note[0].upper()}{paper.note[1:]}." if paper and paper.note else ""
        lines.append(f"- **{name}** ({spec.layout.family}): {spec.layout.source}.{note}")
    return lines


def times() -> list[str]:
    """Return the table of measured times, if there is one."""
    if not TIMES.exists():
        return []
    content: dict[str, Any] = json.loads(TIMES.read_text(encoding="utf-8"))
    runtimes = ("eager", "optimised", "onnxruntime")
    lines = [
        "## Time",
        "",
        f"Milliseconds of one {content['size']}x{content['size']} image, medians of passes in turns in one process, so "
        f"that other load of the machine meets all alike (`python benchmarks/field.py`). {content['machine']}.",
        "",
        f"| net | {' | '.join(runtimes)} | GMACs | ms per GMAC, onnxruntime |",
        "|---" * 6 + "|",
    ]
    for name, row in sorted(content["rows"].items(), key=lambda item: item[1]["onnxruntime"]):
        gmacs = plan_spec(load_spec(name), input_size=(content["size"],) * 2).deploy_macs / 1e9
        shown = " | ".join(f"{row[runtime]:.1f}" for runtime in runtimes)
        lines.append(f"| {name} | {shown} | {gmacs:.3f} | {row['onnxruntime'] / gmacs:.0f} |")
    return [*lines, ""]


def render() -> str:
    """Return the page."""
    names = [name for family in families() if family != OURS for name in lmnet.list_models(family=family, sort="gmacs")]
    specs = {name: load_spec(name) for name in names}
    nets = {name: plan_spec(spec, input_size=SIZE) for name, spec in specs.items()}
    lines = [HEADER.rstrip(), "", *table_of(nets), "", *times(), "## Sources", "", *sources_of(specs)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    print("docs/field.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
