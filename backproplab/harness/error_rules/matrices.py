"""Factorisations and triangular systems: backward stable algorithms, and what a change of the matrix does to the result.

What is computed is the exact result for a matrix that is off by no more than a few roundings of the factors' sizes
(Higham, Accuracy and Stability, theorems 8.5, 9.3, 10.3); the perturbation bounds hold at finite size, not to first
order only, and are inf where they do not apply. Eigenvectors and singular vectors have no bound: their sign is free.
"""

import numpy as np

from backproplab.harness.error_rules.arithmetic import (
    UNBOUNDED,
    accumulated,
    error_array,
    largest_size,
    rounded,
    values,
)
from backproplab.harness.error_rules.machine import Bounded, accumulator, dtype_of, is_complex
from backproplab.harness.primitives import bind

# Blocked algorithms invert small diagonal blocks: a few times the operations of plain substitution.
_BLOCKS = 4.0


def _transpose(a, xp):
    return xp.swapaxes(a, -1, -2)


def _norm(a, xp):
    return xp.sqrt(xp.sum(a**2, (-1, -2), keepdims=True))


def _inverse(a, xp):
    """The inverse, of entries all inf where there is none."""
    if xp is not np:
        return xp.linalg.inv(a)
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return np.full(np.shape(a), np.inf)


def _unit(count, dtype, machine):
    return accumulated(_BLOCKS * (count + 1), machine.roundoff[dtype], machine.xp)


def triangular_solve(eqn, inputs, machine):
    """(A + F)(x + d) = b + e gives |d| <= (1 - |A^-1| |F|)^-1 |A^-1| (|e| + |F| |x|)."""
    a, b = inputs
    if is_complex(eqn.outvars[0].aval):
        return [Bounded(bind(eqn, values(inputs), machine.xp)[0], UNBOUNDED)]
    xp, p = machine.xp, eqn.params
    (out,) = bind(eqn, values(inputs), xp)
    dtype = dtype_of(eqn)
    triangle = xp.tril if p["lower"] else xp.triu
    matrix, error_a = triangle(a.value), triangle(error_array(a, xp))
    count = np.shape(matrix)[-1]
    if p["unit_diagonal"]:
        eye = xp.eye(count)
        matrix, error_a = matrix * (1 - eye) + eye, error_a * (1 - eye)
    if p["transpose_a"]:
        matrix, error_a = _transpose(matrix, xp), _transpose(error_a, xp)
    x, error_b = out, error_array(b, xp)
    if not p["left_side"]:  # x A = b, transposed
        matrix, error_a, x, error_b = (_transpose(m, xp) for m in (matrix, error_a, x, error_b))
    inverse = xp.abs(_inverse(matrix, xp))
    change = _unit(count, dtype, machine) * xp.abs(matrix) + error_a
    amplified = inverse @ change
    share = xp.max(xp.sum(amplified, -1, keepdims=True), -2, keepdims=True, initial=0.0)
    first = inverse @ (error_b + change @ xp.abs(x)) + count * machine.smallest[dtype] * (
        1 + xp.sum(inverse, -1, keepdims=True)
    )
    rest = xp.where(share < 0.5, share / (1 - xp.minimum(share, 0.5)), xp.inf)
    largest = xp.max(first, -2, keepdims=True, initial=0.0)
    error = first + xp.where(largest == 0, 0.0, rest * largest)
    error = xp.where(xp.isnan(error), xp.inf, error)
    return [rounded(out, error if p["left_side"] else _transpose(error, xp), dtype, machine)]


def cholesky(eqn, inputs, machine):
    """A + F = (L + D)(L + D)^T. With G = L^-1 F L^-T and D = L T: T + T^T + T T^T = G, T lower triangular, and
    |T| <= |G| (half of it on the diagonal) + |T|^2 with |T| <= sqrt 2 |G| (Frobenius) while |G| < 1/2 (Sun, 1991)."""
    (a,) = inputs
    xp = machine.xp
    (out,) = bind(eqn, [a.value], xp)
    if is_complex(out):
        return [Bounded(out, UNBOUNDED)]
    dtype, count = dtype_of(eqn), np.shape(out)[-1]
    factor = xp.tril(out)
    size = xp.abs(factor)
    inverse = xp.abs(_inverse(factor, xp))
    lower = xp.tril(error_array(a, xp))  # the upper triangle is not read
    error_a = lower + _transpose(xp.tril(lower, -1), xp)
    change = _unit(count, dtype, machine) * (size @ _transpose(size, xp)) + error_a + count * machine.smallest[dtype]
    g = inverse @ change @ _transpose(inverse, xp)
    norm = _norm(g, xp)
    t = xp.tril(g) * (1 - 0.5 * xp.eye(count)) + 2 * norm**2 * xp.tril(xp.ones((count, count)))
    error = xp.where(norm < 0.5, size @ t, xp.inf)
    upper = xp.broadcast_to(xp.triu(xp.ones((count, count)), 1) > 0, np.shape(out))
    return [rounded(out, xp.where(upper, 0.0, xp.where(xp.isnan(error), xp.inf, error)), dtype, machine)]


