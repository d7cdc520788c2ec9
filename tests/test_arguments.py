"""The argument language of `--args`: what it draws, and how it refuses what it does not know."""

from functools import partial

import jax
import ml_dtypes
import numpy as np
import pytest

from backproplab.arguments import parse_arguments


def take(x):
    return x


def two(x, y=2.0):
    return x * y


def many(*parts):
    return sum(parts)


def by_keyword(x, *, flag):
    return x if flag else -x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def power(x, exponent):
    return x**exponent


def drawn(text, fn=take, dtype="float32"):
    """The first argument that `text` describes, as it is handed over in `dtype`."""
    return parse_arguments(fn, text).arguments(0, dtype)[0]


@pytest.mark.parametrize("written, shape", [("f32[8,5]", (8, 5)), ("f32[8]", (8,)), ("f32", ()), ("f32[()]", ()), ("f32[0,3]", (0, 3))])  # fmt: skip
def test_shapes(written, shape):
    """Any rank, a scalar in two ways, and empty axes."""
    assert drawn(f"x={written}").shape == shape


def test_floats_are_drawn_and_differentiated():
    """f32 draws different numbers per argument and seed, in the dtype that is verified, and they are differentiated."""
    case = parse_arguments(two, "x=f32[50], y=f32[50]")
    x, y = case.arguments(0)
    assert case.argnums == (0, 1) and x.dtype == np.float32
    assert not np.array_equal(x, y) and not np.array_equal(x, case.arguments(1)[0])
    assert abs(x.mean()) < 5 / np.sqrt(50) and 0.5 < x.std() < 1.5  # five standard errors of the mean


@pytest.mark.parametrize(
    "written, dtypes",
    [("f32", ("float64", "float32")), ("f64", ("float64",)), ("bf16", ("float64", "bfloat16")), ("f16", ("float64", "float16"))],
)  # fmt: skip
def test_dtypes_that_are_verified(written, dtypes):
    """The formula in float64, then the arithmetic in the dtype that was asked for."""
    assert parse_arguments(take, f"x={written}[3]").dtypes == dtypes


def test_mixed_precision():
    """bf16 among f32 stays bf16 where float32 is verified, and is exact in float64."""
    case = parse_arguments(two, "x=bf16[3], y=f32[3]")
    assert [a.dtype for a in case.arguments(0, "float32")] == [ml_dtypes.bfloat16, np.float32]
    assert [a.dtype for a in case.arguments(0, "float64")] == [np.float64, np.float64]
    assert case.dtypes == ("float64", "float32")


def test_scales():
    """* + - / with a number on either side, nested, and abs."""
    plain = drawn("x=f32[20]", dtype="float64")
    for written, expected in {
        "f32[20]*100": plain * 100,
        "100*f32[20]": plain * 100,
        "f32[20]+3": plain + 3,
        "1-f32[20]/4": 1 - plain / 4,
        "abs(f32[20])": np.abs(plain),
        "abs(f32[20])*1e-3+0.5": np.abs(plain) * 1e-3 + 0.5,
        "-1*f32[20]": -plain,
    }.items():
        np.testing.assert_array_equal(drawn(f"x={written}", dtype="float64"), expected)


def test_integers():
    """Whole numbers below their bound, 0 and 1 without one, in their dtype, and not differentiated."""
    labels = drawn("x=i32[300]<10")
    assert labels.dtype == np.int32 and set(labels) == set(range(10))
    assert set(drawn("x=u8[50]")) == {0, 1} and drawn("x=u8[50]").dtype == np.uint8
    assert drawn("x=i8[300]<128").max() <= 127
    assert parse_arguments(two, "x=i32[3]<10, y=f32[3]").argnums == (1,)


def test_masks_and_keys():
    """bool draws a mask, key a PRNG key."""
    assert drawn("x=bool[50]").dtype == bool and 0 < drawn("x=bool[50]").sum() < 50
    assert jax.dtypes.issubdtype(drawn("x=key").dtype, jax.dtypes.prng_key)


def test_constants():
    """A constant is kept, and differentiated only if nothing is drawn; strings and None are handed over."""
    case = parse_arguments(two, "x=f32[3], y=0.1")
    assert case.argnums == (0,) and case.arguments()[1] == np.float32(0.1)
    assert parse_arguments(two, "x=4.0, y=-3.0").argnums is None
    assert parse_arguments(two, "x='sum', y=None").args == ("sum", None)


def test_pytrees():
    """Dictionaries, lists and tuples of everything else."""
    tree = drawn('x={"w": f32[5,6], "b": [f32[6], i32[2]<3], "c": (True, 2.5), "d": {0: {}}}')
    assert tree["w"].shape == (5, 6) and tree["b"][0].shape == (6,) and tree["b"][1].dtype == np.int32
    assert tree["c"] == (True, 2.5) and tree["d"] == {0: {}}
    assert not np.array_equal(tree["w"][0], tree["b"][0])


