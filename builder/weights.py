"""The only reader and writer of weights: tensors with a few facts beside them, never pickled code."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from lmnet.builder.facts import OF_THE_TRAINING, Normalization, read_normalization
from lmnet.builder.files import write_durably

CHECKSUM = "checksum"
_NESTED = ("state_dict", "model_state_dict", "model")
_SHOWN = 8


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Args:
        state: the tensors, floats as float32.
        facts: strings that were written with them: size, mean, std, data, ...
        path: the file.
        notes: what was done to make them fit, for people.
        digest: hash of tensors and facts as the file holds them.
    """

    state: dict[str, Tensor]
    facts: dict[str, str]
    path: Path
    notes: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def normalization(self) -> Normalization | None:
        """Mean and deviation of the channels that the net was trained with; None if nothing says so.

        Raises:
            ValueError: they are no lists of finite numbers with deviations above 0.
        """
        return read_normalization(self.facts, where=str(self.path))


def weights_bytes(state: Mapping[str, Tensor], facts: Mapping[str, str] | None = None, *, half: bool = False) -> bytes:
    """Return the content of a safetensors file with a checksum over tensors and facts.

    Args:
        state: a state dict.
        facts: strings to keep with it.
        half: store floats as float16, at half the size; a tensor with values beyond float16's range (65,504), such as a
            large running variance, keeps its type.
    """
    tensors = {name: _stored(tensor.detach().cpu(), half=half) for name, tensor in state.items()}
    kept = {key: value for key, value in (facts or {}).items() if key != CHECKSUM}
    metadata = {"format": "pt", **kept}
    return safetensors.torch.save(tensors, metadata={**metadata, CHECKSUM: checksum(tensors, metadata)})


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    if half and tensor.is_floating_point():
        halved = tensor.to(torch.float16)
        tensor = halved if bool(halved.isfinite().all()) else tensor
    return tensor.contiguous().clone()


