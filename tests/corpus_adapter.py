"""backproplab as a tool under test for the scorer of the gradient corpus (see docs/comparison.md for the command)."""

from dataclasses import replace

import numpy as np

from backproplab import Case, verify

INTERVALS = {
    "positive": (0.0, np.inf),
    "nonneg": (-np.finfo(np.float64).tiny, np.inf),  # an open interval, with 0 in it
    "unit": (0.0, 1.0),
    "prob": (0.0, 1.0),
    "fixed": "fixed",
}


class Adapter:
    """Each argument set that the author names is one case. `reference` says whether the author wrote one, too."""

    x64 = False

    def __init__(self, reference: bool):
        self.reference = reference

    def check(self, problem) -> str:
        verdicts = []
        for variant in problem.variants:
            verdicts.append(verify(self.case(problem, variant)))
            if verdicts[-1].status == "fail":  # as the other tools do, which raise
                break
        worst = next(v for s in ("fail", "inconclusive", "pass") for v in verdicts if v.status == s)
        self.why = str(worst)
        return worst.status

    def case(self, problem, variant: str) -> Case:
        dtypes = (
            tuple(dict.fromkeys(("float64", *problem.dtypes)))
            if "complex" not in str(problem.dtypes)
            else problem.dtypes
        )
        case = Case(
            problem.fn,
            problem.args(0, problem.dtypes[0], variant),
            argnums=problem.argnums,
            by_design=not problem.fd_valid,
            kink=problem.at_kink,
            order=2 if problem.twice else 1,
            domain={i: INTERVALS[kind] for i, kind in problem.domain.items() if kind in INTERVALS},
            residual_bytes=problem.residual_budget,
            dtypes=None if problem.dtypes == ("float32",) else dtypes,
        )
        needed = self.reference or not problem.fd_valid  # a gradient by design is what the reference says, if anything
        return replace(case, reference=problem.reference) if needed else case


ADAPTERS = {"backproplab": Adapter(reference=False), "backproplab_reference": Adapter(reference=True)}
