"""The table of a net's nodes shows every name whole, however narrow the terminal."""

import io

import pytest
from rich.console import Console

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.builder.tables import nodes_table


def printed(plan, width):
    console = Console(width=width, file=io.StringIO())
    console.print(nodes_table(plan, deploy=False))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize(
    "name", ["lmnet_paper", "efficientnet_lite0_lm_s", "mkunet_t", "emcad_b0", "mixed_cells", "malunet"]
)
def test_names_sources_and_shapes_are_whole(name, width):
    plan = plan_spec(load_spec(name))
    text = printed(plan, width)
    words = text.replace("│", " ").replace(",", " ").split()
    for node in plan.nodes:
        assert {node.name, node.block, *("x".join(map(str, shape)) for shape in node.out_shapes)} <= set(words)
        assert {source for source, output in node.inputs if not output} <= set(words)
        assert f"{node.cost.macs / 1e6:,.1f} M" in text


def test_a_name_longer_than_the_room_goes_on_in_the_next_line():
    long = "a_very_long_name_of_a_node_that_nobody_would_write_but_somebody_will"
    text = load_spec("unext_s").dump()
    plan = plan_spec(parse_spec(text.replace("enc1", long)))
    lines = [line.split()[0] for line in printed(plan, 80).splitlines() if line.strip()]
    assert long in "".join(lines)
