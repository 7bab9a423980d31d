# ruff: noqa: TID251 - lazy_loader reads relative imports only
from .limits import Limits as Limits
from .pricing import Candidate as Candidate
from .pricing import Pricer as Pricer
from .propose.feasible_sampler import FeasibleSampler as FeasibleSampler
from .results.counts import Scored as Scored
from .results.counts import Tally as Tally
from .results.status import read_status as read_status
from .results.summary import Overview as Overview
from .results.summary import SearchResult as SearchResult
from .run_search import run as run
from .space import Space as Space
from .space_survey import Survey as Survey
from .space_survey import survey as survey
from .train.training import Objective as Objective