def test_places_of_arguments():
    """By name in any order; what has a default may be left out, but not before what is given; *parts takes a list."""
    assert [a.shape for a in parse_arguments(two, "y=f32[2], x=f32[3]").arguments()] == [(3,), (2,)]
    assert len(parse_arguments(two, "x=f32[3]").args) == 1
    assert len(parse_arguments(many, "parts=[f32[2], f32[2], f32[2]]").args) == 3
    assert len(parse_arguments(many, "parts=f32[2]").args) == 1


def test_line_breaks():
    """Arguments may be written over several lines, as shells let one do."""
    assert len(parse_arguments(two, "x=f32[3],\n   y=f32[3]\n").args) == 2


def test_static_arguments():
    """A static argument takes a constant as it is."""
    assert parse_arguments(power, "x=f32[3], exponent=3").arguments()[1] == 3
    for array in ("f32", "i32[2]<3", "key", "bool[2]"):
        with pytest.raises(ValueError, match="'exponent' is static in power: give a constant"):
            parse_arguments(power, f"x=f32[3], exponent={array}")


@pytest.mark.parametrize(
    "written, words",
    [
        ("x=f32[3", "does not parse"),
        ("x=f32[3])", "does not parse"),
        ("x=", "does not parse at (its end|'x=')"),
        ("x=f32[3],,", "does not parse at ','"),
        ("class=f32", "does not parse"),
        ("x=f32[]", "does not parse"),
        ("f32[3]", "wants names and values"),
        ("**{'x': 1}", "wants names and values"),
        ("x=1)(x=2", "wants names and values"),
        ("x=1) + f(x=2", "wants names and values"),
        ("x=f32, x=f32", "gives 'x' twice|keyword argument repeated"),
        ("", "leaves out 'x', which take needs"),
        ("z=f32", "take has no argument 'z': it takes x"),
        ("x=f32[-1]", "'-1' is no shape"),
        ("x=f32[1.5]", "'1.5' is no shape"),
        ("x=f32[True]", "'True' is no shape"),
        ("x=f32[n]", "'n' is no shape"),
        ("x=f32[1:2]", "'1:2' is no shape"),
        ("x=f32[99999,99999]", "more numbers than a machine holds"),
        ("x=f33[3]", "does not know the type 'f33'"),
        ("x=f32[3]<4", "f32 has no upper bound"),
        ("x=i32[3]<0", "a whole number from 1 to 2147483648"),
        ("x=i32[3]<2.5", "a whole number from 1"),
        ("x=i32[3]<1e400", "a whole number from 1"),
        ("x=i8[3]<1000", "a whole number from 1 to 128"),
        ("x=i32[3]<'a'", "is no number"),
        ("x=i32<10", "does not know 'i32 < 10'"),
        ("x=3<i32[4]", "does not know"),
        ("x=1<2<3", "does not know"),
        ("x=f32[3]**2", "does not know"),
        ("x=f32[3]/0", "does not know"),
        ("x=f32[3]*1e999", "write a drawn array and a number"),
        ("x=f32[3]*1j", "write a drawn array and a number"),
        ("x=f32[3]+'a'", "write a drawn array and a number"),
        ("x=f32[3]*[1]", "write a drawn array and a number"),
        ("x=f32[3]+f32[3]", "write a drawn array and a number"),
        ("x=1/0", "write a drawn array and a number"),
        ("x=key+1", "write a drawn array and a number"),
        ("x=abs(key)", "does not know"),
        ("x=abs(3)", "does not know"),
        ("x=exp(f32[3])", "does not know"),
        ("x=__import__('os').getcwd()", "does not know"),
        ("x=lambda: 1", "does not know"),
        ("x={**{}}", "all strings or all whole numbers"),
        ("x=[*[1]]", "does not know"),
        ("x={f32: 1}", "all strings or all whole numbers"),
        ("x={'a': f32, 1: f32}", "all strings or all whole numbers"),
        ("x={'a': 1, 1: 2.0}", "all strings or all whole numbers"),
    ],
)
def test_what_is_refused(written, words):
    """One line that quotes what is wrong; nothing is run."""
    with pytest.raises(ValueError, match=words) as refused:
        parse_arguments(take, written)
    assert "\n" not in str(refused.value)


def test_keyword_only_arguments():
    """What goes by keyword only cannot be given by position: said, whether it is given or left out."""
    for written in ("x=f32[3]", "x=f32[3], flag=True"):
        with pytest.raises(ValueError, match="'flag' of by_keyword goes by keyword only"):
            parse_arguments(by_keyword, written)


def test_values_that_overflow():
    """What is too large for the dtype becomes infinite without a warning; the verdict tells of it."""
    assert np.isinf(drawn("x=f32[3]*1e300")).all()
