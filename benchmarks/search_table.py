"""Train many nets of several families and data sets, and write the table that search_bench.py and the prior use.

    python benchmarks/search_table.py --root ../shared/data --workers 1 [--hours 2] [--pilot] [--full]
    ... [--families lmnet_xs unext_s] [--data-sets kaggle_3m] [--out FILE]

``table_plan.py`` has the plan: eight families on Kvasir-SEG, LGG MRI (slices with a lesion, split by patient) and BUSI
(images with a lesion); 200 nets of lmnet_xs and 40 of each other family, drawn evenly in the logarithm of their cost; a
second seed for every fourth (lmnet_xs on Kvasir-SEG: every third). All are trained alike: from random weights, 64
pixels, 20 epochs of 400 images (of a smaller set each image several times), AdamW on one cycle, cross-entropy and Dice,
flips. A score is the lesion Dice, mean over other images (200; a third of a smaller set) and the last third of the
epochs. One thread and a given seed a training, so the table does not depend on who makes it.

``gmacs`` and ``params`` are at the size of the family's spec. ``train_s`` is CPU time; the first 45 rows were trained
before the compiled kernels, in about twice as long. ``ms`` is the CPU time of one image of the spec's size in PyTorch
on one thread, the best of five passes; rows that are older than the column have none.
Rows are added as they finish, in an order in which every beginning of the table covers families, data sets and costs;
the same command continues where it stopped. --out writes new rows to another file, and knows those of the table too.
--pilot trains six nets of lmnet_xs with three seeds each, prints how far nets differ against how far seeds do, and
writes nothing. --full trains 24 of its nets with two other seeds in 3.5 times as many steps, 40 epochs on all images
but the 200 (here 700), and writes search_table_full.csv: what the short scores have to predict.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import multiprocessing
import queue as queue_module
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from table_plan import (
    DATA_SETS,
    KVASIR,
    RANGES,
    SPEC,
    Job,
    drawn_nets,
    full_trainings,
    planned,
    read_rows,
    row_key,
    table_pricer,
)

from lmnet.blocks import build_kernels
from lmnet.builder.models import build_model
from lmnet.builder.spec import load_spec
from lmnet.training.data.load import load_data

HERE = Path(__file__).parent
SIZE, TRAIN, VAL, EPOCHS, BATCH, RATE = 64, 400, 200, 20, 16, 3e-3
PASSES = 5


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
        return ["hash", "gmacs", "params", "seed", "dice", *by_epoch, "train_s", "values", "family", "data", "ms"]


SHORT = Plan(HERE / "search_table.csv")
FULL = Plan(HERE / "search_table_full.csv", 2 * EPOCHS, None)


def sides(cases, plan):
    """Return the indices of the images that are trained on and of those that score.

    Of a set with patients or without enough images: those with a lesion, and a third of the patients score.
    """
    if len(cases) >= TRAIN + VAL and len({case.group for case in cases.cases}) == len(cases):
        picked = random.Random(0).sample(range(len(cases)), TRAIN + VAL)
        picked, scored = picked[:TRAIN], picked[TRAIN:]
        if plan.images is None:
            picked += sorted(set(range(len(cases))) - {*picked, *scored})
        return picked, scored
    with_lesion = [index for index in range(len(cases)) if cases.mask(index).any()]
    groups = sorted({cases.cases[index].group for index in with_lesion})
    scoring = set(random.Random(0).sample(groups, len(groups) // 3))
    scored = [index for index in with_lesion if cases.cases[index].group in scoring]
    return [index for index in with_lesion if index not in set(scored)], scored


def tensors(data, plan=SHORT):
    """Return (train images, train masks, val images, val masks), normalised."""
    cases = load_data(data, seed=0).cases
    picked, scored = sides(cases, plan)
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
    """Yield an epoch's batches, flipped at random; of few images each comes several times."""
    drawn = max(TRAIN, len(images))
    order = torch.cat([torch.randperm(len(images)) for _ in range(math.ceil(drawn / len(images)))])[:drawn]
    for index in order.split(BATCH):
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
    step, history = stepper(model, epochs * math.ceil(max(TRAIN, len(images)) / BATCH), rate), []
    for _ in range(epochs):
        for x, y in batches(images, masks):
            loss_of(model(x), y).backward()
            step()
        history.append(dice_of(model, val_images, val_masks))
    return history


def forward_ms(model, size):
    """Return the CPU milliseconds of one image in PyTorch, the best of some passes."""
    model.eval()
    image, took = torch.zeros(1, 3, *size), []
    with torch.no_grad():
        for _ in range(PASSES):
            began = time.process_time()
            model(image)
            took.append(1000 * (time.process_time() - began))
    return min(took)


