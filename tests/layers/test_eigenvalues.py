"""Eigenvalues and eigenvectors: where several are equal, where there is no basis, and against LAPACK's left vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from compiled import grad
from matrices import N, assert_same, draw, matrix

from backproplab.layers.linear_algebra import eig, eigh

_EPS = 2.0**-52


def test_equal_eigenvalues():
    """jax#669: at the identity, symmetric functions of the eigenvalues have a gradient, exactly; one of a vector has none."""
    one = np.eye(3)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(grad(lambda a: jnp.sum(eigh(a).eigenvalues ** 3))(one), 3 * one)
        np.testing.assert_array_equal(grad(lambda a: jnp.prod(eigh(a).eigenvalues))(one), one)
        project = lambda v: jnp.sum(jnp.arange(9.0).reshape(3, 3) * (v @ v.mT))  # V V^T = 1, whatever a
        whole = grad(lambda a: project(eigh(a).eigenvectors))
        np.testing.assert_allclose(whole(one), np.zeros((3, 3)), rtol=0, atol=3 * 8 * _EPS)
        assert not np.isfinite(grad(lambda a: eigh(a).eigenvectors[0, 1] * 1.0)(one)).all()


def test_eig_is_jaxs():
    """In LAPACK's gauge, phases and all; a pair of complex eigenvalues, and two matrices at once."""
    theirs = lambda a: jax.lax.linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)
    for a in (draw(N, N), matrix(2)):
        assert_same(eig, theirs, a)
    assert np.iscomplex(np.linalg.eigvals(draw(N, N))).any()


def test_eigenvalues_move_with_left_and_right_vectors():
    """scipy's: d w = y^H da x / (y^H x)."""
    a = draw(N, N)
    w, y, x = scipy.linalg.eig(a, left=True)
    with jax.enable_x64(True):
        for i in range(N):
            slope = y[:, i].conj()[:, None] * x[:, i] / np.vdot(y[:, i], x[:, i])
            room = (
                8 * N * _EPS * np.linalg.norm(a) * N / abs(np.vdot(y[:, i], x[:, i])) ** 2
            )  # of condition 1 / |y^H x|
            mine = int(np.argmin(np.abs(np.linalg.eigvals(a) - w[i])))
            np.testing.assert_allclose(grad(lambda a, k=mine: eig(a).eigenvalues[k].real)(a), slope.real, 0, room)
            np.testing.assert_allclose(grad(lambda a, k=mine: eig(a).eigenvalues[k].imag)(a), slope.imag, 0, room)


def test_equal_eigenvalues_of_a_general_matrix():
    """As of a symmetric one: where the basis does not matter the gradient is exact, else it is not finite."""
    one = np.eye(3)
    with jax.enable_x64(True):
        cubes = grad(lambda a: jnp.sum(eig(a).eigenvalues ** 3).real)
        np.testing.assert_array_equal(cubes(one), 3 * one)
        skew = np.linalg.inv(matrix()) @ np.diag([2.0, 2, 2, 5]) @ matrix()
        # of condition 10, as the vectors of the group that LAPACK finds
        np.testing.assert_allclose(cubes(skew), 3 * (skew @ skew).T, rtol=0, atol=1e-11)
        project = lambda v: jnp.vdot(jnp.arange(9.0), (v @ jnp.linalg.inv(v)).real)  # V V^-1 = 1, whatever a
        whole = grad(lambda a: project(eig(a).eigenvectors))
        np.testing.assert_allclose(whole(one), np.zeros((3, 3)), rtol=0, atol=3 * 8 * _EPS)
        assert not np.isfinite(grad(lambda a: eig(a).eigenvectors[0, 1].real)(one)).all()


def test_a_matrix_without_a_basis_of_eigenvectors_is_not_hidden():
    """One of the eigenvalues of a Jordan block moves as the root of the change; so does the gradient of its rounding."""
    with jax.enable_x64(True):
        slope = grad(lambda a: eig(a).eigenvalues[0].real)(np.array([[1.0, 1.0], [0.0, 1.0]]))
    assert not np.max(np.abs(slope)) < 1e7  # one over the root of a rounding, at the least


def test_components_of_one_size():
    """A quarter of a turn, whose vectors are (1, i) and (1, -i): |w|^2 is the determinant, and no |v_i| moves with a scale."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            grad(lambda a: jnp.sum(jnp.abs(eig(a)[0]) ** 2))(turn), 2 * turn, rtol=0, atol=8 * _EPS
        )
        sizes = grad(lambda a: jnp.sum(jnp.abs(eig(a).eigenvectors[0]) ** 2))(turn)
    # |v_0|^2 = -a01 / (a10 - a01) of each of the two vectors, at a01 = -1, a10 = 1, and on the diagonal even
    np.testing.assert_allclose(sizes, [[0.0, -0.5], [-0.5, 0.0]], rtol=0, atol=8 * _EPS)
