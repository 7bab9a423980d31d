"""The graph as a module: nodes run in order, each under its own name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_map
from lmnet.builder.cost import make_block
from lmnet.builder.facts import Normalization, normalization_facts, read_normalization
from lmnet.builder.plan import INPUT, NodePlan, Plan, last_uses
from lmnet.builder.planner import size_message
from lmnet.builder.spec import Spec

AUX = "aux_nodes"
"""Prefix, in the state_dict, of the nodes that only ``aux`` uses."""


class GraphModel(nn.Module):
    """A net built from a plan. The names of its nodes are the prefixes of its state_dict.

    Args:
        plan: the checked graph.

    Shapes:
        image (N, C, H, W) -> logits (N, num_classes, H, W), for any H and W of 32 or more: the image is padded at its
        right and lower border (by repeating the border) to a multiple of the net's stride, and the logits are cropped
        back. With ``pad: false`` in the spec, H and W must be multiples. With several outputs, a dict of maps by name.
        ``forward_with_aux`` also returns the maps that get a loss of their own while training (``aux`` in the spec).

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
            self.add_module(node.name, _module_of(node))
        if plan.aux:
            self.add_module(AUX, AuxNodes(plan))
        self._last_uses = last_uses(plan)
        self.facts: dict[str, str] = {}

    @property
    def spec(self) -> Spec:
        """The spec that the net was built from."""
        return self.plan.spec

    def __repr__(self) -> str:
        """Two lines: the net and its cost. ``print(nn.Module.__repr__(model))`` shows every layer."""
        plan = self.plan
        channels, height, width = plan.input_shape
        return (
            f"{self.spec.name}: ({channels}, {height}, {width}) -> {', '.join(plan.outputs)}, {len(plan.nodes)} nodes, "
            f"hash {self.hash}\n"
            f"{plan.deploy_params / 1e6:.3f} M parameters, {plan.deploy_macs / 1e9:.3f} GMACs (re-parameterised)"
        )

    @property
    def hash(self) -> str:
        """The architecture's hash, see Plan.hash."""
        return self.plan.hash

    @property
    def has_aux(self) -> bool:
        """Whether maps besides the logits get a loss while training; not once the net is re-parameterised."""
        return bool(self.plan.aux) and bool(getattr(self, AUX).maps)

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
        """Return the logits, or a dict of all outputs if there are several."""
        check_map(self.spec.name, image, self.plan.input_shape[0])
        height, width = image.shape[2:]
        outputs = self._run(self._padded(image))
        if not torch.compiler.is_exporting():
            # outputs at the padded image's size are cropped back to the image
            padded = self._padded_size(height, width)
            outputs = {name: x[..., :height, :width] if x.shape[2:] == padded else x for name, x in outputs.items()}
        return outputs["logits"] if list(outputs) == ["logits"] else outputs

    def forward_with_aux(self, image: Tensor) -> tuple[Tensor, list[tuple[float, Tensor]]]:
        """Return the logits, and the maps of ``aux`` with the weights of their losses, all at the image's size.

        Maps of another size are resized (bilinear, corners not aligned). A re-parameterised net has none.

        Raises:
            ValueError: the net has no output named logits, or what ``forward`` raises.
        """
        check_map(self.spec.name, image, self.plan.input_shape[0])
        height, width = image.shape[2:]
        padded = self._padded_size(height, width)
        aux: dict[str, Tensor] = {}
        outputs = self._run(self._padded(image), aux)
        if "logits" not in outputs:
            raise ValueError(f"{self.spec.name}: it has no output named logits, got {', '.join(outputs)}. Name one so.")
        maps = [outputs["logits"], *aux.values()]
        maps = [x if x.shape[2:] == padded else F.interpolate(x, padded, mode="bilinear") for x in maps]
        logits, *others = (x[..., :height, :width] for x in maps)
        return logits, [(self.plan.aux_weights[name], x) for name, x in zip(aux, others, strict=True)]

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

    def _run(self, image: Tensor, aux: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the outputs by name; the maps of ``aux`` are put into ``aux`` if it is given."""
        maps: dict[str, Tensor | list[Tensor]] = {INPUT: image}
        for node in self.plan.nodes:
            maps[node.name] = self.get_submodule(node.name)(*(pick(maps[name], at) for name, at in node.inputs))
            for name in self._last_uses[node.name] if aux is None else ():
                del maps[name]
        if aux is not None and self.has_aux:
            aux |= getattr(self, AUX)(maps)
        return {key: pick(maps[name], at) for key, (name, at) in self.plan.outputs.items()}


class AuxNodes(nn.Module):
    """The nodes that only ``aux`` uses. Re-parameterising a net drops them, as nothing but training needs them.

    Args:
        plan: the net's.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.nodes, self.maps = plan.aux_nodes, dict(plan.aux)
        for node in plan.aux_nodes:
            self.add_module(node.name, _module_of(node))

    def forward(self, maps: Mapping[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
        """Return the maps of ``aux`` by name, given those of the net's other nodes."""
        known = dict(maps)
        for node in self.nodes:
            known[node.name] = self.get_submodule(node.name)(*(pick(known[name], at) for name, at in node.inputs))
        return {key: pick(known[name], at) for key, (name, at) in self.maps.items()}

    def reparameterize(self) -> None:
        """Drop all, in place."""
        for name, _ in list(self.named_children()):
            delattr(self, name)
        self.nodes, self.maps = (), {}


def _module_of(node: NodePlan) -> nn.Module:
    return make_block(node.block, node.options, [shape[0] for shape in node.in_shapes])


def pick(value: Tensor | list[Tensor], index: int) -> Tensor:
    """Return one output of a node."""
    return value if isinstance(value, Tensor) else value[index]
