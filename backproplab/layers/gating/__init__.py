"""Gated units: one half of what comes in decides how much of the other passes. Catalogue #40 to #41."""

CASES = ()
