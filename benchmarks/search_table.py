"""Train many nets of lmnet_xs's search space on Kvasir-SEG, and write the table that search_bench.py uses.

    python benchmarks/search_table.py --data ../shared/data/Kvasir-SEG --workers 1 [--hours 2] [--pilot] [--full]

200 nets of at most 0.3 G multiply-accumulates (0.05 G or more), drawn evenly in the logarithm of their cost; every
third is trained with a second seed. All are trained alike: 64 pixels, 400 training images, 20 epochs, AdamW on one
cycle, cross-entropy and Dice, flips. A score is the lesion Dice, mean over 200 other images and the last third of the
epochs. One thread and a given seed a training, so the table does not depend on who makes it.

``train_s`` is CPU time; the first 45 rows were trained before the compiled kernels, in about twice as long.
Rows are added as they finish, in an order in which every beginning of the table covers all costs; the same command
continues where it stopped. --pilot trains six nets with three seeds each, prints how far nets differ against how far
seeds do, and writes nothing. --full trains 24 of the nets with two other seeds in 3.5 times as many steps, 40 epochs
on all images but the 200 (here 700), and writes search_table_full.csv: what the short scores have to predict.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from lmnet.blocks import build_kernels
from lmnet.builder.models import build_model
from lmnet.builder.spec import load_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Space
from lmnet.training.data.load import load_data

HERE = Path(__file__).parent
SPEC = "lmnet_xs"
MIN_GFLOPS, MAX_GFLOPS = 0.05, 0.3
NETS, SECOND_SEED_EVERY, SECOND_SEEDS_SOON = 200, 3, 30
SIZE, TRAIN, VAL, EPOCHS, BATCH, RATE = 64, 400, 200, 20, 16, 3e-3
FULL_NETS, FULL_SEEDS = 24, (2, 3)


@dataclass(frozen=True)
class Plan:
    """How the nets of a table are trained.

    Args:
        table: file of the results.
        epochs: of a training.
        images: that are trained on; None: all but those that score.
    """

    table: Path
    epochs: int = EPOCHS
    images: int | None = TRAIN

    def columns(self) -> list[str]:
        """Return the table's header."""
        by_epoch = (f"dice_epoch{epoch}" for epoch in range(1, self.epochs + 1))
        return ["hash", "gmacs", "params", "seed", "dice", *by_epoch, "train_s", "values"]


SHORT = Plan(HERE / "search_table.csv")
FULL = Plan(HERE / "search_table_full.csv", 2 * EPOCHS, None)


def table_pricer() -> Pricer:
    """Return the prices of the table's space."""
    return Pricer(Space(load_spec(SPEC)), Limits(min_gflops=MIN_GFLOPS, max_gflops=MAX_GFLOPS))


def net_near(pricer: Pricer, gmacs: float, rng: random.Random) -> Candidate:
    """Return a random net that costs what is wanted, within 5 %: knobs are turned as long as that brings it nearer."""

    def gap(one: Candidate) -> float:
        return abs(math.log(one.gmacs / gmacs)) if one.gmacs else math.inf

    here, tries = pricer.plan(pricer.space.sample(rng)), 0
    while gap(here) > 0.05:
        moved, tries = pricer.plan(pricer.space.mutated(here.point, rng, rng.randint(1, 2))), tries + 1
        if gap(moved) < gap(here):
            here = moved
        elif tries > 500:  # no knob is left that brings it nearer
            here, tries = pricer.plan(pricer.space.sample(rng)), 0
    return here


def drawn_nets(pricer: Pricer) -> list[Candidate]:
    """Return the table's nets: the start, then others at costs of which every beginning covers the whole range."""
    rng = random.Random("search table")
    nets = {one.hash: one for one in [pricer.plan(pricer.space.start)]}
    place = 0
    while len(nets) < NETS:
        place += 1
        share = place * 0.6180339887 % 1  # the golden ratio's multiples are spread evenly, however many
        one = net_near(pricer, MIN_GFLOPS * (MAX_GFLOPS / MIN_GFLOPS) ** share, rng)
        if one.is_feasible:
            nets.setdefault(one.hash, one)
    return list(nets.values())


