# ruff: noqa: TID251 - lazy_loader reads relative imports only
from .evaluate import Objective as Objective
from .limits import Limits as Limits
from .pricing import Candidate as Candidate
from .pricing import Pricer as Pricer
from .results import Scored as Scored
from .results import Tally as Tally
from .run_search import Overview as Overview
from .run_search import SearchResult as SearchResult
from .run_search import run as run
from .space import Space as Space
from .space_survey import Survey as Survey
from .space_survey import survey as survey
from .status import read_status as read_status
