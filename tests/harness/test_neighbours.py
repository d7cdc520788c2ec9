"""Other points: inside the domain, of the same types, and what they are for is among them."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab import Case, normal
from backproplab.case import booleans, integers, uniform
from backproplab.harness.evaluated import evaluated
from backproplab.harness.neighbours import neighbours
from backproplab.harness.point import point


def around(fn, *args, **fields):
    p = point(Case(fn, args, **fields), 0, "float64", jax.devices("cpu")[0], 0.0)
    return p, list(neighbours(p, 0))


def test_signs_zeros_ties_scales_and_infinities():
    """The places where real bugs live."""
    _, found = around(lambda x: x * x, normal(4, 5))
    points = [n.diff[0] for n in found]
    assert any(np.all(x == 0) for x in points)
    assert any(0 < np.sum(x == 0) < x.size for x in points)
    assert any(np.all(x == x.flat[0]) and x.flat[0] != 0 for x in points)
    assert any(np.all(x[:, :1] == x) and len(np.unique(x)) > 1 for x in points)
    assert {np.sign(np.min(x)) for x in points if np.all(x > 0) or np.all(x < 0)} == {-1, 1}
    assert any(
        np.max(np.abs(x)) > 100 * np.min(np.abs(x)) > 0 and n.words.endswith("many sizes")
        for n, x in zip(found, points)
    )
    sizes = [np.max(np.abs(x[np.isfinite(x)])) for x in points]
    assert min(s for s in sizes if s) < 1e-5 and max(sizes) > 1e3
    assert any(np.isneginf(x).sum() == 1 for x in points) and any(np.isposinf(x).sum() == 1 for x in points)


def test_complex_numbers_get_phases():
    """Numbers that are real by chance hide a conjugate that is missing."""
    _, found = around(lambda z: z * z, np.arange(1.0, 4.0) + 0j)
    (turned,) = (n.diff[0] for n in found if "phases" in n.words)
    assert np.all(turned.imag != 0)
    np.testing.assert_allclose(np.abs(turned), np.arange(1.0, 4.0), rtol=1e-14)


def test_an_interval_is_kept():
    """Probabilities stay probabilities."""
    _, found = around(lambda p: p * (1 - p), uniform(0.1, 0.9, 6), domain={0: (0.0, 1.0)})
    assert found
    for n in found:
        assert np.all((n.diff[0] > 0) & (n.diff[0] < 1)), n.words
    (near,) = (n.diff[0] for n in found if n.words.endswith("near 1"))
    assert np.max(near) > 0.99 and np.max(1 - near) > 5 * np.min(1 - near)


def test_near_the_numbers_that_the_program_compares_with():
    """On both sides of them, of either sign; where the interval allows it."""
    clipped = lambda x: jnp.clip(x, -6.0, 6.0)
    _, found = around(clipped, np.linspace(-1, 1, 12))
    (near,) = (n.diff[0] for n in found if n.words == "with x near 6")
    assert np.all((np.abs(near) > 3) & (np.abs(near) < 9)) and {-1, 1} == set(np.sign(near))
    assert len({*(np.abs(near) > 6)}) == 2
    _, found = around(clipped, uniform(0.1, 0.9, 6), domain={0: (0.0, 1.0)})
    assert not any("near 6" in n.words for n in found)


def test_arguments_that_are_all_the_same():
    """A distance of nothing; only those of one shape can be."""
    _, found = around(lambda x, y, z: x - y + z.sum(), normal(3), normal(3), normal(2))
    (same,) = (n.diff for n in found if n.words.endswith("equal to the first"))
    assert np.array_equal(same[0], same[1]) and same[2].shape == (2,)


def test_signals_in_other_units():
    """What is not differentiated and has both signs is scaled with the rest; weights and what is fixed are not."""
    args = (np.ones(3), np.array([-1.0, 0.5, 2.0]), np.array([0.5, 0.25, 0.25]), np.array([-1.0, 1.0, 0.0]))
    _, found = around(lambda x, s, w, r: x * s * w * r, *args, argnums=(0,), domain={3: "fixed"})
    scaled = [n for n in found if "not differentiated" in n.words]
    assert [n.diff[0][0] for n in scaled] == [n.rest[0][2] / 2 for n in scaled] == [1e-3, 10.0]
    assert all(np.array_equal(n.rest[1], args[2]) and np.array_equal(n.rest[2], args[3]) for n in scaled)


def test_masked_entries_stay():
    """-inf hides an entry, its absolute value would hide all others."""
    _, found = around(lambda x: x, np.array([-np.inf, -1.0, 2.0]))
    assert found and all(np.isneginf(n.diff[0][0]) for n in found)


def test_what_is_fixed_is_not_moved():
    """A positive definite matrix scaled by random signs is none."""
    a = np.eye(3)
    _, found = around(lambda a, x: a @ x, a, normal(3), domain={0: "fixed"})
    assert found and all(np.array_equal(n.diff[0], a) for n in found)


def test_masks_and_whole_numbers():
    """All true, all false, inverted; all the smallest, all the largest, reversed; never outside what was given."""
    _, found = around(lambda x, mask, ids: x[ids] * mask, normal(7), booleans(4), integers(0, 7, 4))
    masks, ids = zip(*[n.rest for n in found])
    assert any(m.all() for m in masks) and any(not m.any() for m in masks)
    assert all(i.min() >= 0 and i.max() < 7 for i in ids)
    _, found = around(lambda x, ids: x[ids], normal(7), np.array([5, 5, 5, 5]))
    assert any(len(set(n.rest[0])) > 1 and n.rest[0].min() >= 0 and n.rest[0].max() <= 5 for n in found)
    assert sum(len(np.unique(i)) == 1 for i in ids) >= 2


def test_masks_that_were_all_the_same():
    """What is masked nowhere, or everywhere, is masked in places, too; a mask of floats as well."""
    masked = lambda x, mask, weights: jnp.where(mask, x, 0.0) * weights
    _, found = around(masked, normal(6), np.ones(6, bool), np.ones(6), argnums=(0,))
    (some,) = (n.rest for n in found if n.words == "with masks at random")
    for mask, kind in zip(some, "bf"):
        assert mask.dtype.kind == kind and 0 < np.sum(mask) < 6


def test_rows_of_zeros():
    """Some rows vanish, others do not: what a norm divides by."""
    _, found = around(lambda x: x * x, normal(4, 5))
    (rows,) = (n.diff[0] for n in found if n.words == "with x zero in some rows")
    assert {*np.any(rows != 0, 1)} == {True, False} and {*np.sum(rows != 0, 1)} == {0, 5}


def test_types_stay():
    """The compiled program serves every neighbour."""
    p, found = around(lambda x, y: x * y.sum(), normal(3), normal(2, 2))
    for n in found:
        assert [(x.shape, x.dtype) for x in n.diff] == [(x.shape, x.dtype) for x in p.view.diff], n.words


def test_offsets_stay():
    """Others would leave rows out; numbers that end elsewhere are no offsets."""
    for ends, moves in ((9, False), (8, True)):
        _, found = around(lambda x, offsets: x * offsets[1], normal(9), np.array([0, 4, ends]))
        assert any(n.words.endswith("in reverse") for n in found) == moves


def test_arguments_that_meet():
    """A point that is a centre, a score at its margin; where the domain allows it, and the others stay."""
    distances = lambda x, c, margin: jnp.abs(x[:, None] - c).sum() + margin
    _, found = around(distances, normal(5, 2), normal(3, 2), np.array(0.5), argnums=(0, 1))
    (met,) = (n.diff for n in found if n.words == "with x meeting c")
    assert np.array_equal(met[0][[0, -1]], met[1][[0, -1]]) and len(np.unique(met[0])) == 10
    assert any(n.words == "with c meeting x" for n in found)
    _, found = around(lambda x, margin: jnp.maximum(x, margin), normal(5), np.array(0.5))
    (met,) = (n.diff for n in found if n.words == "with x meeting margin")
    assert met[0][0] == met[0][-1] == met[1] != met[0][1]
    _, found = around(lambda x, m: x - m, uniform(0, 1, 5), np.array(2.0), domain={0: (0.0, 1.0)})
    assert not any("meeting" in n.words and "x meeting" in n.words for n in found)


def test_equal_eigenvalues():
    """Of a square matrix; other arrays have none."""
    _, found = around(lambda a, b: a @ b, normal(2, 3, 3), normal(3, 4))
    (unit,) = (n.diff for n in found if n.words.endswith("unit matrices"))
    assert np.array_equal(unit[0], np.broadcast_to(np.eye(3), (2, 3, 3)))


def test_larger_whole_numbers():
    """As far as there is room for them: a place in a table, a count, a count that has only so many terms."""
    of = lambda found, place: [np.max(n.rest[place]) for n in found if "up to" in n.words or "larger" in n.words]
    _, found = around(lambda x, ids: x[ids], normal(9), np.array([0, 1, 1]))
    assert of(found, 0) == [8]
    _, found = around(lambda x, k: x * k, normal(3), np.array([0, 1, 2]))
    assert of(found, 0) == [12, 258] and all(np.all(np.diff(n.rest[0]) >= 0) for n in found if "up to" in n.words)
    _, found = around(lambda x, k: x * k, normal(3), np.array([0, 1, 2]), domain={1: (-1.0, 20.0)})
    assert of(found, 0) == [12]
    _, found = around(lambda x, k: x * k, normal(3), np.array([0, 1, 2]), domain={1: "fixed"})
    assert of(found, 0) == []
    _, found = around(lambda x, k: x * k, normal(3), np.array([0, 1, 100], np.int8))
    assert of(found, 0) == [127]  # of those that there are


def test_lengths_of_nothing():
    """Where none is 0, and 0 is legal."""
    masked = lambda x, n: jnp.where(jnp.arange(4) < n, x, 0)
    has = lambda n, **fields: any(np.all(m.rest[0] == 0) for m in around(masked, normal(4), n, **fields)[1])
    assert has(np.array(4)) and has(np.array([3, 1, 4, 2]))
    assert not has(np.array(4), domain={1: (0.0, 5.0)})


def test_no_infinity_for_singular_values():
    """At one LAPACK may not return, and asked for the value there numpy's way is NaN."""
    values = lambda x: jnp.linalg.svd(x, compute_uv=False)
    infinite = lambda fn: [n for n in around(fn, normal(4, 3))[1] if np.isinf(n.diff[0]).any()]
    assert infinite(lambda x: x * 2) and not infinite(values)
    with jax.enable_x64(True):
        (s,) = evaluated(jax.make_jaxpr(values)(np.ones((4, 3))), [np.full((4, 3), -np.inf)])
    assert s.shape == (3,) and np.isnan(s).all()


def test_whole_numbers_that_mean_something_else():
    """An id that the function leaves out is put in some places, and in no other way than within the declared domain."""
    summed = lambda x, ids: jnp.sum(jnp.where((ids >= 0)[:, None], x[jnp.clip(ids, 0)], 0))
    ids = np.array([1, 0, 2, 2], np.int32)
    _, found = around(summed, normal(3, 2), ids)
    (padded,) = (n for n in found if n.words == "with ids -1 in places")
    assert set(padded.rest[0]) > {-1} and set(padded.rest[0]) <= {-1, *ids}
    _, found = around(summed, normal(3, 2), ids, domain={1: (-0.5, 2.5)})
    assert not any("-1 in places" in n.words for n in found)
