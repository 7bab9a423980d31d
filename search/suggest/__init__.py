"""Which net of the zoo to take for given data under given limits: ``lmnet-suggest`` and ``lmnet.suggest``."""
