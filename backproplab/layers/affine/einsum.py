"""Sums of products named by index letters: einsum. Catalogue #12.

Autodiff keeps the same operands and does the same contractions: for speed the rule is on a par with it. What it adds is
accuracy for inputs in bfloat16: sums are kept in float32 until the end.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import wide_dtype
from backproplab.rule import defvjp

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def einsum(subscripts, *operands):
    """`jnp.einsum`: the product of all operands, summed over the letters that the result does not have.

    subscripts: as "ij,jk->ik"; "..." for leading axes that broadcast; without an arrow the result has the letters that
    stand once, in alphabetical order. A letter that an operand has twice takes its diagonal. The result has the dtype
    that those of the operands promote to; accumulated in float32 or wider. A letter has one size wherever it stands.
    """
    return _contract(subscripts, operands).astype(jnp.result_type(*operands))


def _contract(subscripts, operands):
    """The contraction in float32 or wider."""
    wide = jnp.promote_types(jnp.result_type(*operands), jnp.float32)
    return jnp.einsum(subscripts, *operands, preferred_element_type=wide)


def einsum_fwd(subscripts, *operands):
    """Keeps the operands, which the caller holds anyway."""
    return einsum(subscripts, *operands), operands


def einsum_bwd(subscripts, operands, dy):
    """One entry of y is a sum over all ways to give the letters values, of a product with one factor per operand. So the
    gradient of an operand is the same sum with its factor struck out and dy put in, read at its own letters:

        y_ik = sum_j a_ij b_jk        da_ij = sum_k dy_ik b_jk        db_jk = sum_i a_ij dy_ik

    Two kinds of letters are then not there to be read. One that only this operand had was summed over alone: its gradient
    is the same for each value, the product with a vector of ones. One that it has twice was read on the diagonal: renaming
    the second puts a unit matrix between the two, so that nothing arrives off it. Axes of size 1 that were stretched are
    summed over.
    """
    terms, result = _terms(subscripts, [x.ndim for x in operands], dy.ndim)
    wide = wide_dtype(dy)
    gradients = []
    for place, (x, term) in enumerate(zip(operands, terms)):
        sources = [(result, dy)] + [(t, o) for i, (t, o) in enumerate(zip(terms, operands)) if i != place]
        free = iter(letter for letter in _LETTERS if letter not in "".join([result, *terms]))
        read = ""
        for letter, size in zip(term, x.shape):
            if letter in read:
                letter, twin = next(free), letter
                sources.append((twin + letter, jnp.eye(size, dtype=wide)))
            elif not any(letter in other for other, _ in sources):
                sources.append((letter, jnp.ones(size, wide)))
            read += letter
        program = ",".join(letters for letters, _ in sources) + "->" + read
        gradients.append(sum_to(x.shape, _contract(program, [source for _, source in sources])))
    return tuple(gradients)


def _terms(subscripts, ranks, result_rank):
    """The letters of each operand and of the result, with "..." spelled out, the same from the last axis on."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [letter for letter in _LETTERS if letter not in subscripts]
    if not arrow:
        once = sorted(x for x in set(left) - set(".,") if left.count(x) == 1)
        result = ("..." if "..." in left else "") + "".join(once)

    def spelled(term, rank):
        count = rank - len(term.replace("...", ""))
        return term.replace("...", "".join(free[:count][::-1]))

    return [spelled(term, rank) for term, rank in zip(terms, ranks)], spelled(result, result_rank)


defvjp(einsum, einsum_fwd, einsum_bwd)


def _kept(subscripts, *operands):
    return sum(x.nbytes for x in operands)


CASES = (
    Case(einsum, ("bij,bjk->bik", normal(2, 3, 4), normal(2, 4, 5)), residual_bytes=_kept, order=2),
    Case(
        einsum, ("ij,kj,jl->lik", normal(3, 4), normal(2, 4), normal(4, 5)), name="three operands", residual_bytes=_kept
    ),
    Case(einsum, ("ij,jk", normal(3, 4), normal(4, 2)), name="no arrow", residual_bytes=_kept),
    Case(einsum, ("...i,ij->...j", normal(2, 3, 4), normal(4, 5)), name="leading axes", residual_bytes=_kept),
    Case(einsum, ("...i,...i->...", normal(2, 1, 4), normal(3, 4)), name="leading axes that broadcast"),
    Case(einsum, ("ij,k->k", normal(3, 4), normal(2)), name="letters of one operand alone"),
    Case(einsum, ("iij,j->ij", normal(3, 3, 2), normal(2)), name="diagonal"),
    Case(einsum, ("ii", normal(3, 3)), name="trace", expect=(np.eye(3),)),
    Case(einsum, ("ij->ji", normal(3, 4)), name="transpose", expect=(np.ones((3, 4)),)),
)
