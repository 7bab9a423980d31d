"""The contract kit: what every block must do, checked from the example that it was registered with.

    from lmnet.blocks.testing import check_block

    for result in check_block("my_block"):
        print(result)

The same on the command line: ``lmnet-build check-block NAME``. A new block joins the project's own tests by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmnet.blocks.testing.checks import CHECKS, SLOW
from lmnet.blocks.testing.subject import Cost, CostLike, Failed, Skipped, Subject, make_trained_looking

__all__ = [
    "CheckResult",
    "Cost",
    "CostLike",
    "Subject",
    "check_block",
    "check_names",
    "make_trained_looking",
    "run_check",
]


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Args:
        name: the check.
        passed: False if the block breaks the contract; True for a skipped check.
        reason: one line: why it failed or was skipped.
        skipped: whether the check does not apply to this block.
    """

    name: str
    passed: bool
    reason: str = ""
    skipped: bool = False


def check_names(*, slow: bool = False) -> list[str]:
    """Return the names of the checks, in order.

    Args:
        slow: with those that take seconds to minutes a block (torch.compile, ONNX).
    """
    return [*CHECKS, *(SLOW if slow else ())]


def run_check(name: str, check: str, *, cost: Cost | None = None) -> CheckResult:
    """Return what one check finds about a block.

    Args:
        name: the block's registered name.
        check: one of ``check_names(slow=True)``.
        cost: see ``check_block``.

    Raises:
        ValueError: no such block, or no such check.
    """
    checks = {**CHECKS, **SLOW}
    if check not in checks:
        raise ValueError(f"run_check: check must be one of {', '.join(checks)}, got check={check!r}. Use one of them.")
    subject = Subject(name, cost)
    try:
        checks[check](subject)
    except Skipped as err:
        return CheckResult(check, True, str(err), skipped=True)
    except Failed as err:
        return CheckResult(check, False, str(err))
    except Exception as err:  # noqa: BLE001 - whatever a foreign block raises is its failure, not ours
        line = next(iter(str(err).strip().splitlines()), "")
        return CheckResult(check, False, f"{type(err).__name__}: {line}")
    return CheckResult(check, True)


def check_block(name: str, slow: bool = False, *, cost: Cost | None = None) -> list[CheckResult]:
    """Check a registered block against the contract; every check runs, whatever the others find.

    Args:
        name: the registered name, your own block's too.
        slow: also torch.compile, and ONNX against onnxruntime (needs the extra ``export``).
        cost: what prices a block, ``lmnet.builder.cost.node_cost``; None skips that check, for blocks know no builder.

    Returns:
        one result a check, in the order of ``check_names``.

    Raises:
        ValueError: no block has that name.
    """
    return [run_check(name, check, cost=cost) for check in check_names(slow=slow)]
