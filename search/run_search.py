"""``lmnet.search.run``: the whole search, from a spec to a folder of results."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import optuna

from lmnet.builder.command_line import import_modules
from lmnet.builder.process_identity import owned
from lmnet.search.budget import Pace, is_planned, plan_search, unplanned_line
from lmnet.search.nets.given import Given, read_specs
from lmnet.search.nets.limits import LIMITS
from lmnet.search.options import FINALISTS, SearchOptions, split_options
from lmnet.search.propose.proposals import Proposals
from lmnet.search.propose.sampler import make_sampler
from lmnet.search.results.counts import Tally, tally, with_verdict
from lmnet.search.results.folder import write_folder
from lmnet.search.results.summary import Overview, SearchResult
from lmnet.search.session import Session, begin_study, is_begun, open_study, prepare
from lmnet.search.study.fingerprint import VERDICT
from lmnet.search.study.heartbeat import Heartbeat
from lmnet.search.study.ledger import Ledger
from lmnet.search.study.storage import HEARTBEAT_S, open_storage, quiet_optuna, retry
from lmnet.search.train.interrupt import Interrupt
from lmnet.search.train.loop import Loop, TrainingRules
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective
from lmnet.search.train.under_way import UnderWay
from lmnet.search.verdict.finalists import confirm_search

WRITE_S = 60.0
"""During training, the folder of results is written no more often than this."""


def run(
    spec: Given = "lmnet_paper",
    *,
    objective: Objective | None = None,
    on_overview: Callable[[Overview], None] = lambda overview: None,
    on_progress: Callable[[Tally], None] | None = None,
    on_note: Callable[[str], None] = lambda line: None,
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
            A list of these searches several families at once; ``zoo`` stands for all specs of the zoo that have a
            ``search`` section.
        objective: ``objective(model, spec)`` returns a score, higher is better. With a third parameter ``report``,
            ``report(epoch, score)`` returns True when training is to stop early. None trains on ``data``.
        on_overview: called before trial 0 with the costs found in the space and the time.
        on_progress: called with the study's counts after each trial and in between.
        on_note: called with a line of text when the time plan is made or changes.
        executor: takes the objective and returns a pool that trains with it, see ``lmnet.search.train.pools.Pool``;
            None to choose the pool by the options.
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
    search = prepare(read_specs(spec), objective, limits, chosen, executor)
    on_overview(search.overview)
    if chosen.dry_run:
        return search.result(tally([], search.space), folder=None)
    with quiet_optuna(), open_storage(search.url) as storage:
        search, study = open_study(search, storage)
        ledger = Ledger(storage, study, search.space, total=search.overview.trials)
        ledger.fail_dead_trials()
        pace = None
        if is_planned(search) and not ledger.is_complete:
            before, is_new = tally(ledger.refresh(), search.space), not is_begun(study)
            search, pace = plan_search(search, before, is_new=is_new, note=on_note)
        elif not ledger.is_complete:
            on_note(unplanned_line(search, ledger.missing))
        begin_study(search, study)
        is_used_up, is_interrupted = _train(search, ledger, pace, on_progress)
        counts = tally(ledger.refresh(), search.space)
        if search.confirming and not is_interrupted:
            ending_s = 0.0 if pace is None else pace.ending_s
            is_interrupted = _confirm(search, study, counts, on_progress, on_note, ending_s=ending_s)
        ending = {"is_used_up": is_used_up, "is_interrupted": is_interrupted}
        counts, verdict = with_verdict(study.user_attrs.get(VERDICT), counts)
        result = search.result(counts, search.folder, verdict, **ending)
        on_note(f"results: writing the tables and the report to {search.folder}")
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


def _train(
    search: Session, ledger: Ledger, pace: Pace | None, on_progress: Callable[[Tally], None] | None
) -> tuple[bool, bool]:
    """Run the search's loop; return whether the space is used up and whether Ctrl-C ended it."""
    if ledger.is_complete:
        return False, False
    options, pricer = search.options, search.pricer
    sampler = make_sampler(
        options.sampler,
        pricer,
        seed=options.seed,
        session=len(ledger.trials),
        pending=lambda: [search.space.point(trial.params) for trial in ledger.pending()],
        prior=search.prior,
    )
    proposals = Proposals(pricer, sampler, ledger)
    rules = TrainingRules(
        seed=options.seed,
        deadline=search.deadline(),
        trial_timeout_s=options.trial_timeout_s,
        sync_batch=options.batch,
        weights=None if search.is_own else search.folder / "weights",
    )
    pool = search.pool(search.objective)
    search.latency.paused = pool.paused
    interrupt = Interrupt(lambda: pool.is_training_here)

    watch = _watcher(search, ledger, pace, on_progress)
    loop = Loop(ledger, proposals, pricer, pool, rules, watch, is_stopped=lambda: interrupt.is_set)
    if pace is not None:
        loop.ends_at, loop.may_begin = pace.ends_at, pace.may_begin
        loop.on_end = lambda: pace.see(tally(ledger.trials, search.space))
    heartbeat = Heartbeat(lambda: ledger.open.keys(), ledger.record_heartbeat, HEARTBEAT_S)
    try:
        with interrupt, heartbeat:
            loop.run()
    except KeyboardInterrupt:  # an objective may raise it without a signal
        interrupt.is_set = True
    return loop.is_used_up, interrupt.is_set


def _watcher(
    search: Session, ledger: Ledger, pace: Pace | None, on_progress: Callable[[Tally], None] | None
) -> Callable[[tuple[UnderWay, ...]], None]:
    """Return a function that shows the progress and, at most once a minute, writes the results so far."""
    written_at, written = time.monotonic(), 0

    def watch(under_way: tuple[UnderWay, ...]) -> None:
        nonlocal written_at, written
        counts = replace(tally(ledger.trials, search.space), under_way=under_way)
        if pace is not None:
            pace.see(counts)
        if on_progress is not None:
            on_progress(counts)
        if counts.trials > written and time.monotonic() - written_at >= WRITE_S:
            write_folder(search.result(counts, search.folder), search.pricer, ledger.study, is_final=False)
            written_at, written = time.monotonic(), counts.trials

    return watch


def _confirm(
    search: Session,
    study: optuna.Study,
    counts: Tally,
    on_progress: Callable[[Tally], None] | None,
    on_note: Callable[[str], None],
    *,
    ending_s: float,
) -> bool:
    """Compare the result with the starting net on the test images; return whether Ctrl-C ended it.

    The training runs end some seconds before the search does: ``ending_s``.
    """
    deadline = search.deadline()
    assert isinstance(search.objective, TrainingObjective)
    interrupt = Interrupt(lambda: False)
    show = on_progress or (lambda counts: None)
    alone = owned(search.folder / "confirm", doing="confirms", wait_until=lambda: interrupt.is_set)
    with interrupt, alone:
        verdict = confirm_search(
            counts,
            search.pricer,
            search.objective,
            epochs=search.confirming,
            seeds=search.options.confirm_seeds,
            finalists=search.options.confirm_nets or FINALISTS,
            are_all_needed=search.options.confirm_nets is not None,
            make_pool=search.pool,
            folder=search.folder,
            deadline=None if deadline is None else deadline - ending_s,
            is_stopped=lambda: interrupt.is_set,
            on_note=on_note,
            on_progress=lambda done, total: show(replace(counts, confirming=(done, total))),
        )
    retry(lambda: study.set_user_attr(VERDICT, verdict))
    return interrupt.is_set
