"""The zoo: specs that come with the package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from lmnet.builder.did_you_mean import closest
from lmnet.builder.problems import Problem, SpecError, did_you_mean
from lmnet.builder.weights_on_demand import file_name, find_weights, pins, show_licence
from lmnet.builder.zoo_table import DEFAULT_DATA as DEFAULT_DATA
from lmnet.builder.zoo_table import own_rows, select


def zoo_folder() -> Path:
    """Return the folder that holds the zoo's files."""
    return Path(str(importlib.resources.files("lmnet.zoo")))


def list_models(
    pattern: str = "*",
    *,
    pretrained: bool = False,
    family: str = "all",
    max_ms: float | None = None,
    max_mb: float | None = None,
    max_gmacs: float | None = None,
    max_params: float | None = None,
    sort: str = "name",
) -> list[str]:
    """Return names of the zoo's nets: ``list_models("lmnet*", max_gmacs=0.5, pretrained=True)``.

    The figures are those of the zoo's table (docs/zoo.md). A net without a figure does not meet a limit on it.

    Args:
        pattern: names to list, with ``*`` and ``?``.
        pretrained: only those that have weights, in the package or on demand.
        family: only nets of this family (``lmnet``, ``unext``, ...); ``all`` for any.
        max_ms: upper limit of the milliseconds of one image in onnxruntime, on the machine of the table.
        max_mb: upper limit of the megabytes of the exported float32 file.
        max_gmacs: upper limit in GMACs.
        max_params: upper limit of parameters.
        sort: ``name``, ``dice`` (the highest first), ``ms``, ``mb``, ``gmacs`` or ``params`` (the smallest first).

    Raises:
        ValueError: an unknown order or family, or a limit that is not above 0.

    Example:
        >>> import lmnet
        >>> lmnet.list_models("unext*")
        ['unext', 'unext_s']
        >>> "lmnet_xxs" in lmnet.list_models(max_gmacs=0.1, pretrained=True)
        True
    """
    rows = select(
        own_rows(),
        pattern,
        max_ms=max_ms,
        max_mb=max_mb,
        max_gmacs=max_gmacs,
        max_params=max_params,
        pretrained=pretrained,
        family=family,
        sort=sort,
    )
    return [row.name for row in rows]


def weights_names() -> set[str]:
    """Return the names of all shipped weights (``lmnet_xs``, ``lmnet_xs@busi``), in the package or on demand."""
    return {path.stem for path in zoo_folder().glob("*.safetensors")} | pins().keys()


def split_name(name: str) -> tuple[str, str]:
    """Return the net and the data set of a name like ``lmnet_xs@busi``; without @ it is the default data set."""
    net, _, data = name.partition("@")
    return (net, data) if data and not Path(name).exists() else (name, DEFAULT_DATA)


def zoo_weights(name: str, data: str = DEFAULT_DATA) -> Path:
    """Return the file of a zoo net's shipped weights; one that is not in the package is looked for and fetched.

    A command prints the weights' licence. See ``lmnet.builder.weights_on_demand``.

    Args:
        name: the net's name.
        data: data set that they were trained on.

    Raises:
        ValueError: the zoo has no such weights, or their file can be had nowhere.
    """
    full_name = name if data == DEFAULT_DATA else f"{name}@{data}"
    path = zoo_folder() / file_name(full_name)
    if not path.exists():
        if full_name not in pins():
            names = sorted(weights_names())
            close = closest(data, [each.partition("@")[2] for each in names if each.startswith(f"{name}@")])
            meant = f" Did you mean {name}@{close}?" if close is not None else ""
            raise ValueError(
                f"{name}: the zoo has no weights of it trained on {data}.{meant} It has weights for: "
                f"{', '.join(names) or 'no net'}. Use one of these, a run folder, or --weights FILE."
            )
        path = find_weights(full_name)
    show_licence(full_name)
    return path


def check_spec_exists(spec: str | Path) -> None:
    """Check quickly, without torch, that a spec's name or path leads to a file.

    Raises:
        SpecError: the zoo has no such name, or there is no such file.
    """
    path = zoo_path(spec)
    if not path.exists():
        raise SpecError(
            [Problem(str(path), 1, 1, "", f"there is no such file. Zoo names: {', '.join(list_models())}.")]
        )


def zoo_path(spec: str | Path) -> Path:
    """Return the file of a zoo name, or the path itself if it looks like one.

    Raises:
        SpecError: a bare name that the zoo does not have and that is no file either.
    """
    path = Path(spec)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return path
    names = list_models()
    net, data = split_name(str(spec))
    if net in names and "@" in str(spec):
        text = f"it names a net with its weights ({data}), and a spec is needed here. Give {net}."
        raise SpecError([Problem(str(spec), 1, 1, "", text)])
    if str(spec) not in names:
        hint = did_you_mean(str(spec), names)
        raise SpecError([Problem(str(spec), 1, 1, "", f"the zoo has no net {spec}. {hint}")])
    return zoo_folder() / f"{spec}.yaml"
