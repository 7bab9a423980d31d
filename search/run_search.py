"""``lmnet.search.run``: a search from a spec to a folder of results, as open, prepare, train, write."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from lmnet.builder.command_line import import_modules
from lmnet.builder.models import build_model, load_encoder
from lmnet.builder.spec import Spec, load_spec
from lmnet.search.confirmation import confirm_search
from lmnet.search.limits import LIMITS, Limits
from lmnet.search.options import EPOCHS, SIZE, SearchOptions, split_options
from lmnet.search.pricing import Pricer
from lmnet.search.propose.proposals import Proposals
from lmnet.search.propose.sampler import make_sampler
from lmnet.search.results.counts import Tally, tally
from lmnet.search.results.folder import write_folder
from lmnet.search.results.summary import Overview, SearchResult
from lmnet.search.results.verdict import with_verdict
from lmnet.search.space import Space
from lmnet.search.space_survey import Survey, survey
from lmnet.search.study.fingerprint import ABOUT, SPEC, VERDICT, check_fingerprint, check_machine, short_hash
from lmnet.search.study.heartbeat import Heartbeat
from lmnet.search.study.ledger import Ledger
from lmnet.search.study.storage import HEARTBEAT_S, open_storage, quiet_optuna, retry
from lmnet.search.train.executors import Pool
from lmnet.search.train.interrupt import Interrupt
from lmnet.search.train.latency import LatencyMeter, machine_name
from lmnet.search.train.loop import Loop, TrainingRules
from lmnet.search.train.objective import SMALL_BATCH, TrainingObjective
from lmnet.search.train.pools import make_pool
from lmnet.search.train.training import Objective, seeded_model
from lmnet.search.train.under_way import UnderWay
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.inference import resolve_device
from lmnet.training.recipe import load_recipe

SHARE_OF_TIME = 0.65
"""Share of a limited time that goes to the search; the rest is for the confirmation."""
WRITE_S = 60.0
"""During training, the folder of results is written no more often than this."""


def run(
    spec: str | Path | Spec = "lmnet_paper",
    *,
    objective: Objective | None = None,
    on_overview: Callable[[Overview], None] = lambda overview: None,
    on_progress: Callable[[Tally], None] | None = None,
    executor: Callable[[Objective], Pool] | None = None,
    **options: Any,
) -> SearchResult:
    """Search the space of a spec for the net with the highest score within the limits.

    The same call again continues the study. A call with an objective of your own::

        def objective(model: torch.nn.Module, spec: lmnet.Spec) -> float:
            train_my_way(model)
            return score(model)

        result = lmnet.search.run("lmnet_xs", objective=objective, max_gflops=0.3, trials=30)

    Args:
        spec: zoo name, YAML file, or a spec; its ``search`` section is the space, its own values are the starting net.
        objective: ``objective(model, spec)`` returns a score, higher is better. With a third parameter ``report``,
            ``report(epoch, score)`` returns True when training is to stop early. None trains on ``data``.
        on_overview: called with what is known before trial 0.
        on_progress: called with the study's counts after each trial and in between.
        executor: takes the objective and returns a pool that trains by it, see ``lmnet.search.train.executors.Pool``;
            None for a pool by the options.
        options: limits by the names of ``LIMITS`` (``max_gflops=5``) and the fields of ``SearchOptions``
            (``trials=30``).

    Raises:
        TypeError: an option is unknown.
        SpecError: the spec or its search section is wrong.
        ValueError: a limit cannot be met, the study belongs to another search, or an option is out of range.
        RuntimeError: a dozen training runs failed in a row.
    """
    limits, chosen = split_options(options)
    import_modules(chosen.imports)
    search = _prepare(spec if isinstance(spec, Spec) else load_spec(spec), objective, limits, chosen, executor)
    on_overview(search.overview)
    if chosen.dry_run:
        return search.result(tally([], search.space), folder=None)
    with quiet_optuna(), open_storage(search.url) as storage:
        study = _open_study(search, storage)
        ledger = Ledger(storage, study, search.space, total=search.overview.trials)
        ledger.fail_dead_trials()
        is_used_up, is_interrupted = _train(search, ledger, on_progress)
        counts = tally(ledger.refresh(), search.space)
        if search.confirming and not is_interrupted:
            is_interrupted = _confirm(search, study, counts, on_progress)
        ending = {"is_used_up": is_used_up, "is_interrupted": is_interrupted}
        counts, verdict = with_verdict(study.user_attrs.get(VERDICT), counts)
        result = search.result(counts, search.folder, verdict, **ending)
        write_folder(result, search.pricer, study)
    return result


def _signature() -> inspect.Signature:
    """Return the signature of ``run`` with every option in it, for ``help`` and editors."""
    plain = inspect.signature(run)
    named = [parameter for parameter in plain.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    keyword = inspect.Parameter.KEYWORD_ONLY
    named += [inspect.Parameter(each.name, keyword, default=None, annotation="float | None") for each in LIMITS]
    named += [
        inspect.Parameter(each.name, keyword, default=each.default, annotation=each.type)
        for each in fields(SearchOptions)
    ]
    return plain.replace(parameters=named)


run.__signature__ = _signature()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Search:
    """All that is decided before the study is opened, and when that began."""

    began: float
    spec: Spec
    space: Space
    options: SearchOptions
    objective: Objective
    is_own: bool
    pricer: Pricer
    latency: LatencyMeter
    workers: int
    overview: Overview
    name: str
    executor: Callable[[Objective], Pool] | None = None

    @property
    def folder(self) -> Path:
        return Path(self.options.out) if self.options.out is not None else Path("runs") / self.name

    @property
    def url(self) -> str:
        return self.options.storage or f"sqlite:///{self.folder / 'study.db'}"

    @property
    def confirming(self) -> int:
        """Epochs of the training runs that confirm the result; 0 for none."""
        given = self.options.confirm_epochs
        return 0 if self.is_own else (self.options.epochs or EPOCHS) if given is None else given

    def deadline(self, share: float = 1.0) -> float | None:
        """Return when that share of the time is over, on ``time.monotonic``; None for no limit."""
        timeout_s = self.overview.timeout_s
        return None if timeout_s is None else self.began + share * timeout_s

    def pool(self, objective: Objective) -> Pool:
        return make_pool(objective, self.options, workers=self.workers, is_own=self.is_own, executor=self.executor)

    def result(
        self, counts: Tally, folder: Path | None, verdict: dict[str, Any] | None = None, **ending: bool
    ) -> SearchResult:
        return SearchResult(self.name, self.url, folder, self.space, counts, self.overview, verdict, **ending)


def _prepare(
    spec: Spec,
    own: Objective | None,
    limits: Limits,
    options: SearchOptions,
    executor: Callable[[Objective], Pool] | None,
) -> _Search:
    """Survey the space and choose the objective, before anything is written."""
    began = time.monotonic()
    space = Space(spec)
    device = str(resolve_device(options.device))
    latency = LatencyMeter(device, options.runtime)
    pricer = Pricer(space, limits, latency)
    found = survey(pricer, seed=options.seed)
    is_own = own is not None
    objective = _default_objective(space, options) if own is None else own
    workers = options.workers or _default_workers(device, is_own=is_own)
    total, timeout_s = options.budget
    seconds = _one_training_s(objective, pricer, found)
    if seconds is not None:
        seconds *= total / workers
    overview = Overview(found, total, seconds, timeout_s)
    name = options.study_name or _study_name(spec, limits)
    return _Search(began, spec, space, options, objective, is_own, pricer, latency, workers, overview, name, executor)


def _open_study(search: _Search, storage: RDBStorage) -> optuna.Study:
    """Return the study; refuse one that another search made."""
    study = retry(
        lambda: optuna.create_study(study_name=search.name, storage=storage, direction="maximize", load_if_exists=True)
    )
    facts = {
        "spec": _identity(search.spec),
        "space": search.space.describe(),
        "limits": search.pricer.limits.describe(),
        "objective": _described(search.objective),
        "seed": search.options.seed,
    }
    check_fingerprint(study, facts)
    if search.pricer.limits.measured:
        check_machine(study, machine_name(search.latency.device, search.latency.runtime))
    retry(lambda: study.set_user_attr(SPEC, search.spec.dump()))
    retry(lambda: study.set_user_attr(ABOUT, _about(search)))
    return study


def _about(search: _Search) -> dict[str, Any]:
    """Return what the head of the report says of the training runs."""
    about: dict[str, Any] = {"machine": describe_machine(), "workers": search.workers, "seed": search.options.seed}
    if isinstance(search.objective, TrainingObjective):
        recipe = search.objective.recipe
        size = "each net's own" if search.space.moves_size else recipe.size
        about = {"data": search.objective.data, "image size": size, "epochs": recipe.epochs, **about}
    return about


def _train(search: _Search, ledger: Ledger, on_progress: Callable[[Tally], None] | None) -> tuple[bool, bool]:
    """Run the search's loop; return whether the space is used up and whether Ctrl-C ended it."""
    if ledger.is_complete:
        return False, False
    options, pricer = search.options, search.pricer
    sampler = make_sampler(options.sampler, pricer, seed=options.seed, session=len(ledger.trials))
    proposals = Proposals(pricer, sampler, ledger, may_be_early=not options.batch)
    rules = TrainingRules(
        seed=options.seed,
        deadline=search.deadline(SHARE_OF_TIME if search.confirming else 1),
        trial_timeout_s=options.trial_timeout_s,
        sync_batch=options.batch,
        weights=None if search.is_own else search.folder / "weights",
    )
    pool = search.pool(search.objective)
    search.latency.paused = pool.paused
    interrupt = Interrupt(lambda: pool.is_training_here)

    watch = _watcher(search, ledger, on_progress)
    loop = Loop(ledger, proposals, pricer, pool, rules, watch, lambda: interrupt.is_set)
    heartbeat = Heartbeat(lambda: ledger.open.keys(), ledger.record_heartbeat, HEARTBEAT_S)
    try:
        with interrupt, heartbeat:
            loop.run()
    except KeyboardInterrupt:  # an objective may raise it without a signal
        interrupt.is_set = True
    return loop.is_used_up, interrupt.is_set


