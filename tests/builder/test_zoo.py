"""Every entry of the zoo: what it promises is true. A new YAML file joins by itself."""

import pytest
import torch
from timm.utils import reparameterize_model

import lmnet
from lmnet.builder.graph import AUX
from lmnet.builder.models import build_model
from lmnet.builder.planner import Planner
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.builder.summary import check_expectations

NAMES = lmnet.list_models()
BUDGETS = {"lmnet_s": 1e9, "lmnet_xs": 0.3e9, "lmnet_xxs": 0.06e9}


@pytest.fixture(scope="module", params=NAMES)
def planner(request):
    return Planner(load_spec(request.param))


def test_the_zoo_has_what_the_readme_promises():
    assert set(NAMES) >= {
        "lmnet_january",
        "lmnet_paper",
        "lmnet_release",
        "lmnet_s",
        "lmnet_xs",
        "lmnet_xxs",
        "mobilenetv4_lm",
        "unet",
        "unet_lft",
    }


def test_expected_figures_are_met(planner):
    expectations = check_expectations(planner)
    assert expectations
    assert all(item.is_met for item in expectations), expectations


def test_the_built_net_has_the_planned_parameters(planner):
    plan = planner.plan()
    model = build_model(planner.spec).eval()
    trained_only = sum(node.cost.params for node in plan.aux_nodes)
    assert sum(parameter.numel() for parameter in model.parameters()) == plan.params + trained_only
    deployed = reparameterize_model(model)
    assert sum(parameter.numel() for parameter in deployed.parameters()) == plan.deploy_params


def test_any_size_gives_logits_of_that_size(planner):
    model = build_model(planner.spec).eval()
    with torch.no_grad():
        for size in ((64, 64), (33, 70)):
            assert model(torch.zeros(1, 3, *size)).shape == (1, 2, *size)


def test_reparameterised_equals_original_with_trained_looking_statistics(planner):
    torch.manual_seed(0)
    model = build_model(planner.spec)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model.eval()(image)
        deployed = reparameterize_model(model)(image)
    assert (deployed - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_load_dump_load_is_the_identity(planner):
    again = parse_spec(planner.spec.dump())
    assert again == planner.spec
    assert Planner(again).plan().hash == planner.plan().hash


def test_node_names_are_the_state_dict_prefixes(planner):
    prefixes = {key.split(".")[0] for key in build_model(planner.spec).state_dict()}
    plan = planner.plan()
    assert prefixes <= {node.name for node in plan.nodes} | ({AUX} if plan.aux_nodes else set())


@pytest.mark.parametrize("name", BUDGETS)
def test_small_entries_keep_their_budget_at_256(name):
    plan = Planner(load_spec(name)).plan(input_size=(256, 256))
    assert plan.deploy_macs <= BUDGETS[name]


def test_release_has_the_authors_parameters_and_macs_exactly():
    planner = Planner(load_spec("lmnet_release"))
    assert planner.plan().params == 3_965_366
    assert planner.plan(input_size=(224, 224)).macs == 3_988_045_632
    assert planner.plan(input_size=(256, 256)).macs == 5_220_273_792


def test_paper_has_the_published_budget():
    plan = Planner(load_spec("lmnet_paper")).plan(input_size=(224, 224))
    assert plan.deploy_params == pytest.approx(5.40e6, rel=0.005)
    assert plan.deploy_macs == pytest.approx(4.665e9, rel=0.005)


def test_january_has_the_authors_parameters():
    plan = Planner(load_spec("lmnet_january")).plan(input_size=(224, 224))
    assert plan.params == pytest.approx(7.045e6, rel=0.001)
    assert plan.macs == pytest.approx(6.435e9, rel=0.001)


def test_models_with_weights_are_listed():
    from lmnet.builder.zoo import list_models

    assert {"lmnet_xs", "efficientnet_lite0_lm"} <= set(list_models(pretrained=True)) < set(list_models())
