"""Linear algebra against jax.numpy and jax.scipy: equal values and gradients, and none for what is not read or not unique."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsp
import numpy as np
import pytest
from compiled import compiled, grad, pulled
from matrices import N, assert_same, draw, gradients, matrix

from backproplab.harness.opaque import by_differences
from backproplab.layers.linear_algebra import (
    cho_solve,
    cholesky,
    det,
    eig,
    eigh,
    householder_product,
    inv,
    logdet,
    lstsq,
    nuclear_norm,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    spectral_norm_value,
    svd,
    tridiagonal_solve,
)

_EPS = 2.0**-52


def _definite(*batch):
    a = draw(*batch, N, N)
    return a @ np.swapaxes(a, -1, -2) + np.eye(N)


@pytest.mark.parametrize(
    "options", [(0, False, False), ("T", True, False), (1, False, True), ("C", True, True)], ids=str
)
def test_solve_triangular_is_jaxs(options):
    """All options, by position as there; a matrix of columns and a vector."""
    ours, theirs = (lambda a, b, f=f: f(a, b, *options) for f in (solve_triangular, jsp.solve_triangular))
    assert_same(ours, theirs, matrix(), draw(N, 2))
    if options[0] == 0:
        assert_same(ours, theirs, matrix(), draw(N))


def test_solve_is_jaxs():
    """Vectors, columns, batches, and leading axes that broadcast: their gradients add up."""
    for a, b in (
        (matrix(), draw(N)),
        (matrix(), draw(2, N, 3)),
        (matrix(2), draw(N)),
    ):
        assert_same(solve, jnp.linalg.solve, a, b)


def test_cho_solve_is_jaxs():
    """Either triangle. The other one gets exact zeros."""
    for lower in (False, True):
        c, b = (np.tril if lower else np.triu)(matrix()), draw(N, 2)
        assert_same(lambda c, b, k=lower: cho_solve((c, k), b), lambda c, b, k=lower: jsp.cho_solve((c, k), b), c, b)


def _diagonals(*batch):
    return draw(*batch, N, seed=1), draw(*batch, N, seed=2) + 4, draw(*batch, N, seed=3)


def _slope(f):
    """A gradient of f, as a function: its own gradient is a second derivative."""
    return lambda *args: jax.grad(lambda *args: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(f(*args))))(*args)


def test_tridiagonal_solve_is_jaxs():
    """One system and two at once, and second derivatives."""
    theirs = jax.lax.linalg.tridiagonal_solve
    assert_same(tridiagonal_solve, theirs, *_diagonals(2), draw(2, N, 3))
    assert_same(_slope(tridiagonal_solve), _slope(theirs), *_diagonals(), draw(N, 3))


def test_outside_of_a_tridiagonal_matrix_nothing_is_read():
    """NaN there changes nothing and has no gradient; the matrix is the one that `solve` would be given."""
    dl, d, du = _diagonals()
    b = draw(N, 2)
    dl[0] = du[-1] = np.nan
    x, ddl, dd, ddu, db = gradients(tridiagonal_solve, dl, d, du, b)
    matrix = np.diag(d) + np.diag(dl[1:], -1) + np.diag(du[:-1], 1)
    y, da, dc = gradients(solve, matrix, b)
    for one, other in ((x, y), (ddl[1:], np.diag(da, -1)), (dd, np.diag(da)), (ddu[:-1], np.diag(da, 1)), (db, dc)):
        # a gradient is a product of two solutions, each off by N cond roundings of its largest entry
        np.testing.assert_allclose(
            one, other, rtol=0, atol=2 * N * np.linalg.cond(matrix) * _EPS * np.max(np.abs(other))
        )
    assert ddl[0] == ddu[-1] == 0


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 3)], ids=str)
def test_pinv_lstsq_and_qr_are_jaxs(shape):
    """Tall, wide and two square ones at once; and second derivatives."""
    a = draw(*shape)
    assert_same(pinv, jnp.linalg.pinv, a)
    assert_same(qr, jnp.linalg.qr, a)
    if len(shape) == 2:
        assert_same(_slope(pinv), _slope(jnp.linalg.pinv), a)
        assert_same(_slope(qr), _slope(jnp.linalg.qr), a)
        theirs = lambda a, b: jnp.linalg.lstsq(a, b)[0]
        assert_same(lstsq, theirs, a, draw(shape[0]))
        assert_same(lstsq, theirs, a, draw(shape[0], 2))
        assert_same(_slope(lstsq), _slope(theirs), a, draw(shape[0], 2))


def test_lstsq_broadcasts():
    """One matrix for many right sides, and one vector for many matrices: as pinv times b."""
    for a, b in ((draw(5, 3), draw(2, 5, 2)), (draw(2, 3, 5), draw(3))):
        theirs = lambda a, b: (jnp.linalg.pinv(a) @ (b[:, None] if b.ndim == 1 else b)).reshape(lstsq(a, b).shape)
        assert_same(lstsq, theirs, a, b)


def test_lstsq_of_orthonormal_columns():
    """The singular values are equal, and JAX's gradient, which goes through their vectors, is NaN: this is a^T b."""
    a, b = np.eye(4, 3), draw(4)
    _, da, db = gradients(lstsq, a, b)
    with jax.enable_x64(True):
        assert np.isnan(grad(lambda a: jnp.linalg.lstsq(a, b)[0].sum())(a)).all()
    l = a @ np.cos(np.arange(3))
    right = np.outer(b - a @ a.T @ b, np.cos(np.arange(3))) - np.outer(l, a.T @ b)
    for one, other in ((db, l), (da, right)):  # of condition 1: a few sums of four terms
        np.testing.assert_allclose(one, other, rtol=0, atol=4 * N * _EPS * np.max(np.abs(other)))


