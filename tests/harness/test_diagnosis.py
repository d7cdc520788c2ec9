"""From a wrong gradient to its cause: each known mistake is named in words, and nothing is named that is not so."""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import by_hand

from backproplab import verify
from backproplab.harness import explore
from backproplab.harness.diagnosis import diagnose, numbers_in_play

random = np.random.default_rng(0)
RIGHT = random.normal(size=(4, 4))
LINE = random.normal(size=5)
SIZES = {4.0: "the size of axis 0 of x", 7.0: "the number of ones in mask"}


def words(got, right=RIGHT, sizes=SIZES, others=None, suspects=(), arrays=None):
    got = np.asarray(got, np.result_type(right))
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(got - right) <= 1e-12)
    return diagnose("w", got, right, wrong, sizes, others or {}, suspects, arrays or {})


def changed(index, value):
    got = RIGHT.copy()
    got[index] = value
    return got


def scaled(axis, factors):
    shape = [1, 1]
    shape[axis] = len(factors)
    return RIGHT * np.reshape(factors, shape)


SENTENCES = {
    "the gradient of w has the wrong sign": -RIGHT,
    "is zero everywhere (None, dropped or stopped)": 0 * RIGHT,
    "is 0.25 times the right one = 1/4 (the size of axis 0 of x): a mean where the sum is right": RIGHT / 4,
    "is 4 times the right one = 4 (the size of axis 0 of x): a sum where the mean is right": RIGHT * 4,
    "is 1.75 times the right one = 7/4 (the number of ones in mask over the size of axis 0 of x)": RIGHT * 7 / 4,
    "is 0.03571429 times the right one = 1/(4 x 7)": RIGHT / 28,
    "is 0.3779645 times the right one = 1/sqrt(7) (the number of ones in mask)": RIGHT / np.sqrt(7),
    "is 2.645751 times the right one = sqrt(7) (the number of ones in mask)": RIGHT * np.sqrt(7),
    "is 0.5 times the right one = 1/2": RIGHT / 2,
    "is 1.1 times the right one;": RIGHT * 1.1,
    "is (1 - 2e-08) times the right one;": RIGHT * (1 - 2e-8),
    "is 1.000001 times the right one;": RIGHT * 1.000001,
    "is the transpose of the right one": RIGHT.T,
    "is minus the transpose of the right one": -RIGHT.T,
    "is the lower triangle of the right one, the rest zero": np.tril(RIGHT),
    "is the right one folded onto its upper triangle, as of a symmetric matrix": np.triu(RIGHT + RIGHT.T)
    - np.diag(np.diag(RIGHT)),
    "is the right one and its transpose, added: the argument": RIGHT + RIGHT.T,
    "is the right one and its transpose, added, the diagonal counted once": RIGHT + RIGHT.T - np.diag(np.diag(RIGHT)),
    "is the mean of the right one and its transpose": (RIGHT + RIGHT.T) / 2,
    "is wrong in 14 of 16 entries only, where it is 0.25 times the right one = 1/4": RIGHT
    * np.where(np.isin(np.arange(16), (0, 6)).reshape(4, 4), 1, 0.25),
    "is the right one shifted by one along axis 1": np.roll(RIGHT, 1, 1),
    "is the right one in reverse order along axis 0": RIGHT[::-1],
    "is the right one displaced by -1 along axis 0, but for the edge": np.vstack([RIGHT[1:], RIGHT[:1] / 3]),
    "is the right one displaced by +1 along axis 0 and -1 along axis 1, but for the edge": np.pad(RIGHT, 1)[:-2, 2:],
    "is the mean of the right one along axis 1, at every entry": np.broadcast_to(RIGHT.mean(1, keepdims=True), (4, 4)),
    "is the sum of the right one along axis 0, at every entry": np.broadcast_to(RIGHT.sum(0), (4, 4)),
    "is nan in 1 of 16 entries where the right one is finite, at index 2 of axis 0 and index 3 (the last) of axis 1": (
        changed((2, 3), np.nan)
    ),
    "is infinite in 1 of 16 entries": changed((2, 3), np.inf),
    "is zero at index 1 of axis 0": scaled(0, [1, 0, 1, 1]),
    "is with the wrong sign at index 1, 2 of axis 1": scaled(1, [1, -1, -1, 1]),
    "is scaled by a factor 0.5 = 1/2, or 1/sqrt(4) (the size of axis 0 of x) at index 3 of axis 0": scaled(
        0, [1, 1, 1, 0.5]
    ),
    "is scaled by factors of its own each at index 0, 3 of axis 0": scaled(0, [3, 1, 1, 0.5]),
    "has each slice along axis 0 scaled by a factor of its own: a per-row factor": scaled(0, [2, 3, 5, 7]),
    "is wrong in 1 of 16 entries only, at index 1 of axis 0 and index 2 of axis 1": changed((1, 2), 9.0),
    "is off by a term constant along axis 1: a mean or sum over that axis is missing": RIGHT
    + np.array([[0.1], [0.2], [-0.3], [0.4]]),
    "has the wrong sign in 14 of 16 entries;": RIGHT * (2 * np.isin(np.arange(16), (0, 6)).reshape(4, 4) - 1),
    "holds the numbers of the right one at other places": random.permutation(RIGHT.ravel()).reshape(4, 4),
    "a constant such as an epsilon differs": RIGHT * (1 + 1e-5 * random.uniform(0.5, 2, (4, 4))),
    "a small term left out, too few digits, or too few steps": RIGHT * (1 + 2.0**-8 * random.uniform(0.5, 2, (4, 4))),
    "the gradient of w is wrong in 16 of 16 entries; worst at": random.normal(size=(4, 4)),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences(sentence):
    """One mistake, one sentence."""
    assert sentence in words(SENTENCES[sentence])


def test_a_ratio_of_sizes_that_is_a_number_too():
    """Both are said: two sizes may have any ratio."""
    found = diagnose(
        "w", RIGHT * 7 / 4, RIGHT, np.ones((4, 4), bool), {4.0: "m", 7.0: "n"}, {}, (), {"a": np.array(4 / 7)}
    )
    assert "= 7/4 (n over m), or it is the right one without its factor a;" in found


def test_a_region():
    """On one side of a number of an argument's, in its value or its size, if that is no chance; a single entry is one."""
    x, y = np.random.default_rng(1).normal(size=(2, 4, 4))
    top, far = x >= np.sort(x, None)[-4], np.abs(x) >= np.sort(np.abs(x), None)[-5]
    told = words(np.where(top, 9.0, RIGHT), arrays={"x": x})
    assert f"those where x is {x[top].min():.4g} or more (right up to {x[~top].max():.4g})" in told
    told = words(np.where(far, 0.0, RIGHT), arrays={"y": y, "x": x})
    assert "those where |x| is" in told and "or more" in told and told.count("where it is zero") == 1
    told = words(np.where(~far, np.nan, RIGHT), arrays={"x": x})
    assert "is nan in 11 of 16 entries where the right one is finite, those where |x| is" in told and "or less" in told
    assert "those where" not in words(np.where(x == x.max(), 9.0, RIGHT), arrays={"x": x})


def test_outer_products_are_not_scaled_slices():
    """Any two of them are, which says nothing: neither do two columns."""
    one, other = (np.outer(column, [1.0, -2.0, 0.5]) for column in ([3.0, -1.0, 0.3, 2.0], [0.7, 2.0, -1.1, 0.4]))
    for got, right in ((one, other), (one[:, :1], other[:, :1])):
        sentence = diagnose("w", got, right, np.ones(right.shape, bool), {}, {}, (), {})
        assert sentence.startswith("the gradient of w is wrong in"), sentence


def test_worst_entry():
    """Every sentence ends with the entry that is furthest off and what is right there."""
    assert words(changed((1, 2), 100.0)).endswith(f"worst at [1, 2]: 100, right is {RIGHT[1, 2]:.6g}")


def test_nan_is_not_called_wrong_where_the_right_one_is_nan():
    """Where autodiff is not finite either, the sentence does not say that it is."""
    right = np.array([np.nan, 1.0])
    sentence = diagnose("x", np.array([np.nan, 1.0]), right, np.array([True, False]), {}, {}, (), {})
    assert sentence.startswith("the gradient of x is nan in 1 of 2 entries;")


def test_swapped_cotangents():
    """The gradient of another argument of the same shape."""
    assert "is the right gradient of b: two cotangents are swapped" in words(RIGHT**2, others={"b": RIGHT**2})


def test_suspects():
    """The first whose gradient is the wrong one has its sentence said; none, if none is."""
    suspects = [("is one", RIGHT + 1), ("is two", RIGHT + 2), ("is two again", RIGHT + 2)]
    assert words(RIGHT + 2, suspects=suspects).startswith("the gradient of w is two;")
    assert "is wrong" in words(RIGHT**2, suspects=suspects)


def test_a_single_number():
    """It is so many times any other, which says nothing where something else does; a half may be one."""
    told = lambda got, otherwise, suspects=(): diagnose(
        "w", np.array(got), np.array(0.7), np.array(True), {}, {}, suspects, {}, lambda: otherwise
    )
    assert "leaves out a path" in told(0.3, "leaves out a path")
    assert "is one" in told(0.3, "leaves out a path", [("is one", np.array(0.3))])
    assert "times the right one" in told(0.3, None)
    assert "is 0.5 times the right one = 1/2" in told(0.35, "leaves out a path")


def test_some_entries():
    """Where half of the entries or fewer are wrong, what they are times the right ones."""
    wrong = random.permutation(25).reshape(5, 5) < 6
    right = random.normal(size=(5, 5))
    for factor, phrase in ((0.0, "where it is zero"), (-1.0, "where its sign is wrong"), (7.0, "where it is 7 times")):
        assert phrase in words(np.where(wrong, factor * right, right), right)


def test_a_right_gradient_of_zero():
    """Nothing divides by it, and no factor of it is claimed."""
    assert words(RIGHT, 0 * RIGHT).startswith("the gradient of w is wrong in 16 of 16 entries; worst at")


def test_what_is_not_masked():
    """Where the right gradient is zero wherever the two differ, few or many entries: something was not masked."""
    for share in (0.3, 0.8):
        mask = random.permutation(25).reshape(5, 5) >= 25 * share
        sentence = words(np.where(mask, 1.0, random.normal(size=(5, 5))), 1.0 * mask)
        assert "where the right one is zero: a mask, a clip or a comparison is left out; worst" in sentence


def test_a_small_difference_beside_large_ones_is_no_epsilon():
    """Only what is wrong is asked for its size."""
    right = np.array([1.0, 2.0, 0.0, 0.0, 0.0])
    assert "epsilon" not in words(np.array([1 + 1e-13, 2 - 1e-13, 3.0, 4.0, 5.0]), right)


def test_a_small_difference_is_named_by_its_size():
    """What is nearly right nearly is many things: its conjugate, itself in another order, the right one of a suspect."""
    sentence = words(
        RIGHT * (1 + 1e-8 * random.uniform(0.5, 2, (4, 4))),
        suspects=[("is a suspect", RIGHT)],
        arrays={"m": np.ones(4)},
    )
    assert sentence.startswith("the gradient of w is wrong in 16 of 16 entries, by about 1e-08 of their size")


def test_a_conjugate():
    """Of a complex gradient; the conjugate is no wrong sign."""
    right = RIGHT + 1j * RIGHT.T
    assert "is the complex conjugate of the right one" in words(np.conj(right), right)


def test_empty_and_scalar():
    """Arrays without axes or without entries have sentences too."""
    assert "has the wrong sign" in words(-2.0, np.array(2.0))
    assert words(np.zeros((0, 3)), np.zeros((0, 3))).startswith("the gradient of w")


def test_numbers_in_play():
    """Sizes of axes, of whole arrays, and counts of masks, each with what it is; the first name for a number stays."""
    mask = np.array([[True, False, True], [True, True, True]])
    found = numbers_in_play([("x", np.zeros((2, 4))), ("mask", mask)])
    assert found == {
        2.0: "the size of axis 0 of x",
        4.0: "the size of axis 1 of x",
        8.0: "the size of x",
        3.0: "the size of axis 1 of mask",
        5.0: "the number of ones in mask",
        6.0: "the size of mask",
    }
    assert numbers_in_play([("x", np.array(3.0))]) == {}
    found = numbers_in_play([("labels", np.array([3, -1, 0, -1, 2])), ("weights", np.array([0.5, 1.75]))])
    assert found[3.0] == "how many of labels are not negative" and found[2.25] == "the sum of weights"
    assert numbers_in_play((), [("the output", np.array([0.5, 1.75]))]) == {2.0: "the size of axis 0 of the output"}


# --- through verify: the sentence, the argument's path and the line ------------------------------------------------------


def affine(p, x):
    return x @ p["w"] + p["layers"][0]


def fwd(p, x):
    return affine(p, x), (p, x)


def bwd_with(change):
    def bwd(residuals, dy):
        p, x = residuals
        dw = x.T @ dy
        db = dy.sum(0)
        dx = dy @ p["w"].T
        dw, db, dx = change(dw, db, dx, dy)
        return {"w": dw, "layers": [db]}, dx

    return bwd


POINT = {"w": random.normal(size=(3, 3)), "layers": [random.normal(size=3)]}, random.normal(size=(5, 3))
W, B = "p['w']", "p['layers'][0]"

MISTAKES = {
    "sign": (lambda dw, db, dx, dy: (-dw, db, dx), W, "has the wrong sign"),
    "1/N": (
        lambda dw, db, dx, dy: (dw, db / 5, dx),
        B,
        "= 1/5 (the size of axis 0 of x): a mean where the sum is right",
    ),
    "transpose": (lambda dw, db, dx, dy: (dw.T, db, dx), W, "is the transpose of the right one"),
    "zero": (lambda dw, db, dx, dy: (dw, db, jnp.zeros_like(dx)), "x", "is zero everywhere"),
    "some rows": (lambda dw, db, dx, dy: (dw, db, dx.at[1:3].set(0)), "x", "is zero at index 1, 2 of axis 0"),
    "no sum over the batch": (lambda dw, db, dx, dy: (dw, dy[0], dx), B, "contribution of the first example alone"),
    "NaN": (lambda dw, db, dx, dy: (dw.at[0, 1].set(jnp.nan), db, dx), W, "is nan in 1 of 9 entries"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_through_verify(monkeypatch, mistake):
    """The cause in words, the argument with its path, and the line that made the gradient."""
    for other in ("other_points", "other_shapes"):  # what they find is told in the same words
        monkeypatch.setattr(explore, other, lambda *args: ())
    change, argument, phrase = MISTAKES[mistake]
    verdict = verify(by_hand(affine, bwd_with(change), fwd), *POINT, dtypes=("float64",))
    assert verdict.status == "fail"
    assert verdict.argument == argument
    assert phrase in verdict.cause
    assert {check.argument for check in verdict.checks if check.name == "autodiff" and check.status == "fail"} == {
        argument
    }
    file, line = verdict.where.split(":")
    assert file == "test_diagnosis.py"
    changed_at, right_at = change.__code__.co_firstlineno, bwd_with(change).__code__.co_firstlineno
    assert int(line) == changed_at or right_at <= int(line) < right_at + 8


def test_an_ignored_cotangent(monkeypatch):
    """Named by the linearity check: no single right gradient could tell."""
    for other in ("other_points", "other_shapes"):
        monkeypatch.setattr(explore, other, lambda *args: ())
    rule = by_hand(lambda x: x**2, lambda args, dy: (2 * args[0],))
    causes = [check.cause for check in verify(rule, LINE, dtypes=("float64",)).checks if check.status == "fail"]
    assert any(cause.startswith("the incoming cotangent is ignored: the gradient of x is") for cause in causes)