def save_weights(
    path: str | Path, state: Mapping[str, Tensor], facts: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write weights durably; see ``weights_bytes``.

    Raises:
        SaveError: the disk is full or refuses; the file that was there before is kept.
    """
    write_durably(Path(path), weights_bytes(state, facts, half=half))


def checksum(state: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """Return a hash of tensors and facts."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    for key in sorted(facts):
        digest.update(f"{key}={facts[key]}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def read_weights(path: str | Path) -> Weights:
    """Read a safetensors file, or a torch file that holds tensors only, without running code from it.

    A file that ``save_weights`` wrote is checked by its checksum.

    Raises:
        ValueError: the file is absent, no regular file, damaged, changed, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a regular file (a folder, a pipe or a device)" if path.exists() else "is not there"
        raise ValueError(f"{path}: the file of weights {what}. Check the path.")
    try:
        state, facts = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), {})
    except _NoStateDict as err:
        what, advice = (*err.args, "Save model.state_dict()")[:2]
        raise ValueError(f"{path}: it holds {what}, no state_dict. {advice}.") from err
    except Exception as err:  # noqa: BLE001 - a damaged file raises anything
        line = textwrap.shorten((str(err).strip() or type(err).__name__).splitlines()[0], 200, placeholder=" ...")
        raise ValueError(
            f"{path}: it is no whole file of weights, or holds more than tensors ({type(err).__name__}: {line}). "
            "Save model.state_dict() again."
        ) from err
    given, digest = facts.pop(CHECKSUM, None), checksum(state, facts)
    if given is not None and given != digest:
        raise ValueError(
            f"{path}: its checksum does not fit its content. The file was changed or damaged: get it again."
        )
    broken = sorted(key for key, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all()))
    if broken:
        raise ValueError(
            f"{path}: {len(broken)} of its {len(state)} tensors hold values that are not finite, the first "
            f"{broken[0]}. Training diverged, or the file was stored in too small a type: save it again as float32, or "
            "train again."
        )
    facts.pop("format", None)  # safetensors' own
    halves = (torch.float16, torch.bfloat16)
    state = {key: t.float() if t.dtype in halves else t for key, t in state.items()}
    return Weights(state, facts, path, digest=digest)


class _NoStateDict(ValueError):
    """A torch file whose content is no state dict: what it is, and what to do."""


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _read_torch(path: Path) -> dict[str, Tensor]:
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if isinstance(state, dict) and str(state.get("format", "")).startswith("lmnet-train/"):
        raise _NoStateDict("the state of a training run", "Give the run folder, or its best.safetensors")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _NoStateDict(type(state).__name__ if not isinstance(state, dict) else "other things than tensors")
    if not all(isinstance(key, str) for key in state):
        raise _NoStateDict("tensors without names")
    return state


def fit_weights(
    weights: Weights,
    own: Mapping[str, Tensor],
    *,
    head: tuple[str, ...] = (),
    stem: tuple[str, ...] = (),
    channels: int = 0,
    adapt: bool = False,
) -> Weights:
    """Return weights whose names and shapes are a model's.

    A prefix that all names share (``module.``, ``_orig_mod.``, ``model.``, ...) is taken off, and entries that belong
    to no tensor of the model under it (``n_averaged``, a second copy) are left out; both are noted.

    Args:
        weights: as read.
        own: the model's state dict; on the meta device it costs nothing.
        head: prefixes of the nodes that give the classes.
        stem: prefixes of the nodes that are fed the image.
        channels: channels of the image.
        adapt: leave out a head of another number of classes, and sum or repeat a stem's input channels.

    Raises:
        ValueError: tensors are missing, unexpected, or of another shape.
    """
    notes, facts = list(weights.notes), weights.facts
    state = _without_prefix(weights.state, own, notes)
    if adapt:
        state = _with_own_head(state, own, head, notes)
        if any("left out: the weights have" in note for note in notes):
            facts = {key: value for key, value in facts.items() if key not in OF_THE_TRAINING}
        state = _with_own_stem(state, own, stem, channels, notes)
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    mismatched = sorted(
        f"{key} {list(state[key].shape)} for {list(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    )
    if missing or unexpected or mismatched:
        lists = [
            f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
            for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
            if keys
        ]
        raise ValueError(
            f"{weights.path}: the weights do not fit the model: {'; '.join(lists)}. "
            "Build the spec that they were saved with."
        )
    return replace(weights, state=state, facts=facts, notes=notes)


def _without_prefix(state: dict[str, Tensor], own: Mapping[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    if not own or own.keys() <= state.keys() and len(own) == len(state):
        return state
    first = next(iter(own))
    prefixes = [
        key[: -len(first)] for key in state if key.endswith(first) and (key == first or key[-len(first) - 1] == ".")
    ]
    whole = [prefix for prefix in prefixes if all(prefix + key in state for key in own)]
    if not whole:
        return state
    prefix = min(whole, key=len)
    rest = [key for key in state if not (key.startswith(prefix) and key[len(prefix) :] in own)]
    if prefix:
        notes.append(f"the prefix {prefix!r} of the names was taken off")
    if prefix == "" and rest:
        return state  # what is unexpected is reported
    if rest:
        others = [other for other in whole if other != prefix]
        also = f"; a copy under {others[0]!r} too" if others else ""
        notes.append(f"{len(rest)} entries are no tensors of the model and were left out: {', '.join(rest[:3])}{also}")
    return {key: state[prefix + key] for key in own}


def _with_own_head(
    state: dict[str, Tensor], own: Mapping[str, Tensor], head: tuple[str, ...], notes: list[str]
) -> dict[str, Tensor]:
    """Leave out a head of another number of classes."""
    heads = [
        key
        for key in _of_another_shape(state, own)
        if head and key.startswith(head) and own[key].shape[1:] == state[key].shape[1:]
    ]
    if not heads:
        return state
    nodes = sorted({max(filter(key.startswith, head), key=len).rstrip(".") for key in heads})
    whole = [key for key in own if key.startswith(tuple(f"{node}." for node in nodes))]
    old, new = state[heads[0]].shape[0], own[heads[0]].shape[0]
    notes.append(f"{', '.join(nodes)} was left out: the weights have {old} classes and the net {new}")
    return {**state, **{key: own[key] for key in whole}}


def _with_own_stem(
    state: dict[str, Tensor], own: Mapping[str, Tensor], stem: tuple[str, ...], channels: int, notes: list[str]
) -> dict[str, Tensor]:
    """Sum or repeat the input channels of the convolutions of the image, as timm does; of no others."""
    convolutions = [
        key
        for key in _of_another_shape(state, own)
        if stem and key.startswith(stem) and state[key].ndim == own[key].ndim == 4 and own[key].shape[1] == channels
        and own[key].shape[0] == state[key].shape[0] and own[key].shape[2:] == state[key].shape[2:]
    ]  # fmt: skip
    before = {state[key].shape[1] for key in convolutions}
    if len(before) != 1:
        return state
    (old,) = before
    count = len(convolutions)
    which = "1 convolution of the image was" if count == 1 else f"{count} convolutions of the image were"
    how = "summed" if channels == 1 else "repeated"
    notes.append(f"{which} {how}: the weights have {old} channels and the net {channels}")
    return {**state, **{key: _other_channels(state[key], channels) for key in convolutions}}


def _of_another_shape(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    return [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]


def _other_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution's weight for another number of input channels; its answer to a grey image stays."""
    old = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // old), 1, 1)[:, :channels]
    return repeated * (old / channels)