def _watcher(
    search: _Search, ledger: Ledger, on_progress: Callable[[Tally], None] | None
) -> Callable[[tuple[UnderWay, ...]], None]:
    """Return what tells the progress of a search, and writes its results so far now and then."""
    written_at, written = time.monotonic(), 0

    def watch(under_way: tuple[UnderWay, ...]) -> None:
        nonlocal written_at, written
        counts = replace(tally(ledger.trials, search.space), under_way=under_way)
        if on_progress is not None:
            on_progress(counts)
        if counts.trials > written and time.monotonic() - written_at >= WRITE_S:
            write_folder(search.result(counts, search.folder), search.pricer, ledger.study, is_final=False)
            written_at, written = time.monotonic(), counts.trials

    return watch


def _confirm(search: _Search, study: optuna.Study, counts: Tally, on_progress: Callable[[Tally], None] | None) -> bool:
    """Compare the result with the starting net on the test images; return whether Ctrl-C ended it."""
    assert isinstance(search.objective, TrainingObjective)
    interrupt = Interrupt(lambda: False)
    show = on_progress or (lambda counts: None)
    with interrupt:
        verdict = confirm_search(
            counts,
            search.pricer,
            search.objective,
            epochs=search.confirming,
            seeds=search.options.confirm_seeds,
            finalists=search.options.confirm_nets,
            make_pool=search.pool,
            folder=search.folder,
            deadline=search.deadline(),
            is_stopped=lambda: interrupt.is_set,
            on_progress=lambda done, total: show(replace(counts, confirming=(done, total))),
        )
    retry(lambda: study.set_user_attr(VERDICT, verdict))
    return interrupt.is_set


