import numpy as np

from lmnet.search.propose.surrogate import expected_improvements


def test_where_scores_rise_with_cost_the_dearest_promises_most():
    costs = [(0.1 * step, 1e5 * step) for step in range(1, 7)]
    knobs = [[0.5] for _ in costs]
    new = [(0.05, 5e4), (0.35, 3.5e5), (0.7, 7e5)]
    promise = expected_improvements(costs, knobs, [0.1 * step for step in range(6)], new, [[0.5]] * 3)
    assert int(promise.argmax()) == 2
    assert np.isfinite(promise).all()


def test_where_costs_are_equal_the_knobs_decide():
    costs = [(1.0, 1e6)] * 5
    knobs = [[step / 4, 0.0] for step in range(5)]
    promise = expected_improvements(costs, knobs, [0.0, 0.1, 0.2, 0.3, 0.4], [(1.0, 1e6)] * 2, [[0.0, 0.0], [1.0, 0.0]])
    assert promise[1] > promise[0]
    assert np.isfinite(promise).all()
