# ruff: noqa: TID251 - lazy_loader reads relative imports only
from .nets.limits import Limits as Limits
from .nets.pricing import Candidate as Candidate
from .nets.pricing import Pricer as Pricer
from .nets.space import Space as Space
from .nets.survey import Survey as Survey
from .nets.survey import survey as survey
from .propose.feasible_sampler import FeasibleSampler as FeasibleSampler
from .results.counts import Scored as Scored
from .results.counts import Tally as Tally
from .results.status import read_status as read_status
from .results.summary import Overview as Overview
from .results.summary import SearchResult as SearchResult
from .run_search import run as run
from .train.training import Objective as Objective
