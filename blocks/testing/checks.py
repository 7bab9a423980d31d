"""The checks, one function each: it returns, or raises ``Failed`` or ``Skipped``."""

from __future__ import annotations

import inspect
import io
import json
import math
import typing
import warnings
from collections.abc import Callable
from typing import Any

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.func import functional_call

from lmnet.blocks.testing.subject import (
    Failed,
    Skipped,
    Subject,
    declared_channels,
    maps_of,
    require_close,
    seeded,
    shapes_text,
)


def _signature(subject: Subject) -> None:
    """in_channels comes first; options are keyword-only, typed, plain, and named one by one."""
    parameters = list(inspect.signature(subject.cls.__init__).parameters.values())[1:]
    hints = typing.get_type_hints(subject.cls.__init__)
    if not parameters or parameters[0].name != "in_channels":
        raise Failed(f"the first parameter must be in_channels, got {[p.name for p in parameters[:1]]}")
    for parameter in parameters[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise Failed(f"options must be keyword-only and named, got {parameter}")
        if parameter.name not in hints:
            raise Failed(f"options must have a type, got {parameter.name} without one")
    options = dict(subject.example.options)
    if json.loads(json.dumps(options)) != options:
        raise Failed(f"the example's options must be plain (numbers, text, lists), got {options}")


def _output_shapes(subject: Subject) -> None:
    """The outputs are the example's, for one and for two images, and out_channels tells their channels."""
    block = subject.build()
    for batch in (1, 2):
        got = [tuple(x.shape) for x in maps_of(block, subject.inputs(batch))]
        want = [(batch, *shape) for shape in subject.example.outputs]
        if got != want:
            raise Failed(f"outputs must be {shapes_text(want)} as the example says, got {shapes_text(got)}")
    channels = [shape[0] for shape in subject.example.outputs]
    if declared_channels(block) != channels:
        raise Failed(f"out_channels must be {channels}, got {declared_channels(block)}")


def _other_sizes(subject: Subject) -> None:
    """At odd sizes and at twice the size the outputs keep their ratio to the inputs, rounded up or down."""
    block = subject.build()
    for factors in subject.factors():
        shapes, sizes = subject.resized(*factors)
        for x, want in zip(maps_of(block, subject.inputs(1, shapes)), sizes, strict=True):
            if any(got not in (math.floor(side), math.ceil(side)) for got, side in zip(x.shape[2:], want, strict=True)):
                ideal = "x".join(str(math.ceil(side)) for side in want)
                raise Failed(
                    f"for inputs {shapes_text(shapes)} an output must be {ideal}, got {x.shape[2]}x{x.shape[3]}"
                )


def _one_channel(subject: Subject) -> None:
    """Inputs of one channel work, where the example's options allow them."""
    channels = [1] * len(subject.example.inputs)
    try:
        block = subject.build(channels)
    except ValueError as err:
        raise Skipped(f"the example's options do not allow it: {err}") from err
    outputs = maps_of(block, subject.inputs(1, [(1, h, w) for _, h, w in subject.example.inputs]))
    if declared_channels(block) != [x.shape[1] for x in outputs]:
        raise Failed(f"out_channels must be {[x.shape[1] for x in outputs]}, got {declared_channels(block)}")


def _float32(subject: Subject) -> None:
    """float32 in gives finite float32 out."""
    for x in maps_of(subject.build(), subject.inputs()):
        if x.dtype != torch.float32 or not x.isfinite().all():
            raise Failed(f"outputs must be finite float32, got {x.dtype}, finite={bool(x.isfinite().all())}")


def _bfloat16(subject: Subject) -> None:
    """In bfloat16 the outputs are bfloat16, finite and roughly the same; under autocast they are finite too."""
    want = maps_of(subject.build(), subject.inputs())
    got = maps_of(subject.build().bfloat16(), [x.bfloat16() for x in subject.inputs()])
    for x in got:
        if x.dtype != torch.bfloat16 or not x.isfinite().all():
            raise Failed(f"outputs must be finite bfloat16, got {x.dtype}, finite={bool(x.isfinite().all())}")
    require_close("bfloat16", got, want, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = maps_of(subject.build(), subject.inputs())
    require_close("autocast", mixed, want, 0.1)


def _gradients(subject: Subject) -> None:
    """While training, every parameter and every input gets a finite gradient."""
    block, inputs = subject.build().train(), [x.requires_grad_() for x in subject.inputs()]
    with seeded():
        outputs = maps_of(block, inputs)
        torch.autograd.backward(outputs, [torch.randn_like(x) for x in outputs])
    named = [*block.named_parameters(), *((f"input {index}", x) for index, x in enumerate(inputs))]
    for name, tensor in named:
        if tensor.requires_grad and (tensor.grad is None or not tensor.grad.isfinite().all()):
            raise Failed(f"{name} must get a finite gradient, got {'none' if tensor.grad is None else 'inf or nan'}")


def _functional_call(subject: Subject) -> None:
    """Trained with other parameters through torch.func.functional_call, it gives those the gradients of its own."""
    block, other = subject.build().train(), subject.build(seed=1).train()
    given = {key: tensor.detach().clone() for key, tensor in block.state_dict().items()}
    trained = {key: given[key].requires_grad_() for key, tensor in block.named_parameters() if tensor.requires_grad}
    if not trained:
        raise Skipped("it has no parameters")

    def call(*inputs: Tensor) -> Any:
        return functional_call(other, given, inputs)

    for function in (block, call):
        with seeded():
            outputs = maps_of(function, subject.inputs())
            torch.autograd.backward(outputs, [torch.randn_like(x) for x in outputs])
    pairs = [(trained[key].grad, tensor.grad) for key, tensor in block.named_parameters() if key in trained]
    if any(got is None for got, _ in pairs):
        raise Failed("parameters given by functional_call must get gradients, got none for some")
    got, want = (torch.cat([each.flatten() for each in side if each is not None]) for side in zip(*pairs, strict=True))
    require_close("through functional_call, the gradient", [got], [want])


def _deterministic(subject: Subject) -> None:
    """In eval mode two runs give the same numbers and leave the state as it was."""
    block, inputs = subject.build(), subject.inputs()
    before = {key: value.clone() for key, value in block.state_dict().items()}
    with torch.no_grad():
        first, second = maps_of(block, inputs), maps_of(block, inputs)
    require_close("a second run in eval mode", second, first, 0.0)
    for key, value in block.state_dict().items():
        if not torch.equal(value, before[key]):
            raise Failed(f"eval mode must leave the state as it is, got {key} changed")


def _rows_independent(subject: Subject) -> None:
    """In eval mode an image's output does not depend on its neighbours in the batch."""
    block, inputs = subject.build(), subject.inputs(3)
    with torch.no_grad():
        together = maps_of(block, inputs)
        alone = [maps_of(block, [x[row : row + 1] for x in inputs]) for row in range(3)]
    for row in range(3):
        require_close(f"image {row} alone", alone[row], [x[row : row + 1] for x in together])


def _input_unchanged(subject: Subject) -> None:
    """Neither training nor eval mode writes into an input."""
    for training in (True, False):
        inputs = subject.inputs()
        copies = [x.clone() for x in inputs]
        with seeded():
            maps_of(subject.build().train(training), inputs)
        for index, (x, before) in enumerate(zip(inputs, copies, strict=True)):
            if not torch.equal(x, before):
                raise Failed(f"inputs must not be changed, got input {index} changed (training={training})")


def _state_dict(subject: Subject) -> None:
    """A state_dict, saved and loaded into a fresh block, brings the same outputs back."""
    block, fresh, buffer = subject.build(), subject.build(seed=1), io.BytesIO()
    torch.save(block.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    with torch.no_grad():
        require_close("a loaded copy", maps_of(fresh, subject.inputs()), maps_of(block, subject.inputs()), 0.0)


def _meta_device(subject: Subject) -> None:
    """The block builds and runs without memory, so that it can be priced."""
    with torch.device("meta"):
        block = subject.build()
    got = [tuple(x.shape) for x in maps_of(block, [x.to("meta") for x in subject.inputs()])]
    want = [(2, *shape) for shape in subject.example.outputs]
    if got != want:
        raise Failed(f"outputs on the meta device must be {shapes_text(want)}, got {shapes_text(got)}")


def _cost(subject: Subject) -> None:
    """The builder can price the block: its shapes, its parameters, and work wherever it has weights."""
    if subject.cost is None:
        raise Skipped("no cost function was given (cost=lmnet.builder.cost.node_cost)")
    cost = subject.cost(subject.name, subject.example.options, subject.example.inputs)
    params = sum(parameter.numel() for parameter in subject.build().parameters())
    if list(cost.out_shapes) != list(subject.example.outputs):
        raise Failed(
            f"priced shapes must be {shapes_text(subject.example.outputs)}, got {shapes_text(cost.out_shapes)}"
        )
    if cost.params != params:
        raise Failed(f"priced parameters must be {params}, got {cost.params}")
    if cost.macs <= 0 and any(parameter.ndim > 1 for parameter in subject.build().parameters()):
        raise Failed(f"a block with weights must cost something, got {cost.macs} MACs")


def _reparameterize(subject: Subject) -> None:
    """Re-parameterised, directly or by timm, the block gives the same outputs; doing it twice is harmless."""
    block, inputs = subject.build(), subject.inputs()
    parts = [part for part in block.modules() if hasattr(part, "reparameterize")]
    if not parts:
        raise Skipped("nothing in it re-parameterises")
    with torch.no_grad():
        want = maps_of(block, inputs)
        # timm turns what is inside a model, never the model itself
        by_timm = reparameterize_model(nn.ModuleList([block])).get_submodule("0")
        require_close("re-parameterised by timm, it", maps_of(by_timm, inputs), want)
        for part in parts * 2:
            typing.cast(Any, part).reparameterize()
        require_close("re-parameterised, it", maps_of(block, inputs), want)
    by_timm.load_state_dict(block.state_dict())


def _export(subject: Subject) -> None:
    """torch.export (non-strict) keeps the outputs."""
    block, inputs = subject.build(), subject.inputs(1)
    with torch.no_grad():
        exported = torch.export.export(block, tuple(inputs), strict=False).module()
        require_close("exported, it", maps_of(exported, inputs), maps_of(block, inputs))


def _compile(subject: Subject) -> None:
    """torch.compile keeps the outputs."""
    block, inputs = subject.build(), subject.inputs(1)
    torch.compiler.reset()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor's own
        require_close("compiled, it", maps_of(torch.compile(block), inputs), maps_of(block, inputs), 1e-4)


def _onnx(subject: Subject) -> None:
    """ONNX, with batch, height and width dynamic, keeps the outputs in onnxruntime at two sizes."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as err:
        raise Skipped(f"needs the extra `export` ({err})") from err
    block = subject.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        dynamic = [dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC) for _ in subject.example.inputs]
        varargs = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(block.forward).parameters.values())
        program = torch.onnx.export(
            block,
            tuple(subject.inputs()),
            dynamo=True,
            dynamic_shapes=(tuple(dynamic),) if varargs else dynamic,
            verbose=False,
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    other, _ = subject.resized(*subject.factors()[1])
    for inputs in (subject.inputs(2), subject.inputs(3, other)):
        fed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        with torch.no_grad():
            got = [torch.from_numpy(x) for x in session.run(None, fed)]
            require_close("in onnxruntime, it", got, maps_of(block, inputs), 1e-4)


CHECKS: dict[str, Callable[[Subject], None]] = {
    "signature": _signature,
    "output_shapes": _output_shapes,
    "other_sizes": _other_sizes,
    "one_channel": _one_channel,
    "float32": _float32,
    "bfloat16": _bfloat16,
    "gradients": _gradients,
    "functional_call": _functional_call,
    "deterministic": _deterministic,
    "rows_independent": _rows_independent,
    "input_unchanged": _input_unchanged,
    "state_dict": _state_dict,
    "meta_device": _meta_device,
    "cost": _cost,
    "reparameterize": _reparameterize,
    "export": _export,
}
SLOW: dict[str, Callable[[Subject], None]] = {"compile": _compile, "onnx": _onnx}
