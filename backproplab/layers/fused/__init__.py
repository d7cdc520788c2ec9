"""Fused layers, which never hold what lies between two steps. Catalogue #128."""

CASES = ()