def work(root, plan, jobs, rows):
    """Train what comes from the queue of jobs until None comes."""
    torch.set_num_threads(1)
    build_kernels()  # as lmnet-search does
    data = functools.cache(lambda name: tensors(Path(root) / name, plan))
    while (job := jobs.get()) is not None:
        start = time.process_time()
        family, name, values, seed = job
        held = data(name)
        torch.manual_seed(seed)
        spec = load_spec(family).override(values)
        model = build_model(spec).train()
        history = train(model, plan.epochs, RATE, *held)
        took = time.process_time() - start
        rows.put((history, took, forward_ms(model, spec.layout.input.size)))


def run(jobs, root, workers, seconds, plan=SHORT):
    """Yield (job, Dice by epoch, seconds, ms) of each training as it ends; none begins after so many seconds."""
    context = multiprocessing.get_context("spawn")
    waiting, end, busy = list(jobs), time.monotonic() + seconds, {}
    rows = [context.Queue() for _ in range(workers)]
    queues = [context.Queue() for _ in range(workers)]
    args = [(root, plan, queue, out) for queue, out in zip(queues, rows, strict=True)]
    processes = [context.Process(target=work, args=each, daemon=True) for each in args]

    def give(worker):
        if waiting and time.monotonic() < end:
            job = busy[worker] = waiting.pop(0)
            queues[worker].put((job.family, job.data, job.values, job.seed))

    for worker, process in enumerate(processes):
        process.start()
        give(worker)
    while busy:
        for worker in list(busy):
            try:
                found = rows[worker].get(timeout=1)
            except queue_module.Empty:
                if not processes[worker].is_alive():
                    raise RuntimeError(f"a worker ended while it trained {busy[worker].key}") from None
                continue
            job = busy.pop(worker)
            give(worker)
            yield job, *found
    for worker, process in enumerate(processes):
        queues[worker].put(None)
        process.join()


def score(history):
    """Return the mean over the last third of the epochs."""
    return statistics.mean(history[-math.ceil(len(history) / 3) :])


def pilot(args):
    """Print how much nets differ against how much seeds do, for each way of making a score of a training."""
    nets = drawn_nets(table_pricer())
    some = sorted(nets[:40], key=lambda one: one.gmacs)[::8] + [nets[0]]
    found = {}
    jobs = [Job(SPEC, KVASIR, one, seed) for seed in range(3) for one in some]
    for job, history, took, _ in run(jobs, args.root, args.workers, math.inf):
        found.setdefault(job.net.hash, []).append(history)
        curve = " ".join(f"{each:.3f}" for each in history)
        print(f"{job.net.gmacs:.3f} G, {took:.0f} s: {curve}", flush=True)
    for name, one_score in (("last", lambda each: each[-1]), ("best", max), ("mean of last third", score)):
        means = [statistics.mean(map(one_score, each)) for each in found.values()]
        noise = math.sqrt(statistics.mean(statistics.variance(map(one_score, each)) for each in found.values()))
        print(f"{name}: spread of nets {statistics.stdev(means):.4f}, noise of a seed {noise:.4f}")


def make_parser():
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="../shared/data", help="folder of the data sets")
    parser.add_argument("--families", nargs="+", choices=list(RANGES), default=list(RANGES), metavar="NAME")
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), metavar="NAME")
    parser.add_argument("--out", type=Path, help="file for the new rows (default: the table)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--hours", type=float, default=math.inf, help="begin no training after so many")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--pilot", action="store_true")
    kind.add_argument("--full", action="store_true")
    return parser


def main():
    """Make the table, or more of it."""
    args = make_parser().parse_args()
    if args.pilot:
        return pilot(args)
    plan = FULL if args.full else SHORT
    out = args.out or plan.table
    done = {row_key(row) for path in {plan.table, out} for row in read_rows(path)}
    if not out.exists():
        with out.open("w", newline="") as file:
            csv.writer(file).writerow(plan.columns())
    if args.full:
        wanted = [Job(SPEC, KVASIR, *one) for one in full_trainings(drawn_nets(table_pricer()))]
    else:
        wanted = planned(args.families, args.data_sets)
    left = [job for job in wanted if job.key not in done]
    nets = len({(job.family, job.net.hash) for job in wanted})
    print(f"{nets} nets, {len(wanted)} trainings, {len(left)} left", flush=True)
    for job, history, took, ms in run(left, args.root, args.workers, 3600 * args.hours, plan):
        net = job.net
        row = [net.hash, net.gmacs, net.params, job.seed, round(score(history), 5), *(round(one, 5) for one in history)]
        with out.open("a", newline="") as file:
            csv.writer(file).writerow(
                [*row, round(took, 1), json.dumps(job.values), job.family, job.data, round(ms, 2)]
            )
        print(
            f"{job.family}, {job.data}, {net.gmacs:.3f} G, seed {job.seed}: {score(history):.4f} in {took:.0f} s",
            flush=True,
        )
    return None


if __name__ == "__main__":
    main()
