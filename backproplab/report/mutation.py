"""What became of planted bugs, as a few lines of text."""

from backproplab.harness.mutation import Mutation


def mutation_text(mutation: Mutation) -> str:
    """The head line with the score, then every mutant that was missed."""
    caught, missed, equivalent = (mutation.having(fate) for fate in ("caught", "missed", "equivalent"))
    share = "" if mutation.score is None else f" ({mutation.score:.0%})"
    cases = f"{mutation.cases} case{'s' * (mutation.cases != 1)}"
    lines = [f"{mutation.function}: {cases}, {len(caught)} of {len(caught) + len(missed)} mutants caught{share}"]
    lines[0] += f", {len(mutation.mutants)} planted of {mutation.possible} possible, {mutation.seconds:.1f} s"
    if equivalent:
        lines.append(
            f"  {len(equivalent)} left out: the same as the rule at the cases and at {mutation.points} other points"
        )
    if mutation.untried:
        lines.append(f"  {mutation.untried} not tried for lack of time")
    for mutant in missed:
        lines.append(
            f"  missed: `{mutant.operation}` at {mutant.where} changed {mutant.words}; told apart: {mutant.by}"
        )
    return "\n".join(lines)
