"""The nets of the zoo that could be taken, each with its size, its start and its computed cost."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from typing import Any

import torch

from lmnet.blocks.encoder_weights import PACKAGES
from lmnet.builder.graph import GraphModel
from lmnet.builder.models import create_model
from lmnet.builder.plan import Plan
from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import load_spec
from lmnet.builder.zoo import list_models, zoo_folder
from lmnet.builder.zoo_table import DEFAULT_DATA, ZooRow, read_table
from lmnet.training.data.load import DataSets

SCRATCH, IMAGENET = "random weights", "ImageNet encoder"


@dataclass(frozen=True)
class NetChoice:
    """A net of the zoo at one size, from one start.

    Args:
        net: name of the spec.
        size: side in pixels that images are resized to.
        start: a name of shipped weights, ``ImageNet encoder`` or ``random weights``.
        hash: of the architecture.
        gmacs: 10^9 multiply-accumulates of one image, re-parameterised.
        params: parameters, re-parameterised.
        known_dice: of the start, on its own data; 0 where nothing is known.
        table_ms: milliseconds of one image by runtime, in the zoo's table; empty where it was not measured.
    """

    net: str
    size: int
    start: str
    hash: str
    gmacs: float
    params: int
    known_dice: float
    table_ms: dict[str, float] = field(compare=False)

    @property
    def name(self) -> str:
        """For people: net and size, and the start unless it is the net's own weights."""
        at = f"{self.net} at {self.size} px"
        return at if self.start == self.net else f"{at} from {self.start}"

    @property
    def order(self) -> tuple[int, float, float]:
        """The most promising come first: trained weights by their Dice, then ImageNet, then the largest net."""
        rank = 2 if self.start == SCRATCH else 1 if self.start == IMAGENET else 0
        return rank, -self.known_dice, -self.gmacs

    def build(self, *, in_channels: int, num_classes: int, seed: int) -> GraphModel:
        """Return the net with the weights of its start.

        Args:
            in_channels: of the images.
            num_classes: background included.
            seed: random seed of weights that do not come from the start.
        """
        options: dict[str, Any] = {}
        if self.start == IMAGENET:
            options["pretrained_encoder"] = "package"
        elif self.start != SCRATCH:
            options["pretrained"] = self.start.partition("@")[2] or DEFAULT_DATA
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return create_model(self.net, in_channels=in_channels, num_classes=num_classes, **options)


def find_choices(data: DataSets | None, *, size: int, in_channels: int, num_classes: int) -> list[NetChoice]:
    """Return every net of the zoo that could be trained, the most promising first.

    Shipped weights that were trained on the same data set are no start, as they have seen the validation images, unless
    the split is the same too. Weights of special data (``@busi``, ``@lgg``) are no start either.

    Args:
        data: that the nets are for; None for no data.
        size: side in pixels of nets without weights.
        in_channels: of the images.
        num_classes: background included.
    """
    rows = read_table().rows
    found = []
    for net in list_models():
        starts = [row for row in rows.values() if row.net == net and _is_start(row, data)]
        sizes = sorted({min(row.size) for row in starts}) or [size]
        for side in sizes:
            row = next((each for each in starts if min(each.size) == side), None)
            plan = _plan(net, side, in_channels, num_classes)
            if plan is None:
                continue
            if row is not None:
                found.append(_choice(plan, side, row.name, row))
            if (row is None or row.net != row.name) and _has_encoder_package(plan):
                found.append(_choice(plan, side, IMAGENET, row))
            elif row is None:
                found.append(_choice(plan, side, SCRATCH, rows.get(net)))
    return sorted(found, key=lambda each: each.order)


def _is_start(row: ZooRow, data: DataSets | None) -> bool:
    kind = row.name.partition("@")[2] or DEFAULT_DATA
    if not row.licence or not kind.startswith(DEFAULT_DATA):
        return False
    if data is None or data.name != DEFAULT_DATA:
        return True
    card = (zoo_folder() / f"{row.name}.md").read_text(encoding="utf-8")
    trained_on = re.search(r"Fingerprint of content and split: `([^`]+)`", card)
    return trained_on is not None and trained_on[1] == data.fingerprint


def _plan(net: str, size: int, in_channels: int, num_classes: int) -> Plan | None:
    """Return the plan of a net for the data; None where it cannot be built for this size, or these channels."""
    try:
        spec = load_spec(net).override({"input.channels": in_channels, "num_classes": num_classes})
        return plan_spec(spec, input_size=(size, size))
    except SpecError:
        return None


def _choice(plan: Plan, size: int, start: str, row: ZooRow | None) -> NetChoice:
    same = row is not None and min(row.size) == size
    dice = row.dice.mean if row is not None and row.dice is not None and start == row.name else 0.0
    return NetChoice(
        plan.spec.name, size, start, plan.hash, plan.deploy_macs / 1e9, plan.deploy_params, dice,
        dict(row.ms) if row is not None and same else {},
    )  # fmt: skip


def _has_encoder_package(plan: Plan) -> bool:
    models = [node.options.get("model") for node in plan.nodes if node.block == "timm_encoder"]
    return len(models) == 1 and importlib.util.find_spec(PACKAGES.get(str(models[0]), "no_such_package")) is not None
