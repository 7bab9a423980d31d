"""What a node costs: multiply-accumulates, parameters and memory, counted once on the meta device and remembered.

One MAC is one multiply-accumulate at batch 1. Counted are convolutions, linear layers and attention products; norms,
activations, pooling and interpolation count as free, as in the papers' figures. An operation that is neither in torch's
table of FLOP formulas nor known to be free is an error, never a silent zero.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lmnet.blocks.registry import REGISTRY, Shape
from lmnet.builder.cost_store import default_store, is_storable
from lmnet.builder.options import signature_of
from lmnet.builder.quick_meta import QuickMeta, quick_output

_FREE = frozenset(
    """
    _adaptive_avg_pool2d _fused_rms_norm _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training
    _prelu_kernel _safe_softmax _softmax _to_copy _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    adaptive_max_pool2d affine_grid_generator arange argmax as_strided avg_pool2d bernoulli_ cat channel_shuffle clone
    col2im constant_pad_nd copy_ cumsum detach detach_ empty empty_like empty_strided eye fill_ flip full full_like
    gather glu grid_sampler_2d hardsigmoid hardswish hardswish_ hardtanh hardtanh_ im2col index index_put
    index_put_ index_select lift_fresh linalg_vector_norm linspace masked_fill masked_fill_ max
    max_pool2d_with_indices mean min
    native_batch_norm native_dropout native_group_norm native_layer_norm new_empty new_empty_strided new_full new_ones
    new_zeros normal_ ones ones_like pixel_shuffle pixel_unshuffle rand rand_like randn randperm reflection_pad2d
    repeat replication_pad2d roll scalar_tensor scatter scatter_add slice_scatter sort stack std std_mean sum topk tril
    triu uniform_ upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean where zero_ zeros zeros_like
    """.split()  # noqa: SIM905
)


_FUSING = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods by which timm's ``reparameterize_model`` recognises what it can merge."""


class UnknownOperation(RuntimeError):
    """An operation whose cost is not known."""


