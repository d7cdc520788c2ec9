"""Attention and position. Catalogue #93, #94, #96."""

CASES = ()
