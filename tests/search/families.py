"""Three small families for the tests of searches over several; importable, so that worker processes can use them."""

import functools
import time
from pathlib import Path

# nets whose nodes are priced in a moment
DEEP = """\
schema: lmnet/1
name: deep
input: {channels: 3, size: [64, 64]}
vars: {num_classes: 2, widths: [4, 6, 8], kernel: 1}
nodes:
  stem: {block: downsample, from: input, out_channels: "${widths[0]}"}
  down: {block: downsample, from: stem, out_channels: "${widths[1]}"}
  last: {block: downsample, from: down, out_channels: "${widths[2]}"}
  head: {block: segmentation_head, from: last, num_classes: "${num_classes}", scale: 8, kernel_size: "${kernel}"}
outputs: {logits: head}
search:
  widths: {each: {low: 2, high: 20, step: 2}}
  kernel: {choices: [1, 3]}
"""
PLAIN = """\
schema: lmnet/1
name: plain
input: {channels: 3, size: [32, 32]}
vars: {num_classes: 2, first: 4, second: 6, third: 8}
nodes:
  stem: {block: downsample, from: input, out_channels: "${first}"}
  down: {block: downsample, from: stem, out_channels: "${second}"}
  last: {block: downsample, from: down, out_channels: "${third}"}
  head: {block: segmentation_head, from: last, num_classes: "${num_classes}", scale: 8, kernel_size: 5}
outputs: {logits: head}
search:
  first: {low: 2, high: 20, step: 2}
  second: {low: 2, high: 20, step: 2}
  third: {low: 2, high: 20, step: 2}
"""
WIDE = PLAIN.replace("name: plain", "name: wide").replace("kernel_size: 5", "kernel_size: 7")
BASE = {"deep": 0.5, "plain": 0.6, "wide": 0.3}


def family_score(model, spec):
    """Score by the family first, then by the parameters, in no time."""
    return BASE[spec.name] + 1e-5 * model.plan.deploy_params


def logged_family_score(model, spec, *, place):
    """Write each training down, as ``objectives.logged_score`` does."""
    with open(place, "a") as file:
        file.write(f"begin {spec.name} {spec.layout.vars}\n")
    time.sleep(0.02)
    with open(place, "a") as file:
        file.write(f"end {spec.name} {spec.layout.vars}\n")
    return family_score(model, spec)


def run_families(storage, out, trials, workers, cluster):
    """Run the search that the crash tests start, kill and start again."""
    from lmnet.builder.spec import parse_spec
    from lmnet.search.run_search import run

    run(
        [parse_spec(text) for text in (DEEP, PLAIN, WIDE)],
        objective=functools.partial(logged_family_score, place=str(Path(out).parent / "trained.log")),
        max_gflops=0.0004,
        trials=trials,
        workers=workers,
        cluster=cluster,
        storage=storage,
        study_name="crash",
        out=out,
    )
