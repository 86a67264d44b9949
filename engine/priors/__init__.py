"""Priors: a first guess of each frame's depth, from a network or from the user, behind one adapter."""

from engine.priors.source import Source
from engine.priors.stage import choose_prior, solve_prior

__all__ = ["Source", "choose_prior", "solve_prior"]
