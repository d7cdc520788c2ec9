"""Linear algebra: solutions, factors and spectra of matrices. Catalogue #119 to #121."""

CASES = ()