def trainings(nets: list[Candidate]) -> list[tuple[Candidate, int]]:
    """Return every net with its seeds: 0 for all, 1 for every third too; of these the later ones come at the end."""
    twice = nets[::SECOND_SEED_EVERY]
    soon, late = twice[:SECOND_SEEDS_SOON], twice[SECOND_SEEDS_SOON:]
    jobs = []
    for net in nets:
        jobs.append((net, 0))
        if net in soon:
            jobs.append((net, 1))
    return [*jobs, *((net, 1) for net in late)]


def full_trainings(nets: list[Candidate]) -> list[tuple[Candidate, int]]:
    """Return the first of the nets that have two seeds in the table, with other seeds."""
    return [(net, seed) for net in nets[::SECOND_SEED_EVERY][:FULL_NETS] for seed in FULL_SEEDS]


def tensors(data, plan=SHORT):
    """Return (train images, train masks, val images, val masks), normalised."""
    cases = load_data(data, seed=0).cases
    picked = random.Random(0).sample(range(len(cases)), TRAIN + VAL)
    picked, scored = picked[:TRAIN], picked[TRAIN:]
    if plan.images is None:
        picked += sorted(set(range(len(cases))) - {*picked, *scored})
    pairs = [cases.subset([index]).at(SIZE)[0] for index in [*picked, *scored]]
    images = torch.stack([image for image, _ in pairs]).float().div(255).sub(0.45).div(0.25)
    masks = torch.stack([mask for _, mask in pairs]).long()
    return images[: len(picked)], masks[: len(picked)], images[len(picked) :], masks[len(picked) :]


def dice_of(model, images, masks):
    """Return the mean over images of the lesion's Dice."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(batch).argmax(1) for batch in images.split(50)])
    model.train()
    overlap, total = (found * masks).sum((1, 2)), found.sum((1, 2)) + masks.sum((1, 2))
    return float(((2 * overlap + 1) / (total + 1)).mean())


def batches(images, masks):
    """Yield an epoch's batches, flipped at random."""
    for index in torch.randperm(len(images)).split(BATCH):
        x, y = images[index], masks[index]
        for side in (-1, -2):
            if torch.rand(()) < 0.5:
                x, y = x.flip(side), y.flip(side)
        yield x, y


def loss_of(logits, y):
    """Return cross-entropy and Dice of the lesion."""
    share = logits.softmax(1)[:, 1]
    dice = (2 * (share * y).sum((1, 2)) + 1) / (share.sum((1, 2)) + y.sum((1, 2)) + 1)
    return F.cross_entropy(logits, y) + 1 - dice.mean()


