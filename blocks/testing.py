"""The contract kit: what every block must do, checked from the example that it was registered with.

    from lmnet.blocks.testing import check_block

    for result in check_block("my_block"):
        print(result)

The same on the command line: ``lmnet-build check-block NAME``. A new block joins the project's own tests by itself.
"""

from __future__ import annotations

import inspect
import io
import json
import math
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmnet.blocks.registry import REGISTRY, Shape

SAME = 1e-5
"""Largest difference, relative to the output's largest value, at which two outputs count as equal."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Args:
        name: the check.
        passed: False if the block breaks the contract; True for a skipped check.
        reason: one line: why it failed or was skipped.
        skipped: whether the check does not apply to this block.
    """

    name: str
    passed: bool
    reason: str = ""
    skipped: bool = False


class CostLike(typing.Protocol):
    """What a cost function returns, see ``lmnet.builder.cost.NodeCost``."""

    @property
    def out_shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of each output."""

    @property
    def params(self) -> int:
        """Numbers that training learns."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""


Cost = Callable[[str, Mapping[str, Any], Sequence[Shape]], CostLike]


class _Failed(Exception):
    """The block breaks the contract."""


class _Skipped(Exception):
    """The check does not apply."""


@contextmanager
def _seeded(seed: int = 0) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def make_trained_looking(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module's batch norms the statistics and weights of a trained one, in place, and return the module.

    Args:
        module: any module; fresh batch norms hide what a wrong re-parameterisation does.
        seed: of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, _BatchNorm):
                if norm.running_mean is not None and norm.running_var is not None:
                    norm.running_mean.copy_(0.1 * noise(norm.running_mean))
                    norm.running_var.copy_(1 + 0.5 * noise(norm.running_var) ** 2)
                if norm.affine:
                    norm.weight.copy_(1 + 0.1 * noise(norm.weight))
                    norm.bias.copy_(0.1 * noise(norm.bias))
    return module