@pytest.mark.parametrize("rtol", [None, 0.1])
def test_pinv_of_a_matrix_of_lower_rank(rtol):
    """Along a b with factors that move, its gradient is that of b^+ a^+, which needs full rank alone."""
    a, b = draw(5, 2), draw(2, 4)
    assert_same(lambda a, b: pinv(a @ b, rtol), lambda a, b: jnp.linalg.pinv(b) @ jnp.linalg.pinv(a), a, b)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)], ids=str)
def test_pinv_with_a_singular_value_cut_off(shape):
    """Against a difference of values; JAX's gradient is off in the third digit."""
    u, _, vt = np.linalg.svd(draw(*shape), full_matrices=False)
    s = np.array([3.0, 2.0, 0.5, 0.25])[: min(shape)]
    a, move = u * s @ vt, draw(*shape, seed=1)
    weigh = lambda f: lambda a: jnp.sum(jnp.cos(jnp.arange(a.size)).reshape(a.mT.shape) * f(a, rtol=0.3))
    along = lambda t, rest: [weigh(pinv)(a + t[0] * move)]
    start = np.zeros(())
    differences = by_differences(along, [start], [], [(-0.1, 0.1)], jax.devices("cpu")[0])
    (_, slope), (_, bar) = differences([start, np.ones(())])
    with jax.enable_x64(True):
        ours, jaxs = (np.vdot(grad(weigh(f))(a), move) for f in (pinv, jnp.linalg.pinv))
    assert abs(ours - slope) <= bar
    assert abs(jaxs - slope) > 1000 * bar


@pytest.mark.parametrize("rtol", [None, 0.1])
def test_pinv_of_an_infinity_comes_to_an_end(rtol):
    """In LAPACK the singular values of this matrix never do. The matrix beside it is not touched."""
    bad = np.array([[-0.8, 0.2, 2.6], [-1.4, 1.1, -1.1], [-np.inf, -0.7, 1.1]])
    good = np.diag([1.0, 2.0, 4.0])
    y = compiled(lambda a: pinv(a, rtol))(np.float32([bad, good]))
    assert np.isnan(y[0]).all()
    np.testing.assert_allclose(y[1], np.diag([1, 0.5, 0.25]), rtol=3 * 4 * 2.0**-23)  # three rows, of condition 4


