"""What the surrogate expects of nets: the prior before any score, then what scores say."""

import numpy as np
import pytest

from lmnet.search.propose.surrogate import fit_surrogate

RNG = np.random.default_rng(0)
COSTS = np.exp(RNG.normal(0, 1, (200, 2)))
KNOBS = RNG.random((200, 3))


def expected(costs, knobs, scores, new_costs, new_knobs):
    """Return the mean of many draws for the new nets."""
    model = fit_surrogate(costs, knobs, scores, reference=COSTS)
    return np.mean([model.sample(new_costs, new_knobs, RNG) for _ in range(400)], axis=0)


def test_before_any_score_more_is_expected_of_larger_nets():
    new = np.array([[0.2, 1.0], [1.0, 1.0], [5.0, 1.0]])

    found = expected(COSTS[:0], KNOBS[:0], np.zeros(0), new, np.full((3, 3), 0.5))

    assert found[0] < found[1] < found[2]


def test_scores_that_fall_with_cost_turn_the_choice():
    scores = -np.log(COSTS[:40, 0])
    new = np.array([[0.2, 1.0], [5.0, 1.0]])

    found = expected(COSTS[:40], KNOBS[:40], scores, new, np.full((2, 3), 0.5))

    assert found[0] > found[1]
    assert fit_surrogate(COSTS[:40], KNOBS[:40], scores, reference=COSTS).slope < 0


def test_where_costs_are_equal_the_knobs_decide():
    costs = np.ones((5, 2))
    knobs = np.array([[step / 4, 0.0] for step in range(5)])

    model = fit_surrogate(costs, knobs, np.arange(5) / 10, reference=costs)
    found = np.mean([model.sample(costs[:2], knobs[[0, 4]], RNG) for _ in range(400)], axis=0)

    assert found[1] > found[0]


@pytest.mark.parametrize("count", [1, 2, 250])
def test_draws_are_finite_numbers_for_any_number_of_scores(count):
    costs, knobs = np.resize(COSTS, (count, 2)), np.resize(KNOBS, (count, 3))

    model = fit_surrogate(costs, knobs, np.full(count, 0.4), reference=COSTS)

    assert np.isfinite(model.sample(COSTS, KNOBS, RNG)).all()
