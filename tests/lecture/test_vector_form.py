"""Back-propagation, unit by unit and in vectors. Lecture L12, L14, L15, rows S7-S10, S19, S20, S23."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled, grad, pull, pulled

from backproplab import strip, verify
from backproplab.layers.activations import relu, sigmoid, tanh
from backproplab.layers.affine import affine, squared_norm_of_linear
from backproplab.layers.losses import sigmoid_binary_cross_entropy, softmax, square_error

pytestmark = pytest.mark.usefixtures("float64")
FULL = {"rtol": 1e-12, "atol": 1e-14}  # float64: some hundred roundings of 1e-16, and room for cancellation


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape) for shape in shapes]


def layers(sizes):
    return [tuple(draw((i, o), (o,), seed=number)) for number, (i, o) in enumerate(itertools.pairwise(sizes))]


# f and its derivative, as the lecture has them
SCALAR = {
    sigmoid: (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    tanh: (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}


def unit_by_unit(network, x, d, f, slope):
    """The lecture's recursion for 1/2 ||y - d||^2, with nothing but loops: gradients of w and b per layer, and of x.

    delta[j] is the gradient at the output of unit j. It goes through the unit's activation, to each of its weights times
    the weight's input, and to each unit before it times the weight between; there, the deltas of all paths add.
    """
    y, z = [list(x)], [None]
    for w, b in network:
        z.append([sum(w[i, j] * y[-1][i] for i in range(len(w))) + b[j] for j in range(len(b))])
        y.append([f(z_j) for z_j in z[-1]])
    delta = [y_j - d_j for y_j, d_j in zip(y[-1], d)]
    gradients = []
    for l in range(len(network), 0, -1):
        w, b = network[l - 1]
        dw, db, before = np.zeros(w.shape), np.zeros(b.shape), [0.0] * len(w)
        for j in range(len(b)):
            db[j] = delta[j] * slope(z[l][j])
            for i in range(len(w)):
                dw[i, j] = delta[j] * slope(z[l][j]) * y[l - 1][i]
                before[i] += delta[j] * slope(z[l][j]) * w[i, j]
        gradients.insert(0, (dw, db))
        delta = before
    return gradients, delta


@pytest.mark.parametrize("activation, sizes", [(sigmoid, (3, 4, 2)), (tanh, (2, 3, 5, 4, 3))])
def test_L12_S19_the_delta_recursion(activation, sizes):
    """Unit by unit, by the pages, by autodiff of the pages without their rules, by autodiff of plain JAX: one gradient."""
    network = layers(sizes)
    x, d = draw((sizes[0],), (sizes[-1],), seed=9)

    def loss(network, x):
        for w, b in network:
            x = activation(affine(x, w, b))
        return square_error(x, d)

    def plain(network, x):
        for w, b in network:
            x = {sigmoid: jax.nn.sigmoid, tanh: jnp.tanh}[activation](x @ w + b)
        return jnp.sum((x - d) ** 2) / 2

    gradients, at_input = unit_by_unit(network, x, d, *SCALAR[activation])
    right = (gradients, np.array(at_input))
    for way in (loss, strip(loss), plain):
        got = jax.jit(jax.grad(way, argnums=(0, 1)))(network, x)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(one, other, **FULL)


def test_S19_one_layer_in_formulas():
    """z = w^T y + b: dz = f'(z) times what comes back, dw_ij = y_i dz_j, dy_i = sum_j w_ij dz_j, db = dz."""
    y, w, b, back = draw((3,), (3, 2), (2,), (2,))
    dz = SCALAR[sigmoid][1](y @ w + b) * back
    dy, dw, db = jax.jit(lambda *args: jax.vjp(lambda *a: sigmoid(affine(*a)), *args)[1](back))(y, w, b)
    np.testing.assert_allclose(dw, [[y[i] * dz[j] for j in range(2)] for i in range(3)], **FULL)
    np.testing.assert_allclose(dy, [sum(w[i, j] * dz[j] for j in range(2)) for i in range(3)], **FULL)
    np.testing.assert_allclose(db, dz, **FULL)


def test_S19_binary_outputs_start_the_recursion_with_s_minus_d():
    """N binary outputs: the delta at the weighted sums is s - d, entry by entry, and goes on from there as ever."""
    y, w, b = draw((3,), (3, 2), (2,))
    d = np.array([0.0, 1.0])
    loss = lambda w, b: jnp.sum(sigmoid_binary_cross_entropy(affine(jnp.asarray(y), w, b), d))
    dw, db = jax.jit(jax.grad(loss, argnums=(0, 1)))(w, b)
    delta = 1 / (1 + np.exp(-(y @ w + b))) - d
    np.testing.assert_allclose(db, delta, **FULL)
    np.testing.assert_allclose(dw, np.outer(y, delta), **FULL)


