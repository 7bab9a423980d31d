# ruff: noqa: TID251 - lazy_loader reads relative imports only
from .models import build_model as build_model
from .models import create_model as create_model
from .models import from_pretrained as from_pretrained
from .models import load_weights as load_weights
from .models import save_pretrained as save_pretrained
from .module_cost import ModuleCost as ModuleCost
from .optimize import optimize_for_inference as optimize_for_inference
from .plan import Plan as Plan
from .planner import plan_spec as plan_spec
from .problems import SpecError as SpecError
from .spec import Spec as Spec
from .spec import load_spec as load_spec
from .spec import parse_spec as parse_spec
from .zoo import list_models as list_models
