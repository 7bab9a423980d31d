"""Choices of nets for the tests of lmnet-suggest."""

from lmnet.search.suggest.choices import SCRATCH, NetChoice


def choice(net="lmnet_xxs", size=32, start=SCRATCH, gmacs=0.1, dice=0.0, ms=None):
    return NetChoice(net, size, start, net, gmacs, 1000, dice, {} if ms is None else {"torch": ms})