@pytest.mark.parametrize("activation", [sigmoid, relu])
def test_L14_S20_a_scalar_activation_has_a_diagonal_jacobian(activation):
    """Each output depends on its own input alone."""
    (z,) = draw((4,))
    jacobian = jax.jit(jax.jacobian(activation))(z)
    np.testing.assert_array_equal(jacobian, np.diag(np.diag(jacobian)))
    slopes = SCALAR[sigmoid][1](z) if activation is sigmoid else z > 0
    np.testing.assert_allclose(np.diag(jacobian), slopes, **FULL)


def test_L14_S20_a_vector_activation_has_a_full_one():
    """dz_i = sum_j dy_j dy_j/dz_i, written out for softmax, whose entries are y_i (delta_ij - y_j)."""
    z, dy = draw((4,), (4,))
    y = np.exp(z) / np.exp(z).sum()
    entry = lambda i, j: y[i] * ((i == j) - y[j])
    jacobian, (dz,) = jax.jit(lambda z: (jax.jacobian(softmax)(z), jax.vjp(softmax, z)[1](dy)))(z)
    np.testing.assert_allclose(jacobian, [[entry(i, j) for j in range(4)] for i in range(4)], **FULL)
    assert (np.abs(jacobian) > 0).all()
    np.testing.assert_allclose(dz, [sum(dy[j] * entry(j, i) for j in range(4)) for i in range(4)], **FULL)


def test_L14_S23_the_vector_chain_rule_has_an_order():
    """A gradient is a row, and Jacobians are multiplied to its right, from the loss back; the other way does not fit."""
    x, w1, w2 = draw((4,), (4, 3), (3, 2))
    zeros = np.zeros(3), np.zeros(2)
    loss = lambda x: square_error(softmax(affine(sigmoid(affine(x, w1, zeros[0])), w2, zeros[1])), jnp.ones(2))
    z1 = x @ w1
    z2 = SCALAR[sigmoid][0](z1) @ w2
    y = np.exp(z2) / np.exp(z2).sum()
    row = (y - 1) @ (np.diag(y) - np.outer(y, y)) @ w2.T @ np.diag(SCALAR[sigmoid][1](z1)) @ w1.T
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), row, **FULL)
    with pytest.raises(ValueError, match="mismatch"):
        w1.T @ np.diag(SCALAR[sigmoid][1](z1)) @ w2.T


def test_L14_a_gradient_has_the_shape_of_its_argument():
    """Every argument of the affine page; and a rule that returns another shape is refused, with both named."""
    x, w, b = draw((5, 3), (3, 2), (2,))
    gradients = grad(lambda *args: jnp.sum(affine(*args)), (0, 1, 2))(x, w, b)
    assert [g.shape for g in gradients] == [(5, 3), (3, 2), (2,)]
    turned = jax.custom_vjp(lambda x, w: x @ w)
    turned.defvjp(lambda x, w: (x @ w, (x, w)), lambda r, dy: ((dy @ r[1].T).T, r[0].T @ dy))
    verdict = verify(turned, x, w, dtypes=("float64",))
    assert (verdict.status, verdict.argument) == ("fail", "x")
    assert verdict.cause == "the cotangent has shape (3, 5), the argument (5, 3)"


def test_S23_both_layouts():
    """The lecture's columns, z = W y + b: the gradient at y is the row dz W, and that of W, laid out turned, y dz.

    The lab has rows, z = y w + b with w = W^T, whose gradient has the layout of w: the step W - rate (y dz)^T is the same.
    """
    y, matrix, b, dz = draw((3,), (2, 3), (2,), (2,))
    dy, dw, db = jax.jit(lambda *args: jax.vjp(affine, *args)[1](dz))(y, matrix.T, b)
    np.testing.assert_allclose(dy, (dz[None, :] @ matrix)[0], **FULL)
    np.testing.assert_allclose(dw, y[:, None] @ dz[None, :], **FULL)
    np.testing.assert_array_equal(db, dz)
    columns = grad(lambda matrix: jnp.vdot(dz, matrix @ y + b))(matrix)
    np.testing.assert_allclose(matrix - 0.1 * (y[:, None] @ dz[None, :]).T, matrix - 0.1 * columns, **FULL)


def test_S7_matrix_product():
    """D = W X with 5 x 10 and 10 x 3: dW = dD X^T, dX = W^T dD."""
    w, x, dd = draw((5, 10), (10, 3), (5, 3))
    d, *gradients = pulled(lambda w, x: affine(w, x, np.zeros(3)))(dd, w, x)
    np.testing.assert_allclose(d, w @ x, **FULL)
    for got, right in zip(gradients, (dd @ x.T, w.T @ dd), strict=True):
        np.testing.assert_allclose(got, right, **FULL)


