"""Which process trains a trial: see ``lmnet.builder.process_identity``."""

from lmnet.builder.process_identity import is_dead, machine, start_time, this_process

__all__ = ["is_dead", "machine", "start_time", "this_process"]
