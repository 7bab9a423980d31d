"""lmnet: light-weight medical segmentation nets from standalone blocks, YAML specs and a search under a cost limit."""

import lazy_loader

__version__ = "0.5.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