def _study_name(spec: Spec, limits: Limits) -> str:
    parts = [f"{name.replace('_', '-')}-{value:g}" for name, value in limits.describe().items()]
    return "-".join([spec.name, *parts])


def _identity(spec: Spec) -> str:
    """Return a hash of a spec without its search section, which is compared knob by knob, and without its figures."""
    data = {key: value for key, value in spec.document.data.items() if key not in ("search", "expect", "source")}
    return short_hash(data)


def _default_objective(space: Space, options: SearchOptions) -> TrainingObjective:
    spec = space.spec
    if space.moves_size and options.size is not None:
        raise ValueError(
            f"search: size must be left out where the space varies input.size, got size={options.size}. Each net is "
            "trained at its own size."
        )
    values: dict[str, Any] = {"epochs": options.epochs or EPOCHS, "size": options.size or SIZE}
    if str(options.data) == SYNTHETIC and str(options.recipe) == "default":
        values["batch_size"] = SMALL_BATCH
    recipe = load_recipe(options.recipe).override(values)
    data = str(options.data)
    if data != SYNTHETIC:
        data = str(Path(data).resolve())  # workers elsewhere may stand in another folder
    if options.pretrained_encoder is not None:
        load_encoder(build_model(spec), options.pretrained_encoder)  # refused here, not in a dozen training runs
    return TrainingObjective(
        data,
        recipe,
        options.seed,
        num_classes=spec.layout.vars.get("num_classes", 2),
        in_channels=spec.layout.input.channels,
        device=options.device,
        devices=options.devices,
        own_size=space.moves_size,
        pretrained_encoder=options.pretrained_encoder,
    )


def _described(objective: Objective) -> dict[str, Any]:
    if hasattr(objective, "describe"):
        described: dict[str, Any] = objective.describe()
        return described
    return {"function": _name_of(objective)}


def _name_of(objective: Any) -> str:
    """Return an objective's name, the same in every session; refuse what only this process knows."""
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


def _default_workers(device: str, *, is_own: bool) -> int:
    if is_own or device.startswith("cuda"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(2, cores), cores // 2)


def _one_training_s(objective: Objective, pricer: Pricer, found: Survey) -> float | None:
    """Return about how long one training run takes; None where the objective cannot tell."""
    if not hasattr(objective, "estimate_s"):
        return None
    point = (found.start or found.cheapest).point
    seconds: float = objective.estimate_s(seeded_model(pricer.spec(point), 0))
    return seconds
