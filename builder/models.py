"""Models by name, and models on disk: a spec beside safetensors weights, never pickled code."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lmnet.blocks import TimmEncoder
from lmnet.blocks.encoder_weights import EncoderWeights
from lmnet.builder.facts import facts_of_model
from lmnet.builder.files import SAVED, SaveError, write_together
from lmnet.builder.find_model import SPEC_FILE, FoundModel, find_model, weights_file, with_weights
from lmnet.builder.graph import AUX, GraphModel
from lmnet.builder.plan import INPUT, Plan
from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import Spec, load_spec, parse_spec, spec_of
from lmnet.builder.weights import Weights, fit_weights, read_weights, save_weights, weights_bytes
from lmnet.builder.zoo import DEFAULT_DATA, list_models, zoo_path, zoo_weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of the channels that torchvision's weights were trained with."""


def build_model(spec: Spec, *, input_size: Sequence[int] | None = None) -> GraphModel:
    """Return the net that a spec describes, with random weights.

    Raises:
        SpecError: with everything that is wrong with the spec.
    """
    return GraphModel(plan_spec(spec, input_size=input_size))


def create_model(
    spec: str | Path,
    *,
    in_channels: int | None = None,
    num_classes: int | None = None,
    pretrained: bool | str = False,
    pretrained_encoder: bool | str = False,
    **overrides: Any,
) -> GraphModel:
    """Return a net from the zoo or from a spec file, in training mode.

    Args:
        spec: a name of the zoo (``lmnet_paper``; ``lmnet_xs@busi`` loads the weights for that data set too), the path
            of a YAML file, or a folder with a spec and its weights (a run, a search, ``save_pretrained``).
        in_channels: channels of the image; None for the spec's.
        num_classes: classes, background included; None for the spec's variable ``num_classes``.
        pretrained: load the zoo's weights for this name: True, or the data set that they were trained on (``kvasir``).
            With another number of classes the head keeps random weights. With another number of channels the weights
            of the stem are summed or repeated. The logger ``lmnet`` reports both.
        pretrained_encoder: load ImageNet weights into the net's timm encoder: True or ``auto`` (an installed package,
            else timm's hub), ``package``, ``hub``, or a file. ``model.normalization`` then holds the mean and deviation
            that images must be normalised with.
        overrides: new values of the spec's variables (``width=16``).

    Raises:
        SpecError: there is no such spec, it is wrong, or a variable is unknown.
        ValueError: pretrained weights are not available, or do not fit the overridden net.

    Example:
        >>> import torch
        >>> import lmnet
        >>> model = lmnet.create_model("lmnet_xxs", num_classes=3)
        >>> model(torch.randn(1, 3, 100, 150)).shape
        torch.Size([1, 3, 100, 150])
    """
    found = find_model(spec)
    if found.is_chosen and pretrained:
        raise ValueError(f"{spec}: it names weights already, got pretrained={pretrained!r} too. Leave one out.")
    values = dict(overrides)
    if in_channels is not None:
        values["input.channels"] = in_channels
    if num_classes is not None:
        values["num_classes"] = num_classes
    if found.is_chosen and not values and not pretrained_encoder:
        return open_net(found)[0].train()
    model = build_model(spec_of(found).override(values))
    if pretrained_encoder:
        load_encoder(model, "auto" if pretrained_encoder is True else pretrained_encoder)
    weights = found.weights if found.is_chosen else None
    if pretrained:
        weights = zoo_weights(zoo_path(spec).stem, DEFAULT_DATA if pretrained is True else pretrained)
    if weights is not None:
        for note in load_weights(model, weights, adapt=True).notes:
            logging.getLogger("lmnet").info("%s: %s", weights.name, note)
    return model


def shipped_weights(model: GraphModel) -> Path | None:
    """Return the zoo's weights for a net, if its spec is that of the zoo, unchanged, and has some."""
    name = model.spec.name
    if name not in list_models(pretrained=True) or plan_spec(load_spec(name)).hash != model.hash:
        return None
    return zoo_weights(name)


