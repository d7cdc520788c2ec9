"""Losses on similarity, distance and alignment. Catalogue #73 to #76, #108."""

CASES = ()
