import sys

import pytest

from lmnet.builder.spec import parse_spec
from lmnet.search.suggest import timing
from tests.search.families import DEEP, PLAIN, WIDE

# a net whose nodes are priced in a moment
SMALL = """\
schema: lmnet/1
name: small
input: {channels: 3, size: [64, 64]}
vars:
  num_classes: 2
  width: 8
  depth: [1, 1]
  kernels: [3]
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}", activation: post}
  enc0: {block: multi_branch_stage, from: stem, out_channels: "${width}", depth: "${depth[0]}", kernels: "${kernels}"}
  enc1: {block: multi_branch_stage, from: enc0, out_channels: "${width}", depth: "${depth[1]}", kernels: "${kernels}"}
  head: {block: segmentation_head, from: enc1, num_classes: "${num_classes}", scale: 2}
outputs: {logits: head}
search:
  width: {low: 4, high: 32, step: 2}
  depth: {each: {low: 1, high: 4}}
  kernels: {choices: [[3], [5, 3]]}
"""


@pytest.fixture(scope="session")
def small():
    return parse_spec(SMALL)


@pytest.fixture(scope="session")
def deep():
    return parse_spec(DEEP)


@pytest.fixture(scope="session")
def plain():
    return parse_spec(PLAIN)


@pytest.fixture(scope="session")
def wide():
    return parse_spec(WIDE)


@pytest.fixture
def without_ray(monkeypatch):
    """Make as if ray were not installed, whatever was imported before."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lmnet.search.train.ray_pool", raising=False)


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two nodes of one core each, on this machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}  # a dead node is seen after 2 s, not 15
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level=40)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def own_timings(tmp_path, monkeypatch):
    """Keep the timings of lmnet-suggest in the test's own folder."""
    monkeypatch.setattr(timing, "cache_folder", lambda: tmp_path)
