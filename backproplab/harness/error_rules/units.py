"""How many roundings (in units of the roundoff) the evaluation of a function costs on XLA's backends.

`python -m backproplab.harness.transcendentals` measures the worst against mpmath, on the present backend, and compares
it with `units`, which must be no less than `SAFETY` times what was found. Steps (floor, sign, ...) round nothing.
"""

SAFETY = 1.5

UNITS: dict[str, float] = {
    "exp": 4, "exp2": 4, "log": 4, "log2": 4, "log1p": 6, "expm1": 10, "tanh": 14, "logistic": 6, "sqrt": 2, "rsqrt": 4, "cbrt": 10,
    "erf": 10, "erfc": 20, "erf_inv": 60, "sin": 4, "cos": 4, "tan": 4, "atan": 9, "asin": 4, "acos": 5, "asinh": 6, "acosh": 6,
    "atanh": 300, "sinh": 10, "cosh": 10, "lgamma": 8, "digamma": 8, "bessel_i0e": 10, "bessel_i1e": 24,
}  # fmt: skip
FLOORED = ("lgamma", "digamma")
STEPS = ("floor", "ceil", "round", "sign")


def units(name: str, x, xp):
    """For an argument x: most functions cost the same everywhere."""
    if name == "exp2":  # the argument is multiplied by log 2 first
        return UNITS[name] + 2.0 * xp.abs(xp.where(xp.isfinite(x), x, 0.0))
    if name in ("sinh", "cosh"):  # exp(x + log 1/2), of a rounded sum
        return UNITS[name] + 1.5 * xp.abs(xp.where(xp.isfinite(x), x, 0.0))
    if name == "erfc":  # exp(-x^2), of a rounded square
        return UNITS[name] + 1.5 * xp.where(xp.isfinite(x) & (x > 0), x, 0.0) ** 2
    if name == "erf_inv":  # log(1 - x^2), of a rounded square
        return UNITS[name] + xp.minimum(0.03 / xp.maximum(1 - xp.abs(x), 1e-8), 1.5e6)
    if name == "log1p":  # XLA's CPU backend is off by up to 240 roundings around 1/sqrt(2) - 1, in float64
        return xp.where(xp.abs(x + 0.375) < 0.15, 500.0, float(UNITS[name]))
    return float(UNITS[name])


def floor(name: str, x, xp):
    """The size of what is subtracted on the way to the result, which is off by so much even where it vanishes."""
    if name == "lgamma":  # the logarithm of a series, by reflection for negative arguments
        return 8.0 + xp.where(x < 0.5, (1 + xp.abs(x)) * xp.log(2 + xp.abs(x)), 0.0)
    if name == "digamma":
        return 4.0 + xp.log(2 + xp.abs(x))
    return 0.0
