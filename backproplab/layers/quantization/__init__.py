"""Quantisation: steps with a declared gradient. Catalogue #127."""

CASES = ()
