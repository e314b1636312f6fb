"""A thin library under a suite of operational notebooks that run a gradual rollout of webhook
traffic.
"""

import sys

# With this package jsonschema (nbformat and altair import it) compiles a grammar of IRIs for a
# second, in each process; without it, it cannot check the format "iri", which nothing asks for.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: not importable

__version__ = "0.1.0"
