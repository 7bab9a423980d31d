"""Whether weights shared between nets score them cheaply: one elastic net for all, and inherited weights.

    python benchmarks/shared_weights.py --data ../shared/data/Kvasir-SEG [--parts elastic inheritance] [--table PATH]

Elastic net: the largest net is trained once; in each step the smallest and some random nets learn beside it, on slices
of its weights, from the labels and its logits. Any net then scores without training, with batch-norm statistics set
anew. Inheritance: a child, its parent with one or two knobs changed, is trained for 10 epochs from its parent's
weights, and for 10 and 20 from random ones ("scratch"). Images, nets, recipe: search_table.py. Trainings are kept in
runs/shared_weights; ``--parts`` without a name trains nothing and writes the page again.

Two nets share the tensors of equal names as far as both reach: leading channels, the centre of a kernel. Maps side by
side (inputs of a fusion or of the gft; heads of query, key and value) are shared one by one, as leading channels of the
whole would be another map's. Accepted: a stage's first kernel (7, 5 or 3) and the stem's at strides 2 and 4 are centres
of each other, and a layer has the same weights whatever lies before it. Slices are copied into a net and its gradients
added back, not given by ``functional_call``: so both parts share one way, and batch norms and kernels work as ever.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import search_table
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau, rankdata
from search_table import EPOCHS, RATE, batches, loss_of, score, stepper
from torch import Tensor, nn

from lmnet.blocks import build_kernels
from lmnet.builder.benchmark import describe_machine
from lmnet.builder.models import build_model
from lmnet.builder.spec import load_spec
from lmnet.search.pricing import Candidate, Pricer

KEPT = Path(__file__).parents[1] / "runs" / "shared_weights"
HEADS, LEVELS = 6, ("stem", "down0", "down1", "down2")  # of all nets of the space
ELASTIC_EPOCHS, RANDOM_NETS, CALIBRATION, FAMILIES, CHILDREN, SHORT, LOW_RATE = 30, 3, 100, 8, 2, 10, 1e-3
LONG_WAY, SHORT_WAY, HEIR, SLOW_HEIR = WAYS = ("scratch 20", "scratch 10", "inherited", "inherited, low rate")
KENDALL_GATE, MARGIN_GATE, RESAMPLES = 0.5, 0.15, 2000


def parts_of(name: str, shape: Sequence[int], dim: int, widths: Sequence[int]) -> tuple[int, ...]:
    """Return the lengths of the maps that lie side by side in a dimension of a tensor."""
    size = shape[dim]
    if dim == 0 and ".qkv." in name:
        return (size // (3 * HEADS),) * (3 * HEADS)
    if dim == 1 and name.endswith(".proj.weight"):
        return (size // HEADS,) * HEADS
    if dim == 1 and name.endswith("mix.conv.weight"):
        return (shape[0],) * (size // shape[0])
    return tuple(widths) if name.startswith("gft.") and size == sum(widths) else (size,)


@lru_cache(4096)
def overlap(mine: tuple[int, ...], others: tuple[int, ...], is_kernel: bool) -> tuple[Tensor, Tensor]:
    """Return which places of a dimension two tensors share, in the one and in the other."""
    places, starts = ([], []), [0, 0]
    for pair in zip(mine, others, strict=True):
        for side, size in enumerate(pair):
            first = starts[side] + ((size - min(pair)) // 2 if is_kernel else 0)
            places[side].extend(range(first, first + min(pair)))
            starts[side] += size
    return torch.tensor(places[0]), torch.tensor(places[1])


def shared(source: nn.Module, target: nn.Module) -> Iterator[tuple[Tensor, tuple, Tensor, tuple]]:
    """Yield the tensors that two nets share, with where each holds what is common."""
    sides = [net.state_dict(keep_vars=True) for net in (source, target)]
    levels = [[len(side[f"{name}.conv.conv.bias"]) for name in LEVELS] for side in sides]
    for name in [name for name in sides[1] if name in sides[0]]:
        pair, places = [side[name] for side in sides], []
        for dim in range(pair[0].dim()):
            parts = [parts_of(name, each.shape, dim, widths) for each, widths in zip(pair, levels, strict=True)]
            view = [-1 if each == dim else 1 for each in range(pair[0].dim())]
            places.append([index.view(view) for index in overlap(*parts, dim >= 2)])
        yield pair[0], tuple(each[0] for each in places), pair[1], tuple(each[1] for each in places)


def inherit(source: nn.Module, target: nn.Module) -> None:
    """Copy into a net what it shares with another."""
    with torch.no_grad():
        for tensor, places, into, into_places in shared(source, target):
            into[into_places] = tensor[places]


def hand_back(source: nn.Module, target: nn.Module) -> None:
    """Add a net's gradients to those of the net that it took its weights from."""
    for tensor, places, of, of_places in shared(source, target):
        if of.grad is not None and tensor.grad is not None:
            tensor.grad[places] += of.grad[of_places]


