"""Train every architecture of a small space under a limit on Kvasir-SEG, and write the table that search_bench.py uses.

Every feasible point of benchmarks/search_table.yaml (at most 0.25 G multiply-accumulates) is trained alike: 64 pixels,
160 training images, 12 epochs, AdamW on one cycle, cross-entropy and Dice, flips; scored by the foreground Dice, mean
over 200 other images and the last three epochs. One thread and a fixed seed a training, so the table does not depend
on who makes it.

    python benchmarks/search_table.py --data ../shared/data/Kvasir-SEG --workers 2

Rows are added as they finish; the same command continues where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from lmnet.builder.models import build_model
from lmnet.builder.planner import Planner
from lmnet.builder.spec import load_spec
from lmnet.training.data.load import load_data

HERE = Path(__file__).parent
SPEC = HERE / "search_table.yaml"
TABLE = HERE / "search_table.csv"
MAX_GFLOPS = 0.25
SIZE, TRAIN, VAL, EPOCHS, BATCH, SEED = 64, 160, 200, 12, 16, 0
COLUMNS = ["hash", "dice", *(f"dice_epoch{epoch}" for epoch in range(1, EPOCHS + 1)), "gmacs", "params", "train_s"]


def feasible_points():
    """Return (values, plan) of every point of the space within the limit, cheapest first."""
    planner = Planner(load_spec(SPEC))
    ranges = {}
    for name, knob in planner.spec.layout.search.items():
        ranges[name] = knob.choices or list(range(knob.low, knob.high + 1, knob.step))
    points = []
    for choice in itertools.product(*ranges.values()):
        values = dict(zip(ranges, choice, strict=True))
        plan = planner.plan(values)
        if plan.deploy_macs <= MAX_GFLOPS * 1e9:
            points.append((values, plan))
    return sorted(points, key=lambda point: point[1].deploy_macs)


def tensors(data):
    """Return (train images, train masks, val images, val masks), normalised."""
    cases = load_data(data, seed=SEED).cases.subset(range(TRAIN + VAL)).at(SIZE)
    images = torch.stack([image for image, _ in cases]).float().div(255).sub(0.45).div(0.25)
    masks = torch.stack([mask for _, mask in cases]).long()
    return images[:TRAIN], masks[:TRAIN], images[TRAIN:], masks[TRAIN:]


def dice_of(model, images, masks):
    """Return the mean over images of the foreground Dice."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(batch).argmax(1) for batch in images.split(50)])
    model.train()
    overlap, total = (found * masks).sum((1, 2)), found.sum((1, 2)) + masks.sum((1, 2))
    return float(((2 * overlap + 1) / (total + 1)).mean())


def train(values, images, masks, val_images, val_masks):
    """Train one architecture; return its Dice after each epoch."""
    torch.manual_seed(SEED)
    model = build_model(load_spec(SPEC).override(values)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * (TRAIN // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    history = []
    for _ in range(EPOCHS):
        for index in torch.randperm(TRAIN).split(BATCH):
            x, y = images[index], masks[index]
            if torch.rand(()) < 0.5:
                x, y = x.flip(-1), y.flip(-1)
            if torch.rand(()) < 0.5:
                x, y = x.flip(-2), y.flip(-2)
            logits = model(x)
            share = logits.softmax(1)[:, 1]
            dice = (2 * (share * y).sum((1, 2)) + 1) / (share.sum((1, 2)) + y.sum((1, 2)) + 1)
            loss = F.cross_entropy(logits, y) + 1 - dice.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        history.append(dice_of(model, val_images, val_masks))
    return history


def work(data, jobs, rows):
    """Train what comes from the queue of jobs until None comes."""
    torch.set_num_threads(1)
    sides = tensors(data)
    while (values := jobs.get()) is not None:
        start = time.perf_counter()
        history = train(values, *sides)
        rows.put((values, history, time.perf_counter() - start))


def main():
    """Make the table, or the rest of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/Kvasir-SEG")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    points = feasible_points()
    knobs = list(points[0][0])
    done = set()
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            done = {row["hash"] for row in csv.DictReader(file)}
    else:
        with TABLE.open("w", newline="") as file:
            csv.writer(file).writerow([*knobs, *COLUMNS])
    left = [(values, plan) for values, plan in points if plan.hash not in done]
    print(f"{len(points)} feasible architectures, {len(done)} done")
    context = multiprocessing.get_context("spawn")
    jobs, rows = context.Queue(), context.Queue()
    plans = {}
    for values, plan in left:
        plans[json.dumps(values)] = plan
        jobs.put(values)
    workers = [context.Process(target=work, args=(args.data, jobs, rows), daemon=True) for _ in range(args.workers)]
    for worker in workers:
        jobs.put(None)
        worker.start()
    for count in range(len(left)):
        values, history, seconds = rows.get()
        plan = plans[json.dumps(values)]
        row = [plan.hash, round(sum(history[-3:]) / 3, 5), *(round(dice, 5) for dice in history)]
        row += [plan.deploy_macs / 1e9, plan.deploy_params, round(seconds, 1)]
        with TABLE.open("a", newline="") as file:
            csv.writer(file).writerow([*(json.dumps(values[knob]) for knob in knobs), *row])
        print(f"{count + 1}/{len(left)} {values} dice {sum(history[-3:]) / 3:.4f} in {seconds:.0f} s", flush=True)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