def load_encoder(model: GraphModel, source: str | Path = "auto") -> EncoderWeights:
    """Load ImageNet weights into the net's encoder and set ``model.normalization``.

    Args:
        model: a net with one ``timm_encoder`` node, or one whose first nodes are another package's net (``lvunet``).
        source: auto, package, hub or a file, see ``lmnet.blocks.encoder_weights``; for a net without a timm encoder,
            a file of torchvision's.

    Raises:
        ValueError: the net has no such encoder, or there are no such weights.
    """
    encoders = [module for module in model.children() if isinstance(module, TimmEncoder)]
    if not encoders and Path(source).is_file():
        return _load_first_nodes(model, Path(source))
    if len(encoders) != 1:
        raise ValueError(
            f"{model.spec.name}: it has {len(encoders)} timm_encoder nodes, and pretrained encoder weights need one. "
            "Use a net like efficientnet_lite0_lm."
        )
    found = encoders[0].load_pretrained(source)
    model.normalization = (found.mean, found.std)
    return found


def _load_first_nodes(model: GraphModel, path: Path) -> EncoderWeights:
    """Load an importable file that has tensors for a part of the nodes, all that it has."""
    read, own = _translated(read_weights(path)), model.state_dict()
    state = read.state
    wrong = sorted(key for key, value in state.items() if key not in own or own[key].shape != value.shape)
    if wrong or not state:
        raise ValueError(
            f"{path}: its tensors are not those of an encoder in {model.spec.name} ({', '.join(wrong[:3]) or 'none'}). "
            "Use a net with a timm_encoder, or lvunet with torchvision's mobilenet_v3_large. Whole nets: --weights."
        )
    model.load_state_dict({**own, **state})
    model.normalization = IMAGENET
    return EncoderWeights({}, *IMAGENET, f"{path.name} {read.digest[:16]}", tensors=frozenset(state))


def encoder_tensors(model: nn.Module) -> frozenset[str]:
    """Return the names of the tensors of a net's timm encoder: what ``load_encoder`` fills."""
    return frozenset(
        f"{name}.{key}"
        for name, module in model.named_children()
        if isinstance(module, TimmEncoder)
        for key in module.state_dict()
    )


def load_weights(model: nn.Module, weights: str | Path, *, adapt: bool = False) -> Weights:
    """Load weights from a safetensors file, or from a torch file that holds tensors only.

    A prefix that all names share is taken off. A file of the authors' release code is recognised by its names, see
    ``lmnet.builder.importers``. Half-precision weights are converted to the model's.

    Args:
        model: changed in place; ``model.facts`` becomes what the file says beside its tensors.
        weights: a file, a folder (a run, a search, ``save_pretrained``) or a zoo name (``lmnet_xs``,
            ``lmnet_xs@busi``).
        adapt: leave out a head of another number of classes, and sum or repeat a stem's channels.

    Returns:
        The weights, with notes on what was changed to make them fit.

    Raises:
        ValueError: the file is missing, unreadable, holds more than tensors, or does not fit the model.
    """
    return _fill(model, _translated(read_weights(weights_file(weights))), adapt=adapt)


def _fill(model: nn.Module, read: Weights, *, adapt: bool = False) -> Weights:
    """Put weights that were read into a model, and what stands beside them."""
    _ = read.normalization  # a wrong one is an error before anything is changed
    if read.facts.get("deploy") == "true" and isinstance(model, GraphModel) and not is_deployed(model):
        raise ValueError(
            f"{read.path}: its weights are re-parameterised, and the net is in the form that is trained. Give the "
            "weights that they were made of, or open the folder with from_pretrained."
        )
    fitted = fit_weights(
        read,
        model.state_dict(),
        head=_heads(model),
        stem=_stems(model),
        channels=model.plan.input_shape[0] if isinstance(model, GraphModel) else 0,
        adapt=adapt,
    )
    model.load_state_dict(fitted.state)
    if isinstance(model, GraphModel):
        model.facts = facts_of_model(fitted.facts)
        if "in_channels" in model.facts:
            model.facts["in_channels"] = str(model.plan.input_shape[0])
    return fitted


def _translated(weights: Weights) -> Weights:
    from lmnet.builder.importers import family_of

    state = {key.removeprefix("module."): value for key, value in weights.state.items()}
    family = family_of(state)
    if family is None:
        return weights
    note = f"the file was taken for a checkpoint of the authors of {family.name}"
    return dataclasses.replace(weights, state=family.translate(state), notes=[*weights.notes, note])


