"""A case: one function at one point, and what is promised of it there.

Samplers make the points. Importing this module touches no device: nothing is drawn before `Case.arguments` is called.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import ml_dtypes
import numpy as np

Sampler = Callable[[jax.Array, np.dtype], Any]
DTYPES = ("float64", "float32")
BUILT_IN_DTYPES = (*DTYPES, "bfloat16")


@dataclass(frozen=True, eq=False)
class Case:
    """`fn` at `args`: complete with these two; everything else says more about what is promised.

    fn: the function, most often a `jax.custom_vjp`; a network or any other JAX function will do.
    args: one entry per positional argument: an array, a sampler `(key, dtype) -> array`, a Python value, or a pytree of
        these. Floating arrays and Python floats take the dtype that is verified (in float32, arrays of 16 bits keep
        theirs); integers, booleans and keys stay what they are. Arguments that the `custom_vjp` declares static (`nondiff_argnums`),
        and Python's own ints and bools, are handed over untouched.
    name: tells several cases of one function apart.
    argnums: positions to differentiate; default: all that hold a floating or complex leaf and are not static.
    reference: plain function whose gradient is the intended one, for a forward pass that autodiff cannot differentiate,
        or together with `by_design`; then it may be a `custom_vjp` function, whose own rule is the right one.
    by_design: the declared gradient is not the derivative of the value (straight-through, a threshold unit);
        `reference` or `expect` says what it is, and finite differences are not consulted.
    kink: the point sits on a kink: any element of the subdifferential passes, and the verdict names the one chosen.
    expect: the exact gradients for a cotangent of ones, one entry per differentiated argument.
    order: how many derivatives are promised, 1 or 2.
    domain: `{argnum: (low, high)}`, the open interval in which inputs may be moved; `{argnum: "fixed"}`: only small
        relative changes are legal.
    residual_bytes: most bytes the forward pass may keep, a number or a function of the arguments.
    dtypes: names of the dtypes to verify in; default: float64 and float32, for built-in functions bfloat16 too.
    """

    fn: Callable
    args: tuple
    name: str = ""
    argnums: tuple[int, ...] | None = None
    reference: Callable | None = None
    by_design: bool = False
    kink: bool = False
    expect: tuple | None = None
    order: int = 1
    domain: Mapping[int, Any] = field(default_factory=dict)
    residual_bytes: int | Callable[..., int] | None = None
    dtypes: tuple[str, ...] | None = None

    def __post_init__(self):
        """A mistake in a list of cases is told where it is written. Raises TypeError or ValueError."""
        if not callable(self.fn):
            raise TypeError(f"Case wants a function first, not {self.fn!r}")
        if not isinstance(self.args, (tuple, list)):
            raise TypeError(
                f"Case of {function_name(self.fn)} wants a tuple of arguments, as in Case(fn, (normal(3),))"
            )
        if self.dtypes is not None and not (self.dtypes and all(map(_is_floating, self.dtypes))):
            raise ValueError(f"Case of {function_name(self.fn)}: no floating dtypes such as float32: {self.dtypes!r}")

    def arguments(self, seed: int = 0, dtype: str = "float32") -> tuple:
        """The arguments as numpy arrays (keys as JAX arrays), floats in `dtype`; the same for the same seed."""
        static = static_argnums(self.fn)
        given = lambda i, arg: i in static or is_setting(arg)
        return tuple(arg if given(i, arg) else _fill(arg, (seed, i), _dtype(dtype)) for i, arg in enumerate(self.args))

    @property
    def id(self) -> str:
        """What names the case in reports, and after `--rerun`."""
        return case_id(function_name(self.fn), self.name)


def dtypes_of(case: Case) -> tuple[str, ...]:
    """The case's dtypes, or the default: built-in functions are held to bfloat16 as well."""
    if case.dtypes is not None:
        return case.dtypes
    return BUILT_IN_DTYPES if module_of(case.fn)[0] == "backproplab" else DTYPES


def case_id(function: str, case: str) -> str:
    """The function, and the case's own name if it has one: softmax[large logits]."""
    return f"{function}[{case}]" if case else function


def static_argnums(fn: Callable) -> tuple[int, ...]:
    """Positions that a `custom_vjp` declares static; JAX's coming custom_vjp (JAX_CUSTOM_VJP3) calls them static too."""
    return tuple(sorted(getattr(fn, "nondiff_argnums", None) or getattr(fn, "static_argnums", None) or ()))


def forward_rule(fn: Callable) -> Callable | None:
    """The `fwd` of a `custom_vjp`; None for other functions."""
    return getattr(fn, "fwd", None) if _is_rule(fn) else None


def backward_rule(fn: Callable) -> Callable | None:
    """The `bwd` of a `custom_vjp`; None for other functions."""
    return getattr(fn, "bwd", None) if _is_rule(fn) else None


def _is_rule(fn: Callable) -> bool:
    """Not so what `functools.wraps` made look like one, as in `jax.vmap`: another function, of the same attributes. `jax.jit`
    of a rule is the same function."""
    inherited = getattr(getattr(fn, "__wrapped__", None), "bwd", None)
    return None not in (getattr(fn, "fwd", None), getattr(fn, "bwd", None)) and (
        inherited is None or hasattr(fn, "lower")
    )


def is_setting(arg: Any) -> bool:
    """Whether an argument is a switch or a count of Python's, which a function may branch on, or take for an axis."""
    return type(arg) in (bool, int)


