"""What each knob does to the cost."""

import pytest

from lmnet.builder.spec import parse_spec
from lmnet.search.cli import main
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from lmnet.search.results.explain import explain
from tests.search.conftest import SMALL


def test_each_knob_is_turned_from_end_to_end(small):
    pricer = Pricer(Space(small), Limits())

    middle, effects = explain(pricer)

    found = {one.name: one for one in effects}
    assert [one.share for one in effects] == sorted((one.share for one in effects), reverse=True)
    assert set(found) == {"width", "depth[0]", "depth[1]", "kernels"}
    assert middle.point == pricer.space.start
    costs = [pricer.plan(pricer.space.moved(middle.point, 0, index)).gmacs for index in range(15)]
    assert found["width"].share == pytest.approx((max(costs) - min(costs)) / middle.gmacs)
    assert found["width"].values == "4, 6, ..., 32"


def test_a_start_outside_of_the_ranges_is_replaced_by_the_middle():
    pricer = Pricer(Space(parse_spec(SMALL.replace("width: 8\n", "width: 40\n"))), Limits())

    assert explain(pricer)[0].point[0] == len(pricer.space.knobs[0].values) // 2


def test_a_middle_where_no_net_can_be_built_is_refused():
    broken = SMALL.replace("scale: 2}", 'scale: "${width}"}')  # the logits would not have the image's size
    pricer = Pricer(Space(parse_spec(broken)), Limits())

    with pytest.raises(ValueError, match="search: no net can be built in the middle of the space: "):
        explain(pricer)


def test_the_command_prints_the_table_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)

    assert main(["--spec", "small.yaml", "--explain"]) == 0

    assert "each knob from end to end" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
