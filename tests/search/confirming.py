"""A verdict whose nets nobody trains again, for the tests of what it compares."""

from lmnet.search.results.counts import Tally
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import InlinePool
from lmnet.search.verdict.finalists import confirm_search
from lmnet.training import Recipe


def confirmed_out_of_time(scored, pricer, folder, **options):
    """Return the verdict where no time was left to train a net again."""
    given = {"finalists": len(scored), "deadline": 0.0, **options}
    return confirm_search(
        Tally(len(scored), {}, 0, 0, 0, scored),
        pricer,
        TrainingObjective("synthetic", Recipe(size=32, epochs=1)),
        epochs=1,
        seeds=1,
        make_pool=InlinePool,
        folder=folder,
        is_stopped=lambda: False,
        **given,
    )