def test_L15_S8_squared_norm_of_a_linear_map():
    """f = ||W x||^2 at the lecture's numbers: q, f, dq, dW = 2 q x^T and dx = 2 W^T q."""
    w, x = np.array([[0.1, 0.5], [-0.3, 0.8]]), np.array([0.2, 0.4])
    q = w @ x
    np.testing.assert_allclose(q, [0.22, 0.26], rtol=1e-15)
    np.testing.assert_allclose(grad(lambda q: squared_norm_of_linear(q, np.eye(2)))(q), [0.44, 0.52], rtol=1e-15)
    f, (dx, dw) = jax.jit(jax.value_and_grad(squared_norm_of_linear, argnums=(0, 1)))(x, w)
    assert float(f) == pytest.approx(0.116, rel=1e-15)
    np.testing.assert_allclose(dw, [[0.088, 0.176], [0.104, 0.208]], rtol=1e-14)
    np.testing.assert_allclose(dx, [-0.112, 0.636], rtol=1e-14)
    np.testing.assert_allclose(dw, 2 * np.outer(q, x), rtol=1e-14)


def test_S9_derivative_gradient_jacobian():
    """Scalar to scalar, vector to scalar, vector to vector: a number, a vector, an M x N matrix; each chains."""
    (z,) = draw((3,))
    x, w = np.array([0.5, -1.0]), draw((2, 3), seed=1)[0]
    assert jax.grad(sigmoid)(0.5).shape == ()
    assert grad(squared_norm_of_linear)(z, np.eye(3)).shape == (3,)
    inner = lambda x: affine(x, w, np.zeros(3))
    first, second, both = (
        jax.jit(jax.jacobian(f))(at) for f, at in ((inner, x), (softmax, x @ w), (lambda x: softmax(inner(x)), x))
    )
    assert (first.shape, second.shape) == ((3, 2), (3, 3))
    np.testing.assert_allclose(both, second @ first, **FULL)


def test_S9_generalised_jacobian():
    """Tensor to tensor: (N x M) x (N x D) numbers, indexed by an output's indices and an input's. Small steps: dy = J dx,
    summed over the input's indices; back: dx = dy J, summed over the output's, which is dy w^T without J.
    """
    x, w, dx, dy = draw((2, 3), (3, 4), (2, 3), (2, 4))
    f = jax.jit(lambda x: affine(x, w, np.zeros(4)))
    jacobian = np.asarray(jax.jit(jax.jacobian(f))(x))
    assert jacobian.shape == (2, 4, 2, 3)
    step, back = np.zeros((2, 4)), np.zeros((2, 3))
    for j in np.ndindex(2, 4):
        for i in np.ndindex(2, 3):
            step[j] += jacobian[j + i] * dx[i]
            back[i] += dy[j] * jacobian[j + i]
            assert jacobian[j + i] == (w[i[1], j[1]] if i[0] == j[0] else 0)  # rows have nothing to do with each other
    np.testing.assert_allclose(f(x + dx), f(x) + step, **FULL)  # of any size, since f is linear
    np.testing.assert_allclose(jax.vjp(f, x)[1](dy)[0], back, **FULL)


def test_S9_the_jacobian_is_never_formed():
    """N = 64, D = M = 4096: it would have (64 4096)^2 numbers, 256 GiB of float32. The rule is content with little more
    than its arguments and results, in the compiled program at that very size.
    """
    n, d, m = 64, 4096, 4096
    assert n * m * n * d == 68_719_476_736
    assert n * m * n * d * 4 == 256 * 2**30
    x, w, b, dy = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((n, d), (d, m), (m,), (n, m)))
    back = jax.jit(lambda x, w, b, dy: jax.vjp(affine, x, w, b)[1](dy))
    memory = back.lower(x, w, b, dy).compile().memory_analysis()
    arguments = 4 * (n * d + d * m + n * m)
    assert memory.output_size_in_bytes + memory.temp_size_in_bytes < 2 * arguments


def test_S10_linear_layer_element_by_element():
    """Y = X W with N = D = 2, M = 3: what one element of X changes, and the two gradients, in numbers."""
    x, w = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0, -1], [2, 1, 0]])
    dy = np.array([[1.0, 2, 3], [4, 5, 6]])
    linear = lambda x, w: affine(x, w, np.zeros(3))
    jacobian, (_, dx, dw) = compiled(lambda *args: (jax.jacobian(linear)(*args), pull(linear)(dy, *args)))(x, w)
    for n, i in np.ndindex(2, 2):
        right = np.zeros((2, 3))
        right[n] = w[i]  # row i of W in row n: x_ni is used there and nowhere else
        np.testing.assert_array_equal(jacobian[:, :, n, i], right)
    assert dx.tolist() == [[-2, 4], [-2, 13]]
    assert dw.tolist() == [[13, 17, 21], [18, 24, 30]]
