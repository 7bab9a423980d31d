"""Reading specs: YAML files and texts that name blocks and wire them into a graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath

from lmnet.builder.find_model import FoundModel, file_facts
from lmnet.builder.layout import Spec as Spec
from lmnet.builder.problems import Problem, SpecError
from lmnet.builder.strict_yaml import Document, load_yaml, parse_yaml
from lmnet.builder.zoo import zoo_path


def parse_spec(text: str, file: str = "<text>") -> Spec:
    """Return the spec that a YAML text holds.

    Raises:
        SpecError: the text is no spec; with everything that is wrong with it.

    Example:
        >>> from lmnet.builder import parse_spec
        >>> text = '''
        ... schema: lmnet/1
        ... name: small
        ... input: {channels: 1, size: [64, 64]}
        ... nodes:
        ...   stem: {block: downsample, from: input, out_channels: 8, stride: 4}
        ...   head: {block: segmentation_head, from: stem, scale: 4}
        ... outputs: {logits: head}
        ... '''
        >>> parse_spec(text).name
        'small'
    """
    return _read(lambda: parse_yaml(text, file))


def load_spec(spec: str | FilePath) -> Spec:
    """Return the spec in a YAML file, or the zoo's spec of that name.

    Args:
        spec: path of a YAML file, or a name of the zoo (``lmnet_paper``).

    Raises:
        SpecError: there is no such file or name, or it is no spec; with everything that is wrong with it.

    Example:
        >>> import lmnet
        >>> spec = lmnet.load_spec("lmnet_xs")
        >>> spec.layout.vars["width"]
        12
        >>> spec.override({"width": 8}).name
        'lmnet_xs'
    """
    return _read(lambda: load_yaml(zoo_path(spec)))


def spec_of(found: FoundModel) -> Spec:
    """Return the spec of a model: its file, or what an exported safetensors file holds.

    Raises:
        SpecError: it is wrong.
        ValueError: the file runs, and has no layers.
    """
    if found.is_exported:
        raise ValueError(
            f"{found.name}: an exported {found.spec.suffix} file has no layers to build or train. Give the folder or "
            "the zoo name that it was made of; lmnet-predict, lmnet-eval and lmnet.open_model run the file itself."
        )
    if found.spec == found.weights:
        return parse_spec(file_facts(found.spec)["spec"], str(found.spec))
    return load_spec(found.spec)


def _read(document: Callable[[], Document]) -> Spec:
    problems: list[Problem] = []
    try:
        return Spec.of(document())
    except SpecError as error:
        problems, partial = error.problems, error.partial
        cause = error
    if isinstance(partial, Document):
        try:
            partial = Spec.of(partial)
        except SpecError as error:
            problems, partial = [*problems, *error.problems], error.partial
    if isinstance(partial, Spec):
        from lmnet.builder.planner import plan_spec  # late: it imports torch, and a right file does not need it

        try:
            plan_spec(partial)  # a faulty file is planned to find all its faults
        except SpecError as error:
            problems = [*problems, *error.problems]
    raise SpecError(problems) from cause