def built(values: dict[str, Any]) -> nn.Module:
    """Return a net in training mode."""
    return build_model(load_spec(search_table.SPEC).override(values)).train()


def write_json(name: str, found: dict) -> None:
    """Keep a dictionary."""
    (KEPT / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def read_json(name: str) -> dict:
    """Return a kept dictionary, or an empty one."""
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def extreme(pricer: Pricer, is_largest: bool) -> dict[str, Any]:
    """Return the space's largest or smallest net, with a stem of stride 4 as 197 of the table's 200 nets."""
    point = tuple((len(knob.values) - 1) * is_largest for knob in pricer.space.knobs)
    return {**pricer.space.values(point), "stem_stride": 4}


def random_net(pricer: Pricer, rng: random.Random) -> dict[str, Any]:
    """Return a net from the distribution of the table's."""
    low, high = search_table.MIN_GFLOPS, search_table.MAX_GFLOPS
    while True:
        one = search_table.net_near(pricer, low * (high / low) ** rng.random(), rng)
        if one.is_feasible:
            return pricer.space.values(one.point)


def elastic_net(pricer: Pricer, sides: Sequence[Tensor]) -> nn.Module:
    """Return the trained elastic net."""
    torch.manual_seed(0)
    largest, smallest, path = built(extreme(pricer, True)), extreme(pricer, False), KEPT / "elastic.pt"
    if path.exists():
        largest.load_state_dict(torch.load(path))
        return largest
    step, began = (
        stepper(largest, ELASTIC_EPOCHS * (search_table.TRAIN // search_table.BATCH), RATE),
        time.process_time(),
    )
    for epoch in range(ELASTIC_EPOCHS):
        torch.manual_seed(epoch)
        rng = random.Random(f"elastic/{epoch}")
        for x, y in batches(*sides[:2]):
            loss_of(logits := largest(x), y).backward()
            taught = logits.detach().softmax(1)
            for values in (smallest, *(random_net(pricer, rng) for _ in range(RANDOM_NETS))):
                net = built(values)
                inherit(largest, net)
                (loss_of(logits := net(x), y) + F.cross_entropy(logits, taught)).backward()
                hand_back(largest, net)
            step()
        print(f"elastic, epoch {epoch + 1}: {time.process_time() - began:.0f} s", flush=True)
    torch.save(largest.state_dict(), path)
    write_json("elastic", {"cpu_s": time.process_time() - began})
    return largest


def run_elastic(pricer: Pricer, nets: list[Candidate], sides: Sequence[Tensor]) -> None:
    """Score all nets of the table with the elastic net's weights, also those that are not trained yet."""
    largest, scores = elastic_net(pricer, sides), read_json("elastic_scores")
    wanted = {"largest": extreme(pricer, True), "smallest": extreme(pricer, False)}
    wanted |= {one.hash: pricer.space.values(one.point) for one in nets}
    for name in [name for name in wanted if name not in scores]:
        net, began = built(wanted[name]).eval(), time.process_time()
        inherit(largest, net)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # exactly those of the next batch
                module.train()
        with torch.no_grad():
            net(sides[0][:CALIBRATION])
        scores[name] = [search_table.dice_of(net, *sides[2:]), time.process_time() - began]
        write_json("elastic_scores", scores)


def families(pricer: Pricer, nets: list[Candidate]) -> list[tuple[Candidate, list[Candidate]]]:
    """Return the table's first nets as parents, with children of one and of two other knobs."""
    rng, kin = random.Random("families"), [(parent, [parent] * CHILDREN) for parent in nets[:FAMILIES]]
    for parent, children in kin:
        for place in range(CHILDREN):
            while children[place].hash == parent.hash or not children[place].is_feasible:
                children[place] = pricer.plan(pricer.space.mutated(parent.point, rng, place + 1))
    return kin


def run_inheritance(pricer: Pricer, nets: list[Candidate], sides: Sequence[Tensor]) -> None:
    """Train parents and children."""
    done = read_json("trainings")

    def train(one: Candidate, way: str, epochs: int, rate: float = RATE, parent: nn.Module | None = None) -> nn.Module:
        key, path = f"{one.hash}/{way}", KEPT / f"{one.hash}.pt"
        torch.manual_seed(0)
        model, began = built(pricer.space.values(one.point)), time.process_time()
        if key in done:
            if way == "parent":
                model.load_state_dict(torch.load(path))
            return model
        inherit(model if parent is None else parent, model)
        done[key] = {"history": search_table.train(model, epochs, rate, *sides), "cpu_s": time.process_time() - began}
        if way == "parent":
            torch.save(model.state_dict(), path)
        write_json("trainings", done)
        print(f"{key}: {score(done[key]['history']):.4f} in {done[key]['cpu_s']:.0f} s", flush=True)
        return model

    for parent, children in families(pricer, nets):
        model = train(parent, "parent", EPOCHS)
        for child in children:
            train(child, LONG_WAY, EPOCHS)
            train(child, SHORT_WAY, SHORT)
            train(child, HEIR, SHORT, parent=model)
            train(child, SLOW_HEIR, SHORT, LOW_RATE, model)


def table_rows(path: Path) -> dict[str, dict[int, dict[str, str]]]:
    """Return the table's rows by net and seed."""
    rows: dict[str, dict[int, dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["hash"], {})[int(row["seed"])] = row
    return rows


def interval(statistic: Callable[[np.ndarray], Any], count: int, family: int = 1) -> np.ndarray:
    """Return a statistic of nets and its 95 % interval: nets are sampled with replacement, families as a whole."""
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        picked = rng.integers(count // family, size=count // family)
        found.append(statistic((picked[:, None] * family + np.arange(family)).ravel()))
    return np.stack([statistic(np.arange(count)), *np.nanpercentile(found, [2.5, 97.5], axis=0)])


def shown(found: Sequence[float]) -> str:
    """Return a statistic with its interval; a dash where there are too few nets for it."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*found) if np.isfinite(found).all() else "-"


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Return Kendall's tau."""
    return float(kendalltau(x, y)[0])


def correlations(x: np.ndarray, y: np.ndarray, costs: np.ndarray, family: int = 1) -> str:
    """Return three cells: Kendall's tau, Spearman's correlation, and that given the costs (search_bench.partial)."""

    def three(at: np.ndarray) -> list[float]:
        r = np.corrcoef(rankdata([x[at], y[at], costs[at]], axis=1))
        given = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
        return [kendall(x[at], y[at]), r[0, 1], given]

    cells = [shown(each) for each in interval(three, len(x), family).T]
    return " | ".join([*cells[:2], ""] if np.array_equal(x, costs) else cells)


def elastic_lines(rows: list[dict[int, dict[str, str]]]) -> list[str]:
    """Return the page's part on the elastic net."""
    spent, scores = read_json("elastic").get("cpu_s"), read_json("elastic_scores")
    rows = [each for each in rows if each[0]["hash"] in scores]
    if len(rows) < 10:
        return ["Not run."]
    said = np.array([scores[each[0]["hash"]][0] for each in rows])
    costs = np.log([float(each[0]["gmacs"]) for each in rows])
    true = np.array([statistics.mean(float(row["dice"]) for row in each.values()) for each in rows])
    two = np.array([index for index, each in enumerate(rows) if len(each) > 1])
    first, second = (np.array([float(rows[index][seed]["dice"]) for index in two]) for seed in (0, 1))
    lines = [
        f"The largest net with a stem of stride 4 is trained for {ELASTIC_EPOCHS} epochs (seed 0), in each step with "
        f"the smallest and {RANDOM_NETS} random nets. Batch-norm statistics are from {CALIBRATION} training images.\n",
        "| score | compared with | nets | Kendall | Spearman | Spearman given log GMACs |",
        "|---|---|---|---|---|---|",
    ]
    for name, its in (("elastic net", said), ("log GMACs", costs)):
        lines.append(f"| {name} | mean score of the table | {len(true)} | {correlations(its, true, costs)} |")
    for name, its in (("elastic net", said[two]), ("log GMACs", costs[two]), ("one training: seed 0", first)):
        lines.append(f"| {name} | score of seed 1 | {len(two)} | {correlations(its, second, costs[two])} |")
    more = interval(lambda at: kendall(said[at], true[at]) - kendall(costs[at], true[at]), len(true))
    passes = kendall(said, true) >= KENDALL_GATE and more[0] >= MARGIN_GATE
    return [
        *lines,
        f"\n- Gate: Kendall at least {KENDALL_GATE} and at least {MARGIN_GATE} above that of MACs. It is above by "
        f"{shown(more)}. **The elastic net {'passes' if passes else 'fails and is left out of the search'}.**",
        f"- CPU time: {spent:.0f} s, then {statistics.median(of[1] for of in scores.values()):.1f} s a net (median).",
        f"- Dice with the elastic net's weights: median {np.median(said):.3f}, largest {scores['largest'][0]:.3f}, "
        f"smallest {scores['smallest'][0]:.3f}; median of the table {np.median(true):.3f}. Kendall of these scores "
        f"with log GMACs: {kendall(said, costs):.2f}.",
    ]


def inheritance_lines(kin: list[tuple[Candidate, list[Candidate]]], table: dict) -> list[str]:
    """Return the page's part on inherited weights, over the families whose trainings are done."""
    done, verdicts = read_json("trainings"), [""]
    kin = [one for one in kin if all(f"{child.hash}/{HEIR}" in done for child in one[1])]
    children, count = [child for _, each in kin for child in each], CHILDREN * len(kin)
    if len(kin) < 2:
        return ["Not run."]
    parents = np.array([score(done[f"{one.hash}/parent"]["history"]) for one, _ in kin])
    apart = np.abs(parents - [float(table[one.hash][0]["dice"]) for one, _ in kin]).max()
    ways = [way for way in WAYS if all(f"{child.hash}/{way}" in done for child in children)]
    dice = {way: np.array([score(done[f"{one.hash}/{way}"]["history"]) for one in children]) for way in ways}
    long, short, costs = dice[LONG_WAY], dice[SHORT_WAY], np.log([one.gmacs for one in children])
    lines = [
        f"{len(kin)} of {FAMILIES} families: a parent (20 epochs; Dice within {apart:.3f} of the table's), {CHILDREN} "
        f"children; seed 0. Gains in points of Dice (0.01), correlations with scratch 20. Intervals sample families.\n",
        "| way | CPU s | Dice | gain on scratch 10 | gain on scratch 20 | Kendall | Spearman | given log GMACs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, its in dice.items():
        seconds = statistics.mean(done[f"{one.hash}/{way}"]["cpu_s"] for one in children)
        gains = [interval(lambda at, less=its - to: 100 * less[at].mean(), count, CHILDREN) for to in (short, long)]
        ranks = correlations(its, long, costs, CHILDREN) if way != LONG_WAY else "| |"
        lines.append(f"| {way} | {seconds:.0f} | {its.mean():.3f} | {shown(gains[0])} | {shown(gains[1])} | {ranks} |")
        if way in (HEIR, SLOW_HEIR):
            more = interval(lambda at, x=its: kendall(x[at], long[at]) - kendall(short[at], long[at]), count, CHILDREN)
            verdict = "They rank better" if more[1] > 0 else "Not shown to rank better: left out of the search"
            verdicts.append(f"- {way}: Kendall above that of scratch 10 by {shown(more)}. **{verdict}.**")
    for name, its in (("parent's score", np.repeat(parents, CHILDREN)), ("log GMACs", costs)):
        lines.append(f"| {name} | | | | | {correlations(its, long, costs, CHILDREN)} |")
    return lines + [f"| {way} | not run |{' |' * 6}" for way in WAYS if way not in dice] + verdicts


def main() -> None:
    """Train what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/Kvasir-SEG")
    parser.add_argument("--table", default=search_table.SHORT.table, type=Path, help="default: search_table.csv")
    parser.add_argument("--parts", nargs="*", choices=["elastic", "inheritance"], default=["elastic", "inheritance"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    np.seterr(divide="ignore", invalid="ignore")  # correlations in some small samples
    KEPT.mkdir(parents=True, exist_ok=True)
    pricer = search_table.table_pricer()
    nets, rows = search_table.drawn_nets(pricer), table_rows(args.table)
    build_kernels()  # as search_table.py does
    sides = search_table.tensors(args.data) if args.parts else ()
    for name in args.parts:
        (run_elastic if name == "elastic" else run_inheritance)(pricer, nets, sides)
    lines = [
        "# Weights shared between nets\n",
        f"Written by `python benchmarks/shared_weights.py`. {describe_machine()}. Nets, images and recipe of "
        f"`search_table.py`, which has {len(rows)} nets so far. In brackets: 95 % intervals, {RESAMPLES} resamples.",
        *("\n## Elastic net\n", *elastic_lines(list(rows.values()))),
        *("\n## Inherited weights\n", *inheritance_lines(families(pricer, nets), rows), ""),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