class CostCounter(TorchDispatchMode):
    """Counts MACs and the peak of allocated bytes of everything that runs inside it.

    Args:
        held: tensors that exist already, whose bytes do not count.

    Raises:
        UnknownOperation: inside, at an operation that has no formula and is not known to be free.
    """

    def __init__(self, held: Sequence[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.peak_bytes = 0
        self._bytes = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet(tensor.untyped_storage() for tensor in held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        out = quick_output(packet, args)
        if out is None:
            out = func(*args, **kwargs)
        if packet in flop_registry:
            self.macs += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        elif not self._is_free(func, packet):
            raise UnknownOperation(
                f"cost: every operation must have a known cost, got {packet}. Register its formula with "
                "torch.utils.flop_counter.register_flop_formula."
            )
        self._allocate(out)
        return out

    @staticmethod
    def _is_free(func: Any, packet: Any) -> bool:
        tags = torch.Tag.pointwise in func.tags or torch.Tag.reduction in func.tags
        return tags or func.is_view or packet._qualified_op_name.removeprefix("aten::") in _FREE

    def _allocate(self, out: Any) -> None:
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage in self._seen:
                continue
            self._seen.add(storage)
            size = storage.nbytes()
            self._bytes += size
            self.peak_bytes = max(self.peak_bytes, self._bytes)
            weakref.finalize(storage, self._release, size).atexit = False

    def _release(self, size: int) -> None:
        self._bytes -= size


@dataclass(frozen=True)
class NodeCost:
    """What one node costs at batch 1.

    Args:
        out_shapes: (C, H, W) of each output.
        params: numbers that training learns.
        macs: multiply-accumulates in the training form.
        deploy_params: as params, after re-parameterisation.
        deploy_macs: as macs, after re-parameterisation.
        peak_bytes: most memory that one forward pass of the re-parameterised form holds at once, float32, its outputs
            included, its inputs and weights not.
    """

    out_shapes: tuple[Shape, ...]
    params: int
    macs: int
    deploy_params: int
    deploy_macs: int
    peak_bytes: int


def make_block(block: str, options: Mapping[str, Any], in_channels: Sequence[int]) -> nn.Module:
    """Return a block built for inputs of these channels.

    Raises:
        ValueError: what the block's constructor raises, or a block of one input given several.
    """
    signature = signature_of(block)
    if signature.takes_many:
        return REGISTRY.get(block)(list(in_channels), **options)
    if len(in_channels) != 1:
        raise ValueError(
            f"{block}: takes one input, got {len(in_channels)}. Join them by an add or concat node before it."
        )
    return REGISTRY.get(block)(in_channels[0], **options)


def shapes_of(out: Any) -> tuple[Shape, ...]:
    """Return (C, H, W) of each map that a block returned."""
    maps = out if isinstance(out, (list, tuple)) else [out]
    for x in maps:
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise TypeError(
                f"a block must return maps (N, C, H, W), got {type(x).__name__}. Return a tensor or a list."
            )
        if 0 in x.shape:
            raise ValueError(f"the output would be {x.shape[3]}x{x.shape[2]} pixels. Use a larger input.")
    return tuple((int(x.shape[1]), int(x.shape[2]), int(x.shape[3])) for x in maps)


def count_params(module: nn.Module) -> int:
    """Return how many numbers training learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def measured(
    module: nn.Module, in_shapes: Sequence[Sequence[int]], shapes: Callable[[Any], tuple[Shape, ...]] = shapes_of
) -> NodeCost:
    """Return what a module on the meta device costs; it is re-parameterised in place.

    Args:
        module: in eval mode.
        in_shapes: shape of each input, without the batch.
        shapes: gives the shapes of what the module returns.
    """
    out_shapes, counter = _run(module, in_shapes, shapes)
    params, deployed = count_params(module), counter
    if any(hasattr(child, name) for child in module.modules() for name in _FUSING):
        from timm.utils import reparameterize_model  # late: its import takes longer than torch's

        with torch.device("meta"), QuickMeta():
            module = reparameterize_model(nn.ModuleList([module]), inplace=True)[0]
        _, deployed = _run(module, in_shapes, shapes)
    return NodeCost(out_shapes, params, counter.macs, count_params(module), deployed.macs, deployed.peak_bytes)


def _run(
    module: nn.Module, in_shapes: Sequence[Sequence[int]], shapes: Callable[[Any], tuple[Shape, ...]]
) -> tuple[tuple[Shape, ...], CostCounter]:
    inputs = [torch.empty(1, *shape, device="meta") for shape in in_shapes]
    counter = CostCounter(inputs)
    with torch.no_grad(), counter:
        out_shapes = shapes(module(*inputs))
    return out_shapes, counter


@lru_cache(maxsize=65_536)
def _look_up(block: str, options_json: str, in_shapes: tuple[Shape, ...]) -> NodeCost:
    if not is_storable(block):
        return _measure(block, options_json, in_shapes)
    store, key = default_store(), f"{block} {options_json} {in_shapes}"
    stored = _stored(store.get(key))
    if stored is not None:
        return stored
    cost = _measure(block, options_json, in_shapes)
    store.put(key, astuple(cost))
    return cost


def _stored(found: Any) -> NodeCost | None:
    """Return a cost as the store has it, or None if there is none or it is damaged."""
    try:
        shapes, *figures = found
        if len(figures) == 5 and all(type(figure) is int for figure in figures):
            return NodeCost(tuple((int(c), int(h), int(w)) for c, h, w in shapes), *figures)
    except (TypeError, ValueError):
        pass
    return None


def _measure(block: str, options_json: str, in_shapes: tuple[Shape, ...]) -> NodeCost:
    with torch.device("meta"), QuickMeta():
        module = make_block(block, json.loads(options_json), [shape[0] for shape in in_shapes]).eval()
    return measured(module, in_shapes)


@lru_cache(maxsize=65_536)
def _shapes(block: str, options_json: str, in_shapes: tuple[Shape, ...]) -> NodeCost:
    with torch.device("meta"), QuickMeta():
        module = make_block(block, json.loads(options_json), [shape[0] for shape in in_shapes]).eval()
        with torch.no_grad():
            out = module(*(torch.empty(1, *shape) for shape in in_shapes))
    return NodeCost(shapes_of(out), 0, 0, 0, 0, 0)


def node_shapes(block: str, options: Mapping[str, Any], in_shapes: Sequence[Shape]) -> NodeCost:
    """Return what ``node_cost`` does with all counts 0: the output shapes, found in half the time."""
    return _shapes(block, json.dumps(options, sort_keys=True), tuple(in_shapes))


def node_cost(block: str, options: Mapping[str, Any], in_shapes: Sequence[Shape]) -> NodeCost:
    """Return the cost and output shapes of a block with plain options on inputs of these shapes.

    Nothing is allocated: the block runs once on the meta device, and the answer is remembered, on disk too
    (``lmnet.builder.cost_store``).

    Raises:
        ValueError: what the block raises for wrong options or inputs.
        UnknownOperation: the block runs an operation of unknown cost.
    """
    return _look_up(block, json.dumps(options, sort_keys=True), tuple(in_shapes))