def lu(eqn, inputs, machine):
    """P A + F = (L + D)(U + E). With G = L^-1 F U^-1, D = L S and E = T U: S + T + S T = G with S strictly lower and T
    upper triangular, so |S|, |T| <= |G| + 2 |G|^2 while |G| < 1/2 (Frobenius). The rows are exchanged otherwise only
    where an entry of L is within its error of 1."""
    (a,) = inputs
    xp = machine.xp
    out, pivots, permutation = bind(eqn, [a.value], xp)
    shape = np.shape(out)
    if is_complex(out) or shape[-1] != shape[-2]:
        return [Bounded(out, UNBOUNDED), Bounded(pivots, UNBOUNDED), Bounded(permutation, UNBOUNDED)]
    dtype, count = dtype_of(eqn), shape[-1]
    eye = xp.eye(count)
    lower, upper = xp.tril(out, -1) + eye, xp.triu(out)
    error_a = xp.take_along_axis(error_array(a, xp), xp.asarray(permutation)[..., None], -2)
    change = _unit(count, dtype, machine) * (xp.abs(lower) @ xp.abs(upper)) + error_a + count * machine.smallest[dtype]
    g = xp.abs(_inverse(lower, xp)) @ change @ xp.abs(_inverse(upper, xp))
    norm = _norm(g, xp)
    g = g + 2 * norm**2
    error = xp.tril(xp.abs(lower) @ xp.tril(g, -1), -1) + xp.triu(xp.triu(g) @ xp.abs(upper))
    error = xp.where((norm < 0.5) & ~xp.isnan(error), error, xp.inf)
    close = xp.tril((xp.abs(out) + 2 * error >= 1) & (error > 0), -1)
    swapped = xp.any(close, (-1, -2))
    error = xp.where(swapped[..., None, None], xp.inf, error)
    unsure = xp.broadcast_to(xp.where(swapped[..., None], xp.inf, 0.0), np.shape(pivots))
    whole = xp.broadcast_to(unsure[..., :1], np.shape(permutation)) if count else xp.zeros(np.shape(permutation))
    return [rounded(out, error, dtype, machine), Bounded(pivots, unsure), Bounded(permutation, whole)]


# Roundings per row by which a backward stable eigenvalue or singular value algorithm changes the matrix, in its norm.
_BACKWARD = 16.0


def eigh(eqn, inputs, machine):
    """Eigenvalues move by no more than the norm of the change of the matrix (Weyl)."""
    vectors, found = bind(eqn, values(inputs), machine.xp)
    return [Bounded(vectors, UNBOUNDED), Bounded(found, _spectral(eqn, inputs[0], found, machine))]


def svd(eqn, inputs, machine):
    """Singular values likewise."""
    found, *vectors = bind(eqn, values(inputs), machine.xp)
    return [Bounded(found, _spectral(eqn, inputs[0], found, machine)), *[Bounded(v, UNBOUNDED) for v in vectors]]


def without_bound(eqn, inputs, machine):
    """The value in float64, so that a rule and autodiff can be seen to agree; of its error nothing is known.

    The signs of a QR decomposition turn with the rounding of a pivot, and what a tridiagonal solver does is the platform's.
    """
    return [Bounded(out, UNBOUNDED) for out in bind(eqn, values(inputs), machine.xp)]


def _spectral(eqn, a, found, machine):
    xp = machine.xp
    dtype = accumulator(dtype_of(eqn))
    count = max(np.shape(a.value)[-2:])
    change = (
        _BACKWARD * count * machine.roundoff[dtype] * _norm(largest_size(a, xp), xp) + count * machine.smallest[dtype]
    )
    change = change + (0.0 if a.error is None else 2 * _norm(a.error, xp))
    change = xp.where(xp.isnan(change), xp.inf, change)
    return xp.broadcast_to(change[..., 0], np.shape(found))