@pytest.mark.parametrize("shape", [(4, 3, 3), (5, 4, 2), (2, 3, 3, 3), (3, 2, 0)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=["real", "complex"])
def test_householder_product_is_jaxs(shape, dtype):
    """Values of LAPACK's `orgqr` and `ungqr`, whatever the taus, none among them; NaN that is not read has gradient 0."""
    *_, k = shape
    a, taus = draw(*shape[:-1]).astype(dtype), draw(*shape[:-3], k, seed=1).astype(dtype)
    if dtype is np.complex128:
        a, taus = a + 1j * draw(*shape[:-1], seed=2), taus + 1j * draw(*shape[:-3], k, seed=3)
    with jax.enable_x64(True):
        want = jax.lax.linalg.householder_product(a, taus)
    y, da, dtaus = gradients(householder_product, a, taus)
    # v and taus of size 1: k reflections grow no more than (1 + |tau| |v|^2)^k, hundreds
    np.testing.assert_allclose(y, want, rtol=0, atol=1000 * _EPS * max(1, np.max(np.abs(want))))
    read = np.tri(*a.shape[-2:], -1, dtype=bool) & (np.arange(a.shape[-1]) < k)
    half = gradients(householder_product, np.where(read, a, np.nan), taus)
    for one, other in zip((y, da, dtaus), half):
        np.testing.assert_array_equal(one, other)
    assert not np.any(da[..., ~read]) and np.all(da[..., read]) and np.all(dtaus)


def test_householder_product_of_a_qr_decomposition():
    """What LAPACK's `geqrf` leaves goes in: Q is that of `qr`, orthonormal."""
    with jax.enable_x64(True):
        a, taus = jnp.linalg.qr(draw(5, 3), mode="raw")
        q = compiled(householder_product)(a.mT, taus)
        np.testing.assert_allclose(q, compiled(qr)(draw(5, 3)).Q, rtol=0, atol=8 * 5 * _EPS)
        np.testing.assert_allclose(q.T @ q, np.eye(3), rtol=0, atol=8 * 5 * _EPS)


def test_dependent_columns_are_not_hidden():
    """QR of a matrix whose first column is 0: the gradient is not finite."""
    assert not np.isfinite(gradients(qr, np.array([[0.0, 1.0], [0.0, 2.0]]))[-1]).all()


@pytest.mark.slow
def test_the_others_are_jaxs():
    """inv, slogdet, det, eigh, svd and cholesky by the names that they have in jnp.linalg, on two matrices at once."""
    for ours in (inv, slogdet, det):
        assert_same(ours, getattr(jnp.linalg, ours.__name__), matrix(2))
    assert_same(lambda a: eigh(a)[0], lambda a: jnp.linalg.eigh(a)[0], _definite(2))
    assert_same(lambda a: svd(a, full_matrices=False)[1], lambda a: jnp.linalg.svd(a, False)[1], draw(2, N, 3))
    assert_same(lambda a: cholesky(a, upper=True), lambda a: jnp.linalg.cholesky(a, upper=True), _definite(2))
    assert_same(logdet, lambda a: jnp.linalg.slogdet((a + a.mT) / 2)[1], _definite(2))


@pytest.mark.slow
def test_norms_of_singular_values():
    """nuclear_norm and spectral_norm_value are jnp's; of rank one both are the product of lengths, and have the same slope."""
    with jax.enable_x64(True):
        a = draw(3, 4)
        np.testing.assert_allclose(nuclear_norm(a), jnp.linalg.norm(a, "nuc"), rtol=1e-13)
        np.testing.assert_allclose(spectral_norm_value(a), jnp.linalg.norm(a, 2), rtol=1e-13)
        u, v = np.array([0.6, 0.8, 0.0]), np.array([1.0, 0.0])
        for norm in (nuclear_norm, spectral_norm_value):
            np.testing.assert_allclose(norm(5 * np.outer(u, v)), 5, rtol=1e-13)
            np.testing.assert_allclose(grad(norm)(5 * np.outer(u, v)), np.outer(u, v), rtol=0, atol=4 * _EPS)


def test_results_have_names():
    """As in jnp.linalg: code that reads .eigenvalues, .logabsdet or .Vh goes on to work."""
    a = _definite().astype(np.float32)
    assert eig(a)._fields == jnp.linalg.eig(a)._fields
    assert eigh(a)._fields == jnp.linalg.eigh(a)._fields
    assert slogdet(a)._fields == jnp.linalg.slogdet(a)._fields
    assert svd(a)._fields == jnp.linalg.svd(a)._fields
    assert qr(a)._fields == jnp.linalg.qr(a)._fields


READERS = {
    "solve_triangular": lambda a, lower: solve_triangular(a, np.ones(N), 0, lower),
    "cho_solve": lambda a, lower: cho_solve((a, lower), np.ones(N)),
    "cholesky": lambda a, lower: cholesky(a, not lower, False),
    "eigh": lambda a, lower: eigh(a, "L" if lower else "U", False)[0],
}


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_the_other_triangle_is_neither_read_nor_given_a_gradient(name, lower):
    """pytensor#1230, jax#40421: NaN there changes nothing, and its gradient is exactly 0."""
    read = np.tril(np.ones((N, N), bool)) if lower else np.triu(np.ones((N, N), bool))
    a = _definite()
    whole = gradients(lambda a: READERS[name](a, lower), a)
    half = gradients(lambda a: READERS[name](a, lower), np.where(read, a, np.nan))
    for one, other in zip(whole, half):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert not np.any(half[1][~read]) and np.all(half[1][read])


def test_a_unit_diagonal_is_neither_read_nor_given_a_gradient():
    """NaN on it changes nothing."""
    a = matrix()
    np.fill_diagonal(a, np.nan)
    x, da, db = gradients(lambda a, b: solve_triangular(a, b, 0, True, True), a, draw(N))
    assert np.isfinite(x).all() and np.isfinite(db).all() and not np.diagonal(da).any()


def test_one_triangle_holds_the_gradient_of_both():
    """torch#137284: read whole, the gradient is symmetric; read by one triangle, its entries off the diagonal count twice."""
    a = _definite()
    _, whole = gradients(cholesky, a)
    np.testing.assert_allclose(whole, whole.T, rtol=1e-13)
    _, half = gradients(lambda a: cholesky(a, symmetrize_input=False), a)
    np.testing.assert_allclose(half, np.tril(2 * whole) - np.diag(np.diag(whole)), rtol=1e-12)


def test_det_of_singular_matrices():
    """Rank n - 1: the cofactors; rank n - 2: zeros; and with an inverse, det a times its transpose."""
    left, right = draw(N, N - 1), draw(N - 1, N)
    minors = lambda a: np.array(
        [[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(N)] for i in range(N)]
    )
    for a in (left @ right, matrix(), draw(N, N - 2) @ draw(N - 2, N), np.zeros((N, N))):
        room = 8 * N * _EPS * np.linalg.norm(a) ** (N - 1)  # what a cofactor, a product of so many, is rounded by
        np.testing.assert_allclose(gradients(det, a)[1], minors(a), rtol=0, atol=room)


def test_singular_matrices_are_not_hidden():
    """log|det| is -inf, and its gradient is not finite."""
    sign, value, gradient = gradients(slogdet, np.ones((2, 2)))
    assert sign == 0 and value == -np.inf and not np.isfinite(gradient).any()


def test_equal_singular_values():
    """jax#2311: at an orthogonal matrix the nuclear norm has the gradient U V^T, the matrix itself; one of a vector has none."""
    q = np.linalg.qr(draw(3, 3))[0]
    with jax.enable_x64(True):
        np.testing.assert_allclose(grad(lambda a: jnp.sum(svd(a).S))(q), q, rtol=1e-13)
        np.testing.assert_allclose(grad(lambda a: jnp.sum(svd(a).S ** 2))(q), 2 * q, rtol=1e-13)
        assert not np.isfinite(grad(lambda a: svd(a).U[0, 1])(np.eye(3))).all()
        for shape in ((3, 2), (2, 3)):  # with a vector that leans out of the others' space
            polar = grad(lambda a: jnp.vdot(jnp.arange(6.0), (lambda u, s, vt: u @ vt)(*svd(a))))(np.eye(*shape))
            assert np.isfinite(polar).all() and polar.any()


def test_sixteen_bits_are_computed_in_thirty_two():
    """LAPACK has no bfloat16: values and gradients are those of float32, rounded once at the end."""
    a = _definite().astype(jnp.bfloat16)
    for f in (det, lambda a: solve(a, jnp.ones(N, a.dtype))):
        y, da = pulled(f)(1.0, a)
        assert y.dtype == da.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y, compiled(f)(a.astype(np.float32)).astype(jnp.bfloat16))