def function_name(fn: Callable) -> str:
    """The name a reader knows the function by; partials show what they wrap, and networks their module, as in mlp.loss."""
    fn = unwrapped(fn)
    name = getattr(fn, "__name__", type(fn).__name__)
    return f"{page(fn)}.{name}" if "networks" in module_of(fn) else name


def module_of(fn: Callable) -> Sequence[str]:
    """The path of the module that a function is written in: backproplab, layers, losses, hinge."""
    return (getattr(unwrapped(fn), "__module__", None) or "").split(".")


def page(fn: Callable) -> str:
    """The file that a function is written in, without its ending."""
    return module_of(fn)[-1]


def unwrapped(fn: Callable) -> Callable:
    """What a partial application is of."""
    while not hasattr(fn, "__name__") and hasattr(fn, "func"):
        fn = fn.func  # type: ignore[attr-defined]
    return fn


def parameter_names(fn: Callable, count: int) -> tuple[str, ...]:
    """The names of the first `count` positional parameters of `fn`, `*rest` counted as `rest[0]`, `rest[1]`, ..."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except Exception:  # besides what has no signature, an object whose own `__eq__` knows its like alone
        return tuple(f"arg{i}" for i in range(count))
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "arg")
    return tuple((names + [f"{rest}[{i}]" for i in range(max(0, count - len(names)))])[:count])


def with_defaults(fn: Callable, args: tuple) -> tuple:
    """The positional arguments with the defaults of those left out, as the rule of a `custom_vjp` receives them."""
    try:
        bound = inspect.signature(fn).bind(*args)
    except Exception:
        return args
    bound.apply_defaults()
    return tuple(bound.args)


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Sampler:
    """Normally distributed numbers."""
    return lambda key, dtype: (_generator(key).normal(mean, scale, shape)).astype(dtype)


def uniform(low: float, high: float, *shape: int) -> Sampler:
    """Numbers evenly spread over the open interval (low, high); positive, probabilities, angles."""
    return lambda key, dtype: _generator(key).uniform(low, high, shape).astype(dtype)


def away_from_zero(*shape: int, gap: float = 0.1, scale: float = 1.0) -> Sampler:
    """Numbers of both signs, none nearer to 0 than `gap`: for functions with a kink there."""

    def sample(key, dtype):
        values = _generator(key).normal(0.0, scale, shape)
        return (values + np.where(values >= 0, gap, -gap)).astype(dtype)

    return sample


def distinct(*shape: int, gap: float = 0.1) -> Sampler:
    """Numbers of both signs of which no two are nearer than `gap`: for maxima, sorting and pooling without ties."""

    def sample(key, dtype):
        size = int(np.prod(shape))
        return (gap * (_generator(key).permutation(size) - (size - 1) / 2)).reshape(shape).astype(dtype)

    return sample


def full(value: float, *shape: int) -> Sampler:
    """One number everywhere: ties, zeros, extremes."""
    return lambda key, dtype: np.full(shape, value, dtype)


def integers(low: int, high: int, *shape: int) -> Sampler:
    """int32 from low up to but not including high: labels, indices."""
    return lambda key, dtype: _generator(key).integers(low, high, shape, dtype=np.int32)


def booleans(*shape: int, probability: float = 0.7) -> Sampler:
    """True with the given probability: masks."""
    return lambda key, dtype: _generator(key).random(shape) < probability


def simplex(*shape: int) -> Sampler:
    """Positive numbers that sum to 1 over the last axis: distributions."""
    return lambda key, dtype: _generator(key).dirichlet(np.full(shape[-1], 2.0), shape[:-1]).astype(dtype)


def prng_key() -> Sampler:
    """A JAX PRNG key."""
    return lambda key, dtype: key


def _generator(key: jax.Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _fill(arg: Any, place: tuple[int, ...], dtype: np.dtype) -> Any:
    leaves, tree = jax.tree.flatten(arg)
    return jax.tree.unflatten(tree, [_leaf(leaf, (*place, i), dtype) for i, leaf in enumerate(leaves)])


@functools.lru_cache(maxsize=1024)  # to fold a number into a key takes JAX a millisecond
def _key(seed: int, *place: int) -> jax.Array:
    """The key of a leaf: every argument and every leaf of it has its own."""
    with jax.ensure_compile_time_eval():
        return jax.random.fold_in(_key(seed, *place[:-1]), place[-1]) if place else jax.random.key(seed)


def _leaf(leaf: Any, place: tuple[int, ...], dtype: np.dtype) -> Any:
    value = leaf(_key(*place), dtype) if callable(leaf) else leaf
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    if isinstance(value, (str, bytes)):
        return value
    array = np.asarray(value)
    if jax.dtypes.issubdtype(array.dtype, np.complexfloating):
        return array.astype(np.complex128 if dtype == np.float64 else np.complex64)
    if jax.dtypes.issubdtype(array.dtype, np.floating):
        keeps = array.dtype.itemsize < dtype.itemsize < 8  # given narrower than the others: mixed precision is meant
        return array if keeps else array.astype(dtype)
    if array.dtype == np.int64:  # Python integers: the same type with and without x64
        return array.astype(np.int32)
    return array


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def _is_floating(name: str) -> bool:
    try:
        return jax.dtypes.issubdtype(_dtype(name), np.inexact)
    except TypeError:  # no dtype at all
        return False
