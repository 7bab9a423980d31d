"""Preparation of a search: its space, limits, objective and study.

``prepare`` makes a ``Session`` and writes nothing. ``open_study`` then opens or continues the study in the database.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import RDBStorage

from lmnet.builder.layout import INPUT_SIZE
from lmnet.builder.spec import Spec
from lmnet.search.make_pool import data_choice, make_pool, visible_gpus
from lmnet.search.nets.families import Families, make_pricer, make_space
from lmnet.search.nets.given import title
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import Survey, survey
from lmnet.search.options import EPOCHS, NO_PRIOR, SIZE, SearchOptions
from lmnet.search.propose.prior import Prior, fit_prior, prior_text
from lmnet.search.results.counts import Tally
from lmnet.search.results.summary import Overview, SearchResult
from lmnet.search.several import Encoders, check_encoders, family_notes, sides, with_encoders
from lmnet.search.study.earlier import read_lessons, set_pretrained
from lmnet.search.study.fingerprint import (
    ABOUT,
    FINGERPRINT,
    SPEC,
    check_fingerprint,
    check_machine,
    kept_specs,
    short_hash,
)
from lmnet.search.study.owner import own_folder
from lmnet.search.study.storage import retry
from lmnet.search.train.latency import LatencyMeter, machine_name
from lmnet.search.train.objective import SMALL_BATCH, TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective, seeded_model
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.fitting.recipe import load_recipe
from lmnet.training.prediction.inference import resolve_device

MOST_LOAD = 20.0
"""Upper limit on ``Session.load``: no plan takes the machine to be slower than this."""
ESTIMATED = 4
"""About the number of families for which a training step is timed before the search; all, if there are fewer."""


@dataclass(frozen=True)
class Session:
    """The settings of one run of the command or of ``run``, fixed before the study is opened.

    Args:
        began: time on ``time.monotonic`` at which it began.
        space: all nets that the knobs allow.
        options: the options of the user.
        objective: trains a net and returns its score.
        is_own: whether the objective is the user's function.
        pricer: computes the costs of nets and checks the limits.
        latency: measures the time of one image.
        workers: number of training runs at a time.
        overview: the facts that are printed before trial 0.
        name: name of the study.
        executor: makes the pool of workers; None for the pool that the options ask for.
        prior: what earlier searches teach; None for nothing.
        began_cpu_s: CPU seconds that the process had used when the session began.
    """

    began: float
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
    prior: Prior | None = None
    began_cpu_s: float = 0.0

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.options.out) if self.options.out is not None else Path("runs") / self.name

    @property
    def url(self) -> str:
        """URL of the database."""
        return self.options.storage or f"sqlite:///{self.folder / 'study.db'}"

    @property
    def confirming(self) -> int:
        """Epochs of the training runs that confirm the result; 0 for none."""
        given = self.options.confirm_epochs
        if not isinstance(self.objective, TrainingObjective):
            return 0
        return self.objective.recipe.epochs if given is None else given

    def deadline(self) -> float | None:
        """Return when the time is over, on ``time.monotonic``; None for no limit."""
        timeout_s = self.overview.timeout_s
        return None if timeout_s is None else self.began + timeout_s

    def load(self) -> float:
        """Return how many seconds passed for each CPU second of this process since the search began; at least 1."""
        spent_s = time.process_time() - self.began_cpu_s
        return min(MOST_LOAD, max(1.0, (time.monotonic() - self.began) / max(spent_s, 0.1)))

    def with_recipe(self, **values: Any) -> Session:
        """Return the search with some values of the recipe changed."""
        objective = self.objective
        assert isinstance(objective, TrainingObjective)
        changed = replace(objective, recipe=objective.recipe.override(values))
        overview = replace(self.overview, chooses=changed.check_scores())
        return replace(self, objective=changed, overview=overview)

    def pool(self, objective: Objective) -> Pool:
        """Make a pool of workers, which train nets by an objective."""
        return make_pool(objective, self.options, workers=self.workers, is_own=self.is_own, executor=self.executor)

    def result(
        self, counts: Tally, folder: Path | None, verdict: dict[str, Any] | None = None, **ending: bool
    ) -> SearchResult:
        """Return the result of the search so far; ``ending`` says how it ended: ``is_used_up``, ``is_interrupted``."""
        ending["is_own"] = self.is_own
        return SearchResult(self.name, self.url, folder, self.space, counts, self.overview, verdict, **ending)


def prepare(
    specs: Sequence[Spec],
    own: Objective | None,
    limits: Limits,
    options: SearchOptions,
    executor: Callable[[Objective], Pool] | None,
) -> Session:
    """Survey the space and choose the objective, before anything is written.

    Args:
        specs: the spec of each family.
        own: the user's objective; None to train by the recipe.
        limits: the limits on the costs.
        options: the options of the user.
        executor: makes the pool of workers; None for the pool that the options ask for.
    """
    began, began_cpu_s = time.monotonic(), time.process_time()
    space = make_space(specs)
    if len(space.families) > 1 and options.sampler == "tpe":
        raise ValueError("search: the sampler tpe searches one family. Use model or random, or give one spec.")
    device = str(resolve_device(options.device))
    latency = LatencyMeter(device, options.runtime)
    is_own = own is not None
    encoders = None
    if options.pretrained_encoder is not None and not is_own:
        if isinstance(space, Families):
            space, encoders = with_encoders(space, options.pretrained_encoder)
        else:
            check_encoders(space, options.pretrained_encoder)
    pricer = make_pricer(space, limits, latency)
    found = survey(pricer, seed=options.seed)
    objective = _default_objective(space, options, encoders) if own is None else own
    workers = options.workers or _default_workers(device, is_own=is_own)
    total, timeout_s = options.budget
    is_measured = timeout_s is not None and not is_own and options.confirm_epochs != 0 and not options.dry_run
    seconds = None if is_measured else _one_training_s(objective, pricer, found)  # else it is measured, not estimated
    if seconds is not None:
        seconds *= total / workers
    chooses = objective.check_scores() if isinstance(objective, TrainingObjective) else ""
    overview = Overview(found, total, seconds, timeout_s, chooses, _notes(space, objective, encoders))
    name = options.study_name or _study_name(specs, limits)
    parts = (space, options, objective, is_own, pricer, latency, workers, overview, name, executor)
    search = Session(began, *parts, began_cpu_s=began_cpu_s)
    return search if str(options.prior) == NO_PRIOR else _with_prior(search)


def _with_prior(search: Session) -> Session:
    """Return the search with a prior that is learned from earlier searches."""
    lessons = read_lessons(search.options.prior, own_url=search.url, own_name=search.name)
    prior = fit_prior(lessons)
    if isinstance(search.objective, TrainingObjective) and search.objective.pretrained_encoder is not None:
        set_pretrained(search.pricer, search.objective.encoder_families)
    overview = replace(search.overview, notes=(*search.overview.notes, prior_text(prior, lessons)))
    return replace(search, prior=prior, overview=overview)


def open_study(search: Session, storage: RDBStorage) -> tuple[Session, optuna.Study]:
    """Open the study. Return it, and the search with the image size and epochs that an earlier session of it chose.

    Raises:
        ValueError: the study, or the folder of its results, belongs to another search.
    """
    study = retry(
        lambda: optuna.create_study(study_name=search.name, storage=storage, direction="maximize", load_if_exists=True)
    )
    search = _continued(search, study)
    if is_begun(study) or retry(lambda: study.get_trials(deepcopy=False)):
        begin_study(search, study)
    own_folder(search.folder, study)
    return search, study


def is_begun(study: optuna.Study) -> bool:
    """Return whether a search has begun in this study; its image size and epochs are then fixed."""
    return FINGERPRINT in retry(lambda: study.user_attrs)


def _continued(search: Session, study: optuna.Study) -> Session:
    """Return the search with the image size and epochs of its study, unless the user gives them."""
    facts: dict[str, Any] = retry(lambda: study.user_attrs).get(FINGERPRINT, {})
    recipe = facts.get("objective", {}).get("recipe")
    if not isinstance(recipe, dict) or not isinstance(search.objective, TrainingObjective):
        return search
    keys = [key for key in ("size", "epochs") if key in recipe and not search.options.is_given(key)]
    return search.with_recipe(**{key: recipe[key] for key in keys})


def begin_study(search: Session, study: optuna.Study) -> None:
    """Store the settings of a new study, or check that they equal those of an old one.

    Raises:
        ValueError: the study belongs to another search.
    """
    facts = {
        "spec": _identities(search.space),
        "space": search.space.describe(),
        "limits": search.pricer.limits.describe(),
        "objective": _described(search.objective),
        "seed": search.options.seed,
    }
    check_fingerprint(study, facts)
    if search.pricer.limits.measured:
        check_machine(study, machine_name(search.latency.device, search.latency.runtime))
    retry(lambda: study.set_user_attr(SPEC, kept_specs(search.space)))
    retry(lambda: study.set_user_attr(ABOUT, _about(search)))


def _about(search: Session) -> dict[str, Any]:
    """Return the facts about the training runs for the head of the report."""
    about: dict[str, Any] = {"machine": describe_machine(), "workers": search.workers, "seed": search.options.seed}
    if isinstance(search.objective, TrainingObjective):
        recipe = search.objective.recipe
        size = "each net's own" if search.space.moves_size else recipe.size
        about = {"data": search.objective.choice.path, "image size": size, "epochs": recipe.epochs, **about}
    return about


def _study_name(specs: Sequence[Spec], limits: Limits) -> str:
    parts = [f"{name.replace('_', '-')}-{value:g}" for name, value in limits.describe().items()]
    return "-".join([title(specs), *parts])


def _identities(space: Space) -> str | dict[str, str]:
    """Return the hash of the spec; for several families, a dict of their hashes by name."""
    hashes = {family.spec.name: _identity(family.spec) for family in space.families}
    return hashes if len(hashes) > 1 else next(iter(hashes.values()))


def _identity(spec: Spec) -> str:
    """Return a hash of a spec without ``search`` (compared knob by knob), ``expect`` and ``source``."""
    data = {key: value for key, value in spec.document.data.items() if key not in ("search", "expect", "source")}
    return short_hash(data)


def _notes(space: Space, objective: Objective, encoders: Encoders | None) -> tuple[str, ...]:
    if not isinstance(objective, TrainingObjective):
        return family_notes(space, size=None, encoders=encoders)
    return family_notes(space, size=objective.recipe.size, encoders=encoders, is_own_size=objective.own_size)


def _default_objective(space: Space, options: SearchOptions, encoders: Encoders | None) -> TrainingObjective:
    spec = space.families[0].spec
    size = options.size or options.changes.get("size")
    if space.moves_size and size is not None:
        raise ValueError(
            f"search: size={size} is given, but the space varies input.size and each net is trained at its own size. "
            "Leave --size out."
        )
    for key in ("epochs", "size"):
        if getattr(options, key) is not None and key in options.changes:
            raise ValueError(f"search: {key} is given by --{key} and by --set. Give it once.")
    values: dict[str, Any] = {"epochs": options.epochs or EPOCHS, "size": options.size or SIZE}
    data = data_choice(options)
    if data.path == SYNTHETIC and str(options.recipe) == "default":
        values["batch_size"] = SMALL_BATCH
    recipe = load_recipe(options.recipe).override({**values, **options.changes}, where="--set")
    return TrainingObjective(
        data,
        recipe,
        options.seed,
        num_classes=spec.layout.vars.get("num_classes", 2),
        in_channels=spec.layout.input.channels,
        device=options.device,
        own_size=space.moves_size,
        largest_is_own=len(space.families) > 1 and min(sides(space).values()) < recipe.size,
        smallest=_smallest(space, recipe.size),
        pretrained_encoder=options.pretrained_encoder,
        encoder_families=None if encoders is None else encoders.loaded,
    )


def _smallest(space: Space, size: int) -> int | None:
    """Return the smallest side at which a net is trained; None if all are trained at the size of the recipe."""
    found = [
        side
        for family in space.families
        for knob in family.knobs
        if knob.variable == INPUT_SIZE
        for side in knob.values
    ]
    if len(space.families) > 1:
        own = sides(space).values()
        found += own if space.moves_size else [side for side in own if side < size]
    return min(found, default=None)


def _described(objective: Objective) -> dict[str, Any]:
    """Return plain data that say which objective this is; a study stores them and compares them in later sessions."""
    if hasattr(objective, "describe"):
        described: dict[str, Any] = objective.describe()
        return described
    return {"function": _name_of(objective)}


def _name_of(objective: Any) -> str:
    """Return the name of an objective, which must be the same in every session."""
    if isinstance(objective, functools.partial):
        given = ", ".join([*map(repr, objective.args), *(f"{k}={v!r}" for k, v in sorted(objective.keywords.items()))])
        if " at 0x" in given:
            raise ValueError(
                f"search: the arguments of the objective, {given}, change from session to session. Give the "
                "objective a method describe() that returns them as plain data."
            )
        return f"{_name_of(objective.func)}({given})"
    named = objective if hasattr(objective, "__qualname__") else type(objective)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _default_workers(device: str, *, is_own: bool) -> int:
    """Return the number of training runs at a time if the user gives none, see ``SearchOptions.workers``."""
    if is_own:
        return 1
    if device.startswith("cuda"):
        return 1 if ":" in device else max(1, len(visible_gpus()))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(2, cores), cores // 2)


def _one_training_s(objective: Objective, pricer: Pricer, found: Survey) -> float | None:
    """Return the estimated seconds of one training run, the mean over some families; None if there is no estimate."""
    if not hasattr(objective, "estimate_s"):
        return None
    points = [(found.start or found.cheapest).point]
    if found.families:
        typical = [(one.start or one.cheapest).point for one in found.families.values()]
        points = [(place, *point) for place, point in zip(pricer.space.open, typical, strict=True)]
        points = points[:: max(1, len(points) // ESTIMATED)]
    return fmean(objective.estimate_s(seeded_model(pricer.spec(point), 0)) for point in points)
