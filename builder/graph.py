"""The graph as a module: nodes run in order, each under its own name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_map
from lmnet.builder.cost import make_block
from lmnet.builder.facts import Normalization, normalization_facts, read_normalization
from lmnet.builder.plan import INPUT, Plan, last_uses
from lmnet.builder.planner import size_message
from lmnet.builder.spec import Spec


class GraphModel(nn.Module):
    """A net built from a plan. The names of its nodes are the prefixes of its state_dict.

    Args:
        plan: the checked graph.

    Shapes:
        image (N, C, H, W) -> logits (N, num_classes, H, W), for any H and W of 32 or more: the image is padded at its
        right and lower border (by repeating the border) to a multiple of the net's stride, and the logits are cropped
        back. With ``pad: false`` in the spec, H and W must be multiples. With several outputs, a dict of maps by name.

    ``facts`` are strings that stand beside the net's weights: ``size``, ``in_channels``, ``mean``, ``std``, ``data``
    (the meaning of images and masks, with the classes), ``fingerprint`` and more. Whatever loads or trains weights sets
    them, and whatever saves weights writes them.

    Raises:
        ValueError: the input is not (N, C, H, W), or, with ``pad: false``, not a multiple of the stride.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        for node in plan.nodes:
            channels = [shape[0] for shape in node.in_shapes]
            self.add_module(node.name, make_block(node.block, node.options, channels))
        self._last_uses = last_uses(plan)
        self.facts: dict[str, str] = {}

    @property
    def spec(self) -> Spec:
        """The spec that the net was built from."""
        return self.plan.spec

    @property
    def hash(self) -> str:
        """The architecture's hash, see Plan.hash."""
        return self.plan.hash

    @property
    def normalization(self) -> Normalization | None:
        """Mean and deviation that images must be normalised with; None if the facts do not say."""
        return read_normalization(self.facts, where=self.spec.name)

    @normalization.setter
    def normalization(self, value: Normalization | None) -> None:
        for key in ("mean", "std"):
            self.facts.pop(key, None)
        if value is not None:
            self.facts |= normalization_facts(*value)

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits, or a dict of all outputs where there are several."""
        check_map(self.spec.name, image, self.plan.input_shape[0])
        height, width = image.shape[2:]
        outputs = self._run(self._padded(image))
        if not torch.compiler.is_exporting():
            # outputs at the padded image's size are cropped back to the image
            padded = self._padded_size(height, width)
            outputs = {name: x[..., :height, :width] if x.shape[2:] == padded else x for name, x in outputs.items()}
        return outputs["logits"] if list(outputs) == ["logits"] else outputs

    def _padded_size(self, height: int, width: int) -> tuple[int, int]:
        stride = self.plan.stride
        return -(-height // stride) * stride, -(-width // stride) * stride

    def _padded(self, image: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # exported nets take multiples of the stride
            return image
        height, width = image.shape[2:]
        padded = self._padded_size(height, width)
        if padded == (height, width):
            return image
        if not self.spec.layout.input.pad:
            raise ValueError(f"{self.spec.name}: {size_message(self.plan.stride, (height, width), padded)}")
        return F.pad(image, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")

    def _run(self, image: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor | list[Tensor]] = {INPUT: image}
        for node in self.plan.nodes:
            maps[node.name] = self.get_submodule(node.name)(*(pick(maps[name], at) for name, at in node.inputs))
            for name in self._last_uses[node.name]:
                del maps[name]
        return {key: pick(maps[name], at) for key, (name, at) in self.plan.outputs.items()}


def pick(value: Tensor | list[Tensor], index: int) -> Tensor:
    """Return one output of a node."""
    return value if isinstance(value, Tensor) else value[index]
