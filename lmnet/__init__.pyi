from . import blocks as blocks
from . import builder as builder
from . import search as search
from . import training as training
from .builder.models import create_model as create_model
from .builder.models import from_pretrained as from_pretrained
from .builder.models import save_pretrained as save_pretrained
from .builder.module_cost import ModuleCost as ModuleCost
from .builder.module_cost import cost as cost
from .builder.optimize import optimize_for_inference as optimize_for_inference
from .builder.problems import SpecError as SpecError
from .builder.spec import Spec as Spec
from .builder.spec import load_spec as load_spec
from .builder.zoo import list_models as list_models
from .search.suggest.run import suggest as suggest
from .training.runs.opened_model import open_model as open_model

__version__: str
