"""Over a thousand proposals of each sampler, nothing trained exceeds a limit, by a count of the built net itself."""

import pytest
from timm.utils import reparameterize_model

from lmnet.builder.cross_check import count_with_torch
from lmnet.builder.spec import load_spec
from lmnet.search.propose.pool import FeasiblePool
from lmnet.search.propose.sampler import Tpe
from lmnet.search.run_search import run

LIMITS = {"max_gflops": 0.16, "min_gflops": 0.1, "max_params": 120_000.0}
PROPOSALS = 1000


def check(model, spec):
    """Score a net by its cost, and check that with torch's own counter on the net that came to be trained."""
    net = reparameterize_model(model.eval())
    params = sum(parameter.numel() for parameter in net.parameters())
    gmacs = count_with_torch(net, ((spec.layout.input.channels, *spec.layout.input.size),)) / 1e9
    assert LIMITS["min_gflops"] <= gmacs <= LIMITS["max_gflops"]
    assert params <= LIMITS["max_params"]
    return gmacs


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["model", "random", "tpe"])
def test_a_thousand_proposals_train_nothing_over_a_limit(tmp_path, monkeypatch, sampler):
    spec, proposals, seed = load_spec("lmnet_xxs"), [], 0
    for kind in (FeasiblePool, Tpe):
        choose = kind.choose
        monkeypatch.setattr(kind, "choose", lambda *args, choose=choose: proposals.append(1) or choose(*args))
    while len(proposals) < PROPOSALS:
        for trials in range(40, 121, 40):  # each study is gone on with twice
            out = tmp_path / str(seed)
            tally = run(spec, objective=check, trials=trials, sampler=sampler, seed=seed, out=out, **LIMITS).tally
            assert not tally.failed
            assert tally.trials == trials
        seed += 1
