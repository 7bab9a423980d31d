"""Every registered block, own ones too, passes every check of the contract kit: a new block joins by itself."""

import pytest

from lmnet.blocks import REGISTRY
from lmnet.blocks.testing import check_names, run_check
from lmnet.builder.cost import node_cost

FAST, ALL = check_names(), check_names(slow=True)


def assert_passes(block, check):
    result = run_check(block, check, cost=node_cost)
    assert result.passed, f"{block}, {check}: {result.reason}"
    if result.skipped:
        pytest.skip(result.reason)


@pytest.mark.parametrize("check", FAST)
@pytest.mark.parametrize("block", REGISTRY.names())
def test_block_keeps_the_contract(block, check):
    assert_passes(block, check)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check for check in ALL if check not in FAST])
@pytest.mark.parametrize("block", REGISTRY.names())
def test_block_keeps_the_contract_where_it_takes_long(block, check):
    assert_passes(block, check)
