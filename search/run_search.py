"""``lmnet.search.run``: a search from a spec to a folder of results."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from lmnet.builder.command_line import import_modules
from lmnet.builder.spec import Spec, load_spec
from lmnet.search.candidates import Candidates
from lmnet.search.coordinator import Coordinator, Rules
from lmnet.search.evaluate import LateModel, Objective
from lmnet.search.fingerprint import SPEC, check_fingerprint, check_machine, digest
from lmnet.search.halving import rungs
from lmnet.search.heartbeat import Heartbeat
from lmnet.search.interrupt import Interrupt
from lmnet.search.latency import machine_name, measure_latency_ms
from lmnet.search.ledger import Ledger
from lmnet.search.limits import Limits
from lmnet.search.pools import InlinePool, Pool, ProcessPool
from lmnet.search.pricing import Pricer
from lmnet.search.proposer import Proposer
from lmnet.search.results import Tally, tally
from lmnet.search.siblings import Siblings
from lmnet.search.space import Space
from lmnet.search.space_survey import Survey, survey
from lmnet.search.storage import HEARTBEAT_S, open_storage, patiently, quiet_optuna

EPOCHS, SIZE = 6, 64
TRIALS = 40
TIMEOUT_S = 480.0
BATCH = 4


@dataclass(frozen=True)
class Overview:
    """What is known before trial 0.

    Args:
        survey: of the space.
        trials: that the study is to have in all.
        seconds: about how long that takes; None where it is not known.
        timeout_s: after which the search ends anyway.
    """

    survey: Survey
    trials: int | None
    seconds: float | None
    timeout_s: float | None


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Args:
        study: the study's name.
        storage: where it is, without its password.
        folder: with the results, or None where nothing was written.
        space: the space.
        tally: counts and nets.
        overview: what was known before.
        is_used_up: whether the space has no feasible net left.
        is_interrupted: whether Ctrl-C ended it.
    """

    study: str
    storage: str
    folder: Path | None
    space: Space
    tally: Tally
    overview: Overview | None
    is_used_up: bool = False
    is_interrupted: bool = False


