"""A thin library under a suite of operational notebooks that run a gradual rollout of webhook traffic."""

__version__ = "0.1.0"
