from lmnet.builder.pretrained import create_model as create_model
from lmnet.builder.pretrained import from_pretrained as from_pretrained
from lmnet.builder.pretrained import save_pretrained as save_pretrained
from lmnet.builder.spec import SpecError as SpecError
from lmnet.builder.spec import load_spec as load_spec
from lmnet.builder.zoo import list_models as list_models

__version__: str