def run(
    spec: str | Path | Spec = "lmnet_paper",
    *,
    objective: Objective | None = None,
    data: str | Path = "synthetic",
    max_gflops: float | None = None,
    min_gflops: float | None = None,
    max_params: float | None = None,
    max_latency_ms: float | None = None,
    trials: int | None = None,
    timeout_s: float | None = None,
    epochs: int | None = None,
    size: int | None = None,
    recipe: str | Path = "default",
    sampler: str = "tpe",
    seed: int = 0,
    workers: int | None = None,
    batch: int = 0,
    trial_timeout_s: float | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    dry_run: bool = False,
    imports: Sequence[str] = (),
    on_overview: Callable[[Overview], None] = lambda overview: None,
    on_progress: Callable[[Tally], None] | None = None,
) -> SearchResult:
    """Search the space of a spec for the net of the highest score within the limits.

    The same call again goes on with the study. A call with an objective of one's own::

        def objective(model: torch.nn.Module, spec: lmnet.Spec) -> float:
            train_my_way(model)
            return score(model)

        result = lmnet.search.run("lmnet_xs", objective=objective, max_gflops=0.3, trials=30)

    Args:
        spec: zoo name, YAML file, or a spec; its ``search`` section is the space, its own values the start.
        objective: ``objective(model, spec)`` returns a score, the higher the better; with a third parameter ``report``,
            ``report(epoch, score)`` returns True when the training is to end early. None trains on ``data``.
        data: for the default objective: a folder like Kvasir-SEG, LGG or BUSI; or synthetic.
        max_gflops: see ``Limits``: 10⁹ multiply-accumulates at the spec's own input size.
        min_gflops: as max_gflops, from below.
        max_params: see ``Limits``.
        max_latency_ms: see ``Limits``; measured on ``device``.
        trials: that the study is to have in all, with those of earlier calls and other machines; None for 40.
        timeout_s: of this call; None for 480 where ``trials`` is None too, else no limit.
        epochs: of a full training; None for 6.
        size: side in pixels to train at; None for 64. The limits do not depend on it.
        recipe: name or file of a training recipe.
        sampler: tpe, gp, nsga2 or random.
        seed: of everything drawn.
        workers: trainings at a time on this machine; None for 1 with an own objective or a GPU, else one
            for each two cores and at least 2 where there are two cores. With 1 worker an own objective runs in this
            process.
        batch: 0 for none; else trainings are proposed and finished in batches of so many, and the study is the same
            with any number of workers.
        trial_timeout_s: after which one training is a failure.
        storage: Optuna's URL, ``sqlite:///FILE`` or ``postgresql://...``; None for study.db in ``out``.
        study_name: None for one made of the spec's name and the limits.
        out: folder for the results; None for runs/STUDY.
        device: auto, cpu, cuda or cuda:N.
        devices: GPUs for each training.
        dry_run: only look over the space.
        imports: modules of yours that register blocks; every worker imports them first.
        on_overview: told what is known before trial 0.
        on_progress: told the study's counts now and then.

    Raises:
        SpecError: the spec or its search section is wrong.
        ValueError: a limit is out of reach, the study is another search's, or an argument is out of range.
        RuntimeError: a dozen trainings failed in a row.
    """
    import_modules(imports)
    given = spec if isinstance(spec, Spec) else load_spec(spec)
    limits = Limits(max_gflops, min_gflops, max_params, max_latency_ms)
    _check_counts(trials=trials, timeout_s=timeout_s, epochs=epochs, size=size, workers=workers,
                  trial_timeout_s=trial_timeout_s)  # fmt: skip
    total, timeout_s = _budget(trials, timeout_s)
    space = Space(given)
    target = _device(device)
    paused: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def latency(one: Spec) -> float:
        with paused():
            return measure_latency_ms(one, target)

    pricer = Pricer(space, limits, latency)
    found = survey(pricer, seed=seed)
    name = study_name or _study_name(given, limits)
    folder = Path(out) if out is not None else Path("runs") / name
    url = storage or f"sqlite:///{folder / 'study.db'}"
    epochs = epochs or EPOCHS
    is_own = objective is not None
    if objective is None:
        objective = _training(given, data, recipe, epochs, size or SIZE, seed, device, devices)
    workers = workers or _default_workers(target, is_own=is_own)
    estimate = _estimate(objective, pricer, found, total, workers, is_halved=bool(rungs(epochs)) and not is_own)
    overview = Overview(found, total, estimate, timeout_s)
    on_overview(overview)
    if dry_run:
        return SearchResult(name, url, None, space, tally([], space), overview)

    from lmnet.search.folder import write_folder

    described = _described(objective)
    is_named = hasattr(objective, "describe") or "<" not in described["function"]
    key = digest(described if is_named else {**described, "study": name})  # two closures may have one name
    with quiet_optuna(), open_storage(url) as opened:
        study = patiently(
            lambda: optuna.create_study(study_name=name, storage=opened, direction="maximize", load_if_exists=True)
        )
        facts = {
            "spec": _identity(given),
            "space": space.describe(),
            "limits": limits.describe(),
            "objective": described,
        }
        check_fingerprint(study, {**facts, "seed": seed}, objective=key)
        if max_latency_ms is not None:
            check_machine(study, machine_name(target))
        patiently(lambda: study.set_user_attr(SPEC, given.dump()))
        ledger = Ledger(opened, study, space, total=total, siblings=Siblings(opened, study, key))
        ledger.reap()
        proposer = Proposer(space, sampler=sampler, seed=seed, session=len(ledger.trials))
        rules = Rules(
            seed=seed,
            rungs=rungs(epochs),
            deadline=None if timeout_s is None else time.monotonic() + timeout_s,
            trial_timeout_s=trial_timeout_s,
            batch=batch,
            weights=None if is_own else folder / "weights",
        )
        pool = _pool(objective, workers, imports, is_own=is_own, is_sync=batch > 0)
        paused = pool.paused
        interrupt = Interrupt(lambda: pool.is_training_here)
        coordinator = Coordinator(
            ledger,
            Candidates(pricer, proposer, ledger, seed=seed + len(ledger.trials)),
            proposer,
            pricer,
            pool,
            rules,
            _watcher(ledger, space, on_progress),
            lambda: interrupt.is_set,
        )
        heartbeat = Heartbeat(lambda: ledger.open.keys(), ledger.beat, HEARTBEAT_S)
        try:
            with interrupt, heartbeat:
                coordinator.run()
        except KeyboardInterrupt:  # an objective may raise it without a signal
            interrupt.is_set = True
        result = SearchResult(
            name,
            url,
            folder,
            space,
            tally(ledger.refresh(), space),
            overview,
            coordinator.is_used_up,
            interrupt.is_set,
        )
        write_folder(result, pricer, study)
        return result