def _heads(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the nodes that give a net's outputs."""
    if not isinstance(model, GraphModel):
        return ()
    extra = {node.name for node in model.plan.aux_nodes}
    outputs = [node.partition(".")[0] for node in (*model.spec.layout.outputs.values(), *model.spec.layout.aux)]
    return tuple(f"{AUX}.{name}." if name in extra else f"{name}." for name in outputs)


def _stems(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the nodes that are fed the image."""
    if not isinstance(model, GraphModel):
        return ()
    return tuple(f"{node.name}." for node in model.plan.nodes if any(source == INPUT for source, _ in node.inputs))


def write_state(model: nn.Module, path: str | Path, *, facts: Mapping[str, str] | None = None) -> None:
    """Write a model's weights durably as safetensors.

    Args:
        model: the model.
        path: the file.
        facts: more strings to keep beside the weights, such as those of ``training_facts``.

    Raises:
        SaveError: the disk is full or refuses; the file that was there before is kept.
    """
    save_weights(path, model.state_dict(), {**_facts(model), **(facts or {})})


def _facts(model: nn.Module) -> dict[str, str]:
    """Return what stands beside a model's weights: its facts, and the form that it is in."""
    facts = model.facts if isinstance(model, GraphModel) else {}
    return {**facts_of_model(facts), "deploy": str(is_deployed(model)).lower()}


def is_deployed(model: nn.Module) -> bool:
    """Return whether a net of the builder is re-parameterised: its tensors are not those of the training form."""
    return isinstance(model, GraphModel) and model.state_dict().keys() != _outline(model.plan).state_dict().keys()


def _outline(plan: Plan) -> GraphModel:
    """Return a net on the meta device: names and shapes, no memory."""
    with torch.device("meta"):
        return GraphModel(plan)


def deploy(model: GraphModel) -> GraphModel:
    """Return a re-parameterised copy in eval mode."""
    from timm.utils import reparameterize_model  # late: its import takes longer than torch's

    copied: GraphModel = reparameterize_model(model.eval())
    return copied


def save_pretrained(model: GraphModel, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a net to a folder: its spec as YAML and its weights as safetensors; both or neither.

    Args:
        model: a net of the builder.
        folder: made if it does not exist.
        dtype: torch.float16 to store floats at half the size; None to keep theirs.

    Raises:
        SaveError: the disk is full or refuses; the files that were there before are kept.

    Example:
        >>> import lmnet
        >>> model = lmnet.create_model("lmnet_xxs", width=4)
        >>> lmnet.save_pretrained(model, "mine")
        >>> lmnet.from_pretrained("mine").hash == model.hash
        True
    """
    folder = Path(folder)
    content = weights_bytes(model.state_dict(), _facts(model), half=dtype is torch.float16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise SaveError(f"{folder}: the folder cannot be made ({err.strerror}). Name another.") from err
    write_together({folder / SPEC_FILE: model.spec.dump().encode(), folder / SAVED: content})


def from_pretrained(folder: str | Path) -> GraphModel:
    """Return a net with its weights, in eval mode; ``model.facts`` says how its images are prepared.

    The weights are checked before any layer is made, so a spec that does not fit them takes no memory.

    Args:
        folder: a folder that ``save_pretrained`` or ``lmnet-train`` wrote, a search's folder (its best net), a name of
            the zoo (``lmnet_xs``, ``lmnet_xs@busi``), or an exported .safetensors file.

    Raises:
        SpecError: the folder has no spec, or a wrong one.
        ValueError: the weights are missing, damaged, or do not fit.

    Example:
        >>> import lmnet
        >>> model = lmnet.from_pretrained("lmnet_xxs@synthetic")
        >>> model.facts["size"]
        '128'
    """
    return open_net(find_model(folder))[0]


def open_net(found: FoundModel) -> tuple[GraphModel, Weights]:
    """Return the net of a model that was found, in eval mode, and its weights, which are read once.

    Raises:
        SpecError: the spec is wrong.
        ValueError: it has no weights, or they are damaged or do not fit.
    """
    from timm.utils import reparameterize_model  # late: its import takes longer than torch's

    path = with_weights(found).weights
    assert path is not None
    if found.is_exported:
        spec_of(found)  # raises: it has no layers
    weights = _translated(read_weights(path))
    spec = parse_spec(weights.facts["spec"], str(path)) if found.spec == path else load_spec(found.spec)
    plan = plan_spec(spec)
    outline = _outline(plan).eval()
    as_deployed = weights.facts.get("deploy") == "true"
    if as_deployed:
        reparameterize_model(outline, inplace=True)
    fit_weights(weights, outline.state_dict())
    model = GraphModel(plan).eval()
    if as_deployed:
        reparameterize_model(model, inplace=True)
    return model, _fill(model, weights)


__all__ = [
    "SpecError", "build_model", "create_model", "deploy", "from_pretrained", "load_weights", "open_net",
    "save_pretrained",
]  # fmt: skip