def test_what_does_not_fit_is_named():
    """A ValueError or TypeError with the function's name, not one from inside lax."""
    tall, a = np.ones((3, 2), np.float32), np.eye(3, dtype=np.float32)
    for f in (inv, det, slogdet, logdet, cholesky, eig, eigh):
        with pytest.raises(ValueError, match=f"{f.__name__} takes square"):
            f(tall)
    for f in (solve, solve_triangular, lambda a, b: cho_solve((a, False), b)):
        with pytest.raises(ValueError, match="takes a"):
            f(a, np.ones(2, np.float32))
    for f in (pinv, qr):
        with pytest.raises(ValueError, match=f"{f.__name__} takes matrices"):
            f(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="lstsq takes a"):
        lstsq(tall, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="tridiagonal_solve takes diagonals"):
        tridiagonal_solve(*np.ones((3, 3), np.float32), np.ones(3, np.float32))
    for shape, count in (((2, 3), 2), ((3, 2), 3), ((2, 3, 2), 2)):
        with pytest.raises(ValueError, match="householder_product takes a"):
            householder_product(np.ones(shape, np.float32), np.ones(count, np.float32))
    with pytest.raises(TypeError, match="real or complex"):
        householder_product(tall, np.ones(2, np.complex64))
    with pytest.raises(ValueError, match="without a derivative"):
        svd(tall, full_matrices=True)
    with pytest.raises(TypeError, match="real numbers"):
        inv(a.astype(np.complex64))
