"""The solution of a triangular system. Catalogue #119.

JAX's own derivative keeps the same two arrays and is as good; here it is written out, with what the others of this room
share: broadcasting, the dtype to compute in, the triangle that is read.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import Shape, sum_to
from backproplab.rule import defvjp

_TRANSPOSED = {0: False, "N": False, 1: True, "T": True, 2: True, "C": True}


@partial(jax.custom_vjp, nondiff_argnames=("trans", "lower", "unit_diagonal"))
def solve_triangular(a, b, trans=0, lower=False, unit_diagonal=False):
    """x with a x = b, for triangular a; as `jax.scipy.linalg.solve_triangular`.

    a (..., n, n), b (n,) or (..., n, k), whose leading axes broadcast, real -> x of the shape of b with these axes. trans: 0 or
    "N", 1 or "T" (and 2 or "C", for real numbers the same): solves with the transpose of a. lower: which triangle is read; the
    other may hold anything. unit_diagonal: the diagonal counts as ones and is not read. A 0 on the diagonal gives infinities.
    Computed in float32 or wider. Raises ValueError if the shapes do not fit, TypeError for complex numbers.
    """
    dtype = jnp.result_type(a, b)
    matrix, columns = together("solve_triangular", a, b)
    x = _solve(matrix, columns, _TRANSPOSED[trans], lower, unit_diagonal)
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


def _solve(a, b, transposed, lower, unit_diagonal=False):
    return jax.lax.linalg.triangular_solve(
        a, b, left_side=True, lower=lower, transpose_a=transposed, unit_diagonal=unit_diagonal
    )


def square(name, a):
    """a in float32 or wider. Raises ValueError unless it is (..., n, n), and TypeError if it is complex."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{name} takes square matrices (..., n, n), not {a.shape}")
    return real(name, a)


def real(name, a):
    """a in float32 or wider. Raises TypeError if it is complex."""
    if jnp.iscomplexobj(a):
        raise TypeError(f"{name} is for real numbers, not {a.dtype}")
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def together(name, a, b):
    """a (..., n, n) and the columns of b (..., n, k), with the same leading axes and in one dtype, float32 or wider."""
    columns = b[:, None] if b.ndim == 1 else b
    if a.ndim < 2 or b.ndim < 1 or a.shape[-2:] != columns.shape[-2:-1] * 2:
        raise ValueError(f"{name} takes a (..., n, n) and b (n,) or (..., n, k), not {a.shape} and {b.shape}")
    batch = jnp.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    dtype = jnp.result_type(real(name, a), real(name, b))
    return tuple(jnp.broadcast_to(m, (*batch, *m.shape[-2:])).astype(dtype) for m in (a, columns))


def product(*matrices):
    """The matrix product, at full precision on devices whose default is less: errors are multiplied by the condition."""
    x, *others = matrices
    for y in others:
        x = jnp.matmul(x, y, precision="highest")
    return x


def adjoint(a):
    """The transpose, of complex numbers their conjugates."""
    return jnp.conj(a.mT)


def triangle(a, lower, diagonal=True):
    """One triangle of a, zeros elsewhere, by selection."""
    return jnp.tril(a, 0 if diagonal else -1) if lower else jnp.triu(a, 0 if diagonal else 1)


def solve_triangular_fwd(a, b, trans, lower, unit_diagonal):
    """Keeps a, which the caller holds anyway, and x, the output."""
    x = solve_triangular(a, b, trans, lower, unit_diagonal)
    return x, (a, Shape(b.shape), x)


def solve_triangular_bwd(trans, lower, unit_diagonal, residuals, dx):
    """From a x = b, da x + a dx = db: x moves by a^{-1} (db - da x). Let l solve the transposed system a^T l = dx; then

        (cotangent of b) = l        (cotangent of a) = -l x^T

    with transposed a, a^T x = b: a l = dx and -x l^T. Of the matrix only the entries that are read have a gradient: what
    -l x^T holds in the other triangle, and on a unit diagonal, is how x would change if it were read. It is cut out.
    """
    a, b_shape, x = residuals
    vector = len(b_shape) == 1
    columns = lambda array: array[..., None] if vector else array
    matrix, x = together("solve_triangular", a, columns(x))
    _, dx = together("solve_triangular", a, columns(dx))
    transposed = _TRANSPOSED[trans]
    l = _solve(matrix, dx.astype(matrix.dtype), not transposed, lower, unit_diagonal)
    da = -product(x, l.mT) if transposed else -product(l, x.mT)
    db = sum_to(b_shape, l[..., 0] if vector else l)
    return sum_to(a.shape, triangle(da, lower, not unit_diagonal)), db


defvjp(solve_triangular, solve_triangular_fwd, solve_triangular_bwd)


def well_conditioned(*shape):
    """Square matrices without symmetry, with an inverse of moderate size; so are both triangles."""

    def sample(key, dtype):
        return (normal(*shape, scale=0.5)(key, np.dtype(float)) + 2 * np.eye(shape[-1])).astype(dtype)

    return sample


def _kept(a, b, trans=0, lower=False, unit_diagonal=False):
    """a and x."""
    return a.nbytes + b.nbytes


_fixed = {0: "fixed"}
CASES = (
    Case(solve_triangular, (well_conditioned(4, 4), normal(4, 3)), residual_bytes=_kept, domain=_fixed, order=2),
    Case(
        solve_triangular,
        (well_conditioned(3, 3), normal(3), 0, True),
        name="lower, a vector",
        residual_bytes=_kept,
        domain=_fixed,
    ),
    Case(solve_triangular, (well_conditioned(3, 3), normal(3, 2), "T"), name="transposed", domain=_fixed),
    Case(
        solve_triangular,
        (well_conditioned(2, 3, 3), normal(2, 3, 2), 1, True, True),
        name="transposed, lower, unit diagonal, batch",
        residual_bytes=_kept,
        domain=_fixed,
    ),
    Case(solve_triangular, (well_conditioned(3, 3), normal(3, 2), 0, False, True), name="unit diagonal", domain=_fixed),
    Case(solve_triangular, (well_conditioned(2, 3, 3), normal(3)), name="one vector for many matrices", domain=_fixed),
    Case(
        solve_triangular,
        (np.array([[2.0, 0.0], [7.0, 4.0]]), np.array([2.0, 4.0])),
        name="the triangle that is not read has no gradient",
        expect=(np.array([[-0.5, -0.5], [0.0, -0.25]]), np.array([0.5, 0.25])),
    ),
)
