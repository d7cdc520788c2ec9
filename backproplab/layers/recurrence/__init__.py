"""Recurrence: layers that read a sequence step by step. Catalogue #101 to #104."""

CASES = ()