def _check_counts(**counts: float | None) -> None:
    for name, value in counts.items():
        if value is not None and not value > 0:
            raise ValueError(f"search: {name} must be above 0, got {name}={value}. Leave it out for the default.")


def _budget(trials: int | None, timeout_s: float | None) -> tuple[int, float | None]:
    if trials is None:
        return TRIALS, timeout_s or TIMEOUT_S
    return trials, timeout_s


def _study_name(spec: Spec, limits: Limits) -> str:
    parts = [f"{name.replace('_', '-')}-{value:g}" for name, value in limits.describe().items()]
    return "-".join([spec.name, *parts])


def _identity(spec: Spec) -> str:
    """Return a hash of all of a spec but its search section, which is compared knob by knob, and its figures."""
    data = {key: value for key, value in spec.document.data.items() if key not in ("search", "expect", "source")}
    return digest(data)


def _device(device: str) -> str:
    from lmnet.training.inference import resolve_device

    return str(resolve_device(device))


def _training(
    spec: Spec, data: str | Path, recipe: str | Path, epochs: int, size: int, seed: int, device: str, devices: int
) -> Objective:
    from lmnet.search.objective import DRAWN_BATCH, TrainingObjective
    from lmnet.training import load_recipe

    values: dict[str, Any] = {"epochs": epochs, "size": size}
    if str(data) == "synthetic" and str(recipe) == "default":
        values["batch_size"] = DRAWN_BATCH
    classes = spec.layout.vars.get("num_classes", 2)
    chosen = load_recipe(recipe).override(values)
    channels = spec.layout.input.channels
    return TrainingObjective(str(data), chosen, seed, classes, channels, device, devices)


def _described(objective: Objective) -> dict[str, Any]:
    if hasattr(objective, "describe"):
        described: dict[str, Any] = objective.describe()
        return described
    return {"function": _name_of(objective)}


def _name_of(objective: Any) -> str:
    """Return what an objective is called, the same in every session; what only this process knows is refused."""
    if isinstance(objective, functools.partial):
        given = ", ".join([*map(repr, objective.args), *(f"{k}={v!r}" for k, v in sorted(objective.keywords.items()))])
        if " at 0x" in given:
            raise ValueError(
                f"search: the arguments of the objective, {given}, have no name that the next session knows. Give the "
                "objective a method describe() that returns them as plain data."
            )
        return f"{_name_of(objective.func)}({given})"
    named = objective if hasattr(objective, "__qualname__") else type(objective)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _default_workers(target: str, *, is_own: bool) -> int:
    if is_own:
        return 1
    if target.startswith("cuda"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(2, cores), cores // 2)


def _estimate(
    objective: Objective, pricer: Pricer, found: Survey, total: int, workers: int, *, is_halved: bool
) -> float | None:
    if not hasattr(objective, "estimate_s"):
        return None
    point = (found.start or found.cheapest).point
    one: float = objective.estimate_s(LateModel.of(pricer.spec(point), 0))
    return one * total * (0.55 if is_halved else 1.0) / workers


def _pool(objective: Objective, workers: int, imports: Sequence[str], *, is_own: bool, is_sync: bool) -> Pool:
    if is_own and workers == 1:
        return InlinePool(objective)
    cores = os.cpu_count() or 1
    return ProcessPool(objective, slots=workers, threads=1 if is_sync else max(1, cores // workers), imports=imports)


def _watcher(ledger: Ledger, space: Space, on_progress: Callable[[Tally], None] | None) -> Callable[[], None]:
    if on_progress is None:
        return lambda: None
    return lambda: on_progress(tally(ledger.trials, space))
