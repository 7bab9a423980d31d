# ruff: noqa: TID251 - lazy_loader reads relative imports only
from .evaluate import Objective as Objective
from .limits import Limits as Limits
from .pricing import Candidate as Candidate
from .pricing import Pricer as Pricer
from .results import Scored as Scored
from .results import Tally as Tally
from .run import Overview as Overview
from .run import SearchResult as SearchResult
from .run import run as run
from .space import Space as Space
from .status import read_status as read_status
from .survey import Survey as Survey
from .survey import survey as survey