def _text(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("(" + ", ".join(map(str, shape)) + ")" for shape in shapes)


def _require_close(what: str, got: Sequence[Tensor], want: Sequence[Tensor], tolerance: float = SAME) -> None:
    """Fail unless the outputs have equal shapes and are equal up to ``tolerance`` of the largest value."""
    if [x.shape for x in got] != [x.shape for x in want]:
        raise _Failed(f"{what} must have shapes {_text([x.shape for x in want])}, got {_text([x.shape for x in got])}")
    for index, (x, y) in enumerate(zip(got, want, strict=True)):
        x, y = x.detach().double(), y.detach().double()
        error = float((x - y).abs().max() / y.abs().max().clamp(min=1e-12))
        if not error <= tolerance:
            raise _Failed(f"{what} must equal the block's to {tolerance:.0e}, got {error:.1e} off in output {index}")


class Subject:
    """A block under test: builds it and its inputs from its example, always the same.

    Args:
        name: the registered name.
        cost: what counts its cost, ``lmnet.builder.cost.node_cost``; None to skip that check.
    """

    def __init__(self, name: str, cost: Cost | None = None) -> None:
        self.name, self.cost = name, cost
        self.cls, self.example = REGISTRY.get(name), REGISTRY.example(name)

    @cached_property
    def takes_many(self) -> bool:
        """Whether in_channels is a list, one entry an input."""
        return typing.get_type_hints(self.cls.__init__).get("in_channels") is not int

    def build(self, in_channels: Sequence[int] | None = None, *, seed: int = 0) -> nn.Module:
        """Return the block in eval mode, with trained-looking batch norms."""
        channels = list(in_channels or [shape[0] for shape in self.example.inputs])
        with _seeded(seed):
            block = self.cls(channels if self.takes_many else channels[0], **self.example.options)
        is_meta = any(parameter.is_meta for parameter in block.parameters())
        return block.eval() if is_meta else make_trained_looking(block, seed).eval()

    def inputs(self, batch: int = 2, shapes: Sequence[Shape] | None = None) -> list[Tensor]:
        """Return one random map for each input."""
        generator = torch.Generator().manual_seed(1)
        return [torch.randn(batch, *shape, generator=generator) for shape in shapes or self.example.inputs]

    def resized(self, height: Fraction, width: Fraction) -> tuple[list[Shape], list[tuple[Fraction, Fraction]]]:
        """Return the inputs' shapes, and the outputs' exact sizes, at other factors of the example's size."""
        inputs = [(c, int(h * height), int(w * width)) for c, h, w in self.example.inputs]
        return inputs, [(h * height, w * width) for _, h, w in self.example.outputs]

    def factors(self) -> list[tuple[Fraction, Fraction]]:
        """Return factors of height and width: to odd sizes (of the smallest input), and twice as large."""
        unit_h = math.gcd(*(shape[1] for shape in self.example.inputs))
        unit_w = math.gcd(*(shape[2] for shape in self.example.inputs))
        odd = Fraction(unit_h // 2 * 2 + 1, unit_h), Fraction(unit_w // 2 * 2 + 3, unit_w)
        return [odd, (Fraction(2), Fraction(2))]


def _outputs(block: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    out = block(*inputs)
    maps = list(out) if isinstance(out, (list, tuple)) else [out]
    for x in maps:
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise _Failed(f"a block must return one map (N, C, H, W) or a list of them, got {type(x).__name__}")
    return maps


def _declared(block: nn.Module) -> list[int]:
    declared = getattr(block, "out_channels", None)
    if isinstance(declared, int):
        return [declared]
    if not isinstance(declared, (list, tuple)):
        raise _Failed(f"a block must have out_channels (a number, or a list, one an output), got {declared!r}")
    return list(declared)


def _signature(subject: Subject) -> None:
    """in_channels comes first; options are keyword-only, typed, plain, and named one by one."""
    parameters = list(inspect.signature(subject.cls.__init__).parameters.values())[1:]
    hints = typing.get_type_hints(subject.cls.__init__)
    if not parameters or parameters[0].name != "in_channels":
        raise _Failed(f"the first parameter must be in_channels, got {[p.name for p in parameters[:1]]}")
    for parameter in parameters[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise _Failed(f"options must be keyword-only and named, got {parameter}")
        if parameter.name not in hints:
            raise _Failed(f"options must have a type, got {parameter.name} without one")
    options = dict(subject.example.options)
    if json.loads(json.dumps(options)) != options:
        raise _Failed(f"the example's options must be plain (numbers, text, lists), got {options}")


def _output_shapes(subject: Subject) -> None:
    """The outputs are the example's, for one and for two images, and out_channels tells their channels."""
    block = subject.build()
    for batch in (1, 2):
        got = [tuple(x.shape) for x in _outputs(block, subject.inputs(batch))]
        want = [(batch, *shape) for shape in subject.example.outputs]
        if got != want:
            raise _Failed(f"outputs must be {_text(want)} as the example says, got {_text(got)}")
    channels = [shape[0] for shape in subject.example.outputs]
    if _declared(block) != channels:
        raise _Failed(f"out_channels must be {channels}, got {_declared(block)}")


def _other_sizes(subject: Subject) -> None:
    """At odd sizes and at twice the size the outputs keep their ratio to the inputs, rounded up or down."""
    block = subject.build()
    for factors in subject.factors():
        shapes, sizes = subject.resized(*factors)
        for x, want in zip(_outputs(block, subject.inputs(1, shapes)), sizes, strict=True):
            if any(got not in (math.floor(side), math.ceil(side)) for got, side in zip(x.shape[2:], want, strict=True)):
                ideal = "x".join(str(math.ceil(side)) for side in want)
                raise _Failed(f"for inputs {_text(shapes)} an output must be {ideal}, got {x.shape[2]}x{x.shape[3]}")


def _one_channel(subject: Subject) -> None:
    """Inputs of one channel work, where the example's options allow them."""
    channels = [1] * len(subject.example.inputs)
    try:
        block = subject.build(channels)
    except ValueError as err:
        raise _Skipped(f"the example's options do not allow it: {err}") from err
    outputs = _outputs(block, subject.inputs(1, [(1, h, w) for _, h, w in subject.example.inputs]))
    if _declared(block) != [x.shape[1] for x in outputs]:
        raise _Failed(f"out_channels must be {[x.shape[1] for x in outputs]}, got {_declared(block)}")


def _float32(subject: Subject) -> None:
    """float32 in gives finite float32 out."""
    for x in _outputs(subject.build(), subject.inputs()):
        if x.dtype != torch.float32 or not x.isfinite().all():
            raise _Failed(f"outputs must be finite float32, got {x.dtype}, finite={bool(x.isfinite().all())}")


def _bfloat16(subject: Subject) -> None:
    """In bfloat16 the outputs are bfloat16, finite and roughly the same; under autocast they are finite too."""
    want = _outputs(subject.build(), subject.inputs())
    got = _outputs(subject.build().bfloat16(), [x.bfloat16() for x in subject.inputs()])
    for x in got:
        if x.dtype != torch.bfloat16 or not x.isfinite().all():
            raise _Failed(f"outputs must be finite bfloat16, got {x.dtype}, finite={bool(x.isfinite().all())}")
    _require_close("bfloat16", got, want, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = _outputs(subject.build(), subject.inputs())
    _require_close("autocast", mixed, want, 0.1)


def _gradients(subject: Subject) -> None:
    """While training, every parameter and every input gets a finite gradient."""
    block, inputs = subject.build().train(), [x.requires_grad_() for x in subject.inputs()]
    with _seeded():
        outputs = _outputs(block, inputs)
        torch.autograd.backward(outputs, [torch.randn_like(x) for x in outputs])
    named = [*block.named_parameters(), *((f"input {index}", x) for index, x in enumerate(inputs))]
    for name, tensor in named:
        if tensor.requires_grad and (tensor.grad is None or not tensor.grad.isfinite().all()):
            raise _Failed(f"{name} must get a finite gradient, got {'none' if tensor.grad is None else 'inf or nan'}")


def _deterministic(subject: Subject) -> None:
    """In eval mode two runs give the same numbers and leave the state as it was."""
    block, inputs = subject.build(), subject.inputs()
    before = {key: value.clone() for key, value in block.state_dict().items()}
    with torch.no_grad():
        first, second = _outputs(block, inputs), _outputs(block, inputs)
    _require_close("a second run in eval mode", second, first, 0.0)
    for key, value in block.state_dict().items():
        if not torch.equal(value, before[key]):
            raise _Failed(f"eval mode must leave the state as it is, got {key} changed")


def _rows_independent(subject: Subject) -> None:
    """In eval mode an image's output does not depend on its neighbours in the batch."""
    block, inputs = subject.build(), subject.inputs(3)
    with torch.no_grad():
        together = _outputs(block, inputs)
        alone = [_outputs(block, [x[row : row + 1] for x in inputs]) for row in range(3)]
    for row in range(3):
        _require_close(f"image {row} alone", alone[row], [x[row : row + 1] for x in together])


def _input_unchanged(subject: Subject) -> None:
    """Neither training nor eval mode writes into an input."""
    for training in (True, False):
        inputs = subject.inputs()
        copies = [x.clone() for x in inputs]
        with _seeded():
            _outputs(subject.build().train(training), inputs)
        for index, (x, before) in enumerate(zip(inputs, copies, strict=True)):
            if not torch.equal(x, before):
                raise _Failed(f"inputs must not be changed, got input {index} changed (training={training})")


def _state_dict(subject: Subject) -> None:
    """A state_dict, saved and loaded into a fresh block, brings the same outputs back."""
    block, fresh, buffer = subject.build(), subject.build(seed=1), io.BytesIO()
    torch.save(block.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    with torch.no_grad():
        _require_close("a loaded copy", _outputs(fresh, subject.inputs()), _outputs(block, subject.inputs()), 0.0)


def _meta_device(subject: Subject) -> None:
    """The block builds and runs without memory, so that it can be priced."""
    with torch.device("meta"):
        block = subject.build()
    got = [tuple(x.shape) for x in _outputs(block, [x.to("meta") for x in subject.inputs()])]
    want = [(2, *shape) for shape in subject.example.outputs]
    if got != want:
        raise _Failed(f"outputs on the meta device must be {_text(want)}, got {_text(got)}")


def _cost(subject: Subject) -> None:
    """The builder can price the block: its shapes, its parameters, and work wherever it has weights."""
    if subject.cost is None:
        raise _Skipped("no cost function was given (cost=lmnet.builder.cost.node_cost)")
    cost = subject.cost(subject.name, subject.example.options, subject.example.inputs)
    params = sum(parameter.numel() for parameter in subject.build().parameters())
    if list(cost.out_shapes) != list(subject.example.outputs):
        raise _Failed(f"priced shapes must be {_text(subject.example.outputs)}, got {_text(cost.out_shapes)}")
    if cost.params != params:
        raise _Failed(f"priced parameters must be {params}, got {cost.params}")
    if cost.macs <= 0 and any(parameter.ndim > 1 for parameter in subject.build().parameters()):
        raise _Failed(f"a block with weights must cost something, got {cost.macs} MACs")


def _reparameterize(subject: Subject) -> None:
    """Re-parameterised, directly or by timm, the block gives the same outputs; doing it twice is harmless."""
    block, inputs = subject.build(), subject.inputs()
    parts = [part for part in block.modules() if hasattr(part, "reparameterize")]
    if not parts:
        raise _Skipped("nothing in it re-parameterises")
    with torch.no_grad():
        want = _outputs(block, inputs)
        # timm turns what is inside a model, never the model itself
        by_timm = reparameterize_model(nn.ModuleList([block])).get_submodule("0")
        _require_close("re-parameterised by timm, it", _outputs(by_timm, inputs), want)
        for part in parts * 2:
            typing.cast(Any, part).reparameterize()
        _require_close("re-parameterised, it", _outputs(block, inputs), want)
    by_timm.load_state_dict(block.state_dict())


def _export(subject: Subject) -> None:
    """torch.export (non-strict) keeps the outputs."""
    block, inputs = subject.build(), subject.inputs(1)
    with torch.no_grad():
        exported = torch.export.export(block, tuple(inputs), strict=False).module()
        _require_close("exported, it", _outputs(exported, inputs), _outputs(block, inputs))


def _compile(subject: Subject) -> None:
    """torch.compile keeps the outputs."""
    block, inputs = subject.build(), subject.inputs(1)
    torch.compiler.reset()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor's own
        _require_close("compiled, it", _outputs(torch.compile(block), inputs), _outputs(block, inputs), 1e-4)


def _onnx(subject: Subject) -> None:
    """ONNX, with batch, height and width dynamic, keeps the outputs in onnxruntime at two sizes."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as err:
        raise _Skipped(f"needs the extra `export` ({err})") from err
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
            _require_close("in onnxruntime, it", got, _outputs(block, inputs), 1e-4)


_CHECKS: dict[str, Callable[[Subject], None]] = {
    "signature": _signature,
    "output_shapes": _output_shapes,
    "other_sizes": _other_sizes,
    "one_channel": _one_channel,
    "float32": _float32,
    "bfloat16": _bfloat16,
    "gradients": _gradients,
    "deterministic": _deterministic,
    "rows_independent": _rows_independent,
    "input_unchanged": _input_unchanged,
    "state_dict": _state_dict,
    "meta_device": _meta_device,
    "cost": _cost,
    "reparameterize": _reparameterize,
    "export": _export,
}
_SLOW: dict[str, Callable[[Subject], None]] = {"compile": _compile, "onnx": _onnx}


def check_names(*, slow: bool = False) -> list[str]:
    """Return the names of the checks, in order.

    Args:
        slow: with those that take seconds to minutes a block (torch.compile, ONNX).
    """
    return [*_CHECKS, *(_SLOW if slow else ())]


def run_check(name: str, check: str, *, cost: Cost | None = None) -> CheckResult:
    """Return what one check finds about a block.

    Args:
        name: the block's registered name.
        check: one of ``check_names(slow=True)``.
        cost: see ``check_block``.

    Raises:
        ValueError: no such block, or no such check.
    """
    checks = {**_CHECKS, **_SLOW}
    if check not in checks:
        raise ValueError(f"run_check: check must be one of {', '.join(checks)}, got check={check!r}. Use one of them.")
    subject = Subject(name, cost)
    try:
        checks[check](subject)
    except _Skipped as err:
        return CheckResult(check, True, str(err), skipped=True)
    except _Failed as err:
        return CheckResult(check, False, str(err))
    except Exception as err:  # noqa: BLE001 - whatever a foreign block raises is its failure, not ours
        line = next(iter(str(err).strip().splitlines()), "")
        return CheckResult(check, False, f"{type(err).__name__}: {line}")
    return CheckResult(check, True)


def check_block(name: str, slow: bool = False, *, cost: Cost | None = None) -> list[CheckResult]:
    """Check a registered block against the contract; every check runs, whatever the others find.

    Args:
        name: the registered name, your own block's too.
        slow: also torch.compile, and ONNX against onnxruntime (needs the extra ``export``).
        cost: what prices a block, ``lmnet.builder.cost.node_cost``; None skips that check, for blocks know no builder.

    Returns:
        one result a check, in the order of ``check_names``.

    Raises:
        ValueError: no block has that name.
    """
    return [run_check(name, check, cost=cost) for check in check_names(slow=slow)]
