"""LM-Net as a network that nnU-Net v2 builds from its plans; docs/reuse.md has the recipe.

Put ``architecture("lmnet_paper")`` in the place of ``plans["configurations"]["2d"]["architecture"]`` and train with any
of nnU-Net's trainers, with or without deep supervision. Imports nothing of nnU-Net.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lmnet.builder.graph import GraphModel
from lmnet.builder.models import build_model
from lmnet.builder.plan import Plan
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.strict_yaml import Document

SUPERVISED = ("dec1", "dec2", "dec3")


def supervised_spec(spec: Spec, nodes: Sequence[str]) -> Spec:
    """Return the spec with a 1x1 convolution to logits behind each of these nodes, as further outputs.

    Raises:
        ValueError: the spec has no such node.
    """
    data = copy.deepcopy(spec.document.data)
    data.pop("expect", None)
    missing = [name for name in nodes if name not in data["nodes"]]
    if missing:
        raise ValueError(
            f"{spec.name}: supervised must name nodes of the spec, got {', '.join(missing)}. "
            f"Use the decoder's, of {', '.join(data['nodes'])}."
        )
    head = data["nodes"][spec.layout.outputs["logits"].partition(".")[0]]
    for name in nodes:
        data["nodes"][f"{name}_logits"] = {
            "block": "segmentation_head",
            "from": name,
            "num_classes": head.get("num_classes", 2),
        }
        data["outputs"][f"{name}_logits"] = f"{name}_logits"
    return Spec.of(Document(spec.document.file, data, spec.document.keys, spec.document.values))


class _Switch(nn.Module):
    """Where nnU-Net's trainer switches deep supervision on and off: ``network.decoder.deep_supervision``."""

    def __init__(self, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision


class LMNet(nn.Module):
    """A spec's net behind the constructor that nnU-Net calls.

    Args:
        input_channels: channels of the image.
        num_classes: maps of logits.
        spec: a name of the zoo, or the path of a YAML file.
        variables: new values of the spec's variables.
        supervised: decoder nodes that deep supervision looks at, from the finest down, each half as large as the one
            before.
        strides: nnU-Net's own entry; the trainer derives the sizes of its targets from it. see ``architecture``.
        deep_supervision: whether to return all logits, finest first, rather than the finest alone.

    Shapes:
        (N, input_channels, H, W) -> (N, num_classes, H, W), or a list of these and of maps 1/2, 1/4, ... as large.

    Raises:
        SpecError: there is no such spec, or it is wrong.
        ValueError: a supervised node is missing or of another size than strides say.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        spec: str = "lmnet_paper",
        variables: Mapping[str, Any] | None = None,
        supervised: Sequence[str] = SUPERVISED,
        strides: Sequence[Sequence[int]] | None = None,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        values = {"input.channels": input_channels, "num_classes": num_classes, **(variables or {})}
        self.net: GraphModel = build_model(supervised_spec(load_spec(spec).override(values), supervised))
        self.decoder = _Switch(deep_supervision)
        own = strides_of(self.net.plan)
        if strides is not None and [list(pair) for pair in strides] != own:
            raise ValueError(
                f"{spec}: strides must be those of the supervised nodes, got strides={[list(x) for x in strides]}. "
                f"Use {own}."
            )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return the logits, all of them if deep supervision is on."""
        outputs = self.net(x)
        if isinstance(outputs, Tensor):
            return [outputs] if self.decoder.deep_supervision else outputs
        return list(outputs.values()) if self.decoder.deep_supervision else outputs["logits"]


def strides_of(plan: Plan) -> list[list[int]]:
    """Return nnU-Net's strides for a plan: one entry a supervised output, then the bottom's, which it leaves out.

    Raises:
        ValueError: an output is not smaller than the one before by a whole factor.
    """
    shapes = {node.name: node.out_shapes for node in plan.nodes}
    heights = [shapes[name][at][1] for name, at in plan.outputs.values()]
    strides = [[1, 1]]
    for name, large, small in zip(list(plan.outputs)[1:], heights, heights[1:], strict=False):
        if small >= large or large % small:
            raise ValueError(
                f"{plan.spec.name}: supervised nodes must get smaller by whole factors, got {name} of height {small} "
                f"behind {large}. List them from the finest down."
            )
        strides.append([large // small] * 2)
    return [*strides, [max(1, plan.stride * heights[-1] // heights[0])] * 2]


def architecture(
    spec: str = "lmnet_paper", *, variables: Mapping[str, Any] | None = None, supervised: Sequence[str] = SUPERVISED
) -> dict[str, Any]:
    """Return the entry ``architecture`` of a configuration in nnU-Net's plans, ready for JSON.

    Args:
        spec: see LMNet.
        variables: see LMNet.
        supervised: see LMNet.

    Raises:
        SpecError: there is no such spec, or it is wrong.
        ValueError: see LMNet.
    """
    plan = plan_spec(supervised_spec(load_spec(spec).override(dict(variables or {})), supervised))
    return {
        "network_class_name": f"{LMNet.__module__}.{LMNet.__qualname__}",
        "arch_kwargs": {
            "spec": spec,
            "variables": dict(variables or {}),
            "supervised": list(supervised),
            "strides": strides_of(plan),
        },
        "_kw_requires_import": [],
    }