def stepper(model, steps, rate):
    """Return the optimizer and its schedule of so many steps, as what changes the weights by their gradients."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)

    def step():
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    return step


def train(model, epochs, rate, images, masks, val_images, val_masks):
    """Train a net; return its Dice after each epoch."""
    step, history = stepper(model, epochs * math.ceil(len(images) / BATCH), rate), []
    for _ in range(epochs):
        for x, y in batches(images, masks):
            loss_of(model(x), y).backward()
            step()
        history.append(dice_of(model, val_images, val_masks))
    return history


def work(data, plan, jobs, rows):
    """Train what comes from the queue of jobs until None comes."""
    torch.set_num_threads(1)
    build_kernels()  # as lmnet-search does
    sides = tensors(data, plan)
    while (job := jobs.get()) is not None:
        start = time.process_time()
        values, seed = job
        torch.manual_seed(seed)
        history = train(build_model(load_spec(SPEC).override(values)).train(), plan.epochs, RATE, *sides)
        rows.put((job, history, time.process_time() - start))


def run(jobs, data, workers, seconds, plan=SHORT):
    """Yield (values, seed, Dice by epoch, seconds) of each training as it ends; none begins after so many seconds."""
    context = multiprocessing.get_context("spawn")
    queue, rows = context.Queue(), context.Queue()
    processes = [context.Process(target=work, args=(data, plan, queue, rows), daemon=True) for _ in range(workers)]
    waiting, end = list(jobs), time.monotonic() + seconds
    for process in processes:
        process.start()
    busy = 0
    for _ in processes:
        if waiting:
            queue.put(waiting.pop(0))
            busy += 1
    while busy:
        (values, seed), history, took = rows.get()
        busy -= 1
        if waiting and time.monotonic() < end:
            queue.put(waiting.pop(0))
            busy += 1
        yield values, seed, history, took
    for _ in processes:
        queue.put(None)
    for process in processes:
        process.join()


def score(history):
    """Return the mean over the last third of the epochs."""
    return statistics.mean(history[-math.ceil(len(history) / 3) :])


def pilot(pricer, nets, args):
    """Print how much nets differ against how much seeds do, for each way of making a score of a training."""
    some = sorted(nets[:40], key=lambda one: one.gmacs)[::8] + [nets[0]]
    jobs = [(pricer.space.values(one.point), seed) for seed in range(3) for one in some]
    costs = {json.dumps(pricer.space.values(one.point)): one.gmacs for one in some}
    found = {}
    for values, _, history, took in run(jobs, args.data, args.workers, math.inf):
        found.setdefault(json.dumps(values), []).append(history)
        curve = " ".join(f"{each:.3f}" for each in history)
        print(f"{costs[json.dumps(values)]:.3f} G, {took:.0f} s: {curve}", flush=True)
    for name, one_score in (("last", lambda each: each[-1]), ("best", max), ("mean of last third", score)):
        means = [statistics.mean(map(one_score, each)) for each in found.values()]
        noise = math.sqrt(statistics.mean(statistics.variance(map(one_score, each)) for each in found.values()))
        print(f"{name}: spread of nets {statistics.stdev(means):.4f}, noise of a seed {noise:.4f}")


def main():
    """Make the table, or more of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/Kvasir-SEG")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--hours", type=float, default=math.inf, help="begin no training after so many")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--pilot", action="store_true")
    kind.add_argument("--full", action="store_true")
    args = parser.parse_args()
    pricer = table_pricer()
    nets = drawn_nets(pricer)
    if args.pilot:
        return pilot(pricer, nets, args)
    plan = FULL if args.full else SHORT
    done = set()
    if plan.table.exists():
        with plan.table.open(newline="") as file:
            done = {(row["hash"], int(row["seed"])) for row in csv.DictReader(file)}
    else:
        with plan.table.open("w", newline="") as file:
            csv.writer(file).writerow(plan.columns())
    wanted = full_trainings(nets) if args.full else trainings(nets)
    left = [(net, seed) for net, seed in wanted if (net.hash, seed) not in done]
    print(f"{len({net.hash for net, _ in wanted})} nets, {len(done)} trainings done, {len(left)} left", flush=True)
    by_values = {json.dumps(pricer.space.values(net.point)): net for net, _ in left}
    jobs = [(pricer.space.values(net.point), seed) for net, seed in left]
    for values, seed, history, took in run(jobs, args.data, args.workers, 3600 * args.hours, plan):
        net = by_values[json.dumps(values)]
        row = [net.hash, net.gmacs, net.params, seed, round(score(history), 5), *(round(each, 5) for each in history)]
        with plan.table.open("a", newline="") as file:
            csv.writer(file).writerow([*row, round(took, 1), json.dumps(values)])
        print(f"{net.gmacs:.3f} G, seed {seed}: {score(history):.4f} in {took:.0f} s", flush=True)
    return None


if __name__ == "__main__":
    main()
