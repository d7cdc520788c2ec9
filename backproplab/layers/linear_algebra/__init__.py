"""Linear algebra: solutions, factors and spectra of matrices. Catalogue #119 to #121."""

from backproplab.layers.linear_algebra.cholesky import CASES as cholesky_cases
from backproplab.layers.linear_algebra.cholesky import cholesky as cholesky
from backproplab.layers.linear_algebra.cholesky_solve import CASES as cholesky_solve_cases
from backproplab.layers.linear_algebra.cholesky_solve import cho_solve as cho_solve
from backproplab.layers.linear_algebra.cholesky_solve import cholesky_solve as cholesky_solve
from backproplab.layers.linear_algebra.det import CASES as det_cases
from backproplab.layers.linear_algebra.det import det as det
from backproplab.layers.linear_algebra.eig import CASES as eig_cases
from backproplab.layers.linear_algebra.eig import eig as eig
from backproplab.layers.linear_algebra.eigh import CASES as eigh_cases
from backproplab.layers.linear_algebra.eigh import eigh as eigh
from backproplab.layers.linear_algebra.householder_product import CASES as householder_product_cases
from backproplab.layers.linear_algebra.householder_product import householder_product as householder_product
from backproplab.layers.linear_algebra.inv import CASES as inv_cases
from backproplab.layers.linear_algebra.inv import inv as inv
from backproplab.layers.linear_algebra.logdet import CASES as logdet_cases
from backproplab.layers.linear_algebra.logdet import logdet as logdet
from backproplab.layers.linear_algebra.lstsq import CASES as lstsq_cases
from backproplab.layers.linear_algebra.lstsq import lstsq as lstsq
from backproplab.layers.linear_algebra.nuclear_norm import CASES as nuclear_norm_cases
from backproplab.layers.linear_algebra.nuclear_norm import nuclear_norm as nuclear_norm
from backproplab.layers.linear_algebra.pinv import CASES as pinv_cases
from backproplab.layers.linear_algebra.pinv import pinv as pinv
from backproplab.layers.linear_algebra.qr import CASES as qr_cases
from backproplab.layers.linear_algebra.qr import qr as qr
from backproplab.layers.linear_algebra.slogdet import CASES as slogdet_cases
from backproplab.layers.linear_algebra.slogdet import slogdet as slogdet
from backproplab.layers.linear_algebra.solve import CASES as solve_cases
from backproplab.layers.linear_algebra.solve import solve as solve
from backproplab.layers.linear_algebra.solve_triangular import CASES as solve_triangular_cases
from backproplab.layers.linear_algebra.solve_triangular import solve_triangular as solve_triangular
from backproplab.layers.linear_algebra.spectral_norm_value import CASES as spectral_norm_value_cases
from backproplab.layers.linear_algebra.spectral_norm_value import spectral_norm_value as spectral_norm_value
from backproplab.layers.linear_algebra.svd import CASES as svd_cases
from backproplab.layers.linear_algebra.svd import svd as svd
from backproplab.layers.linear_algebra.tridiagonal_solve import CASES as tridiagonal_solve_cases
from backproplab.layers.linear_algebra.tridiagonal_solve import tridiagonal_solve as tridiagonal_solve

CASES = (
    *cholesky_cases,
    *cholesky_solve_cases,
    *det_cases,
    *eig_cases,
    *eigh_cases,
    *householder_product_cases,
    *inv_cases,
    *logdet_cases,
    *lstsq_cases,
    *nuclear_norm_cases,
    *pinv_cases,
    *qr_cases,
    *slogdet_cases,
    *solve_cases,
    *solve_triangular_cases,
    *spectral_norm_value_cases,
    *svd_cases,
    *tridiagonal_solve_cases,
)
