"""Ours and today's gradient checkers on a corpus of right and wrong rules: detection, false alarms, seconds.

    python benchmarks/comparison.py PATH/TO/gradcorpus

Writes docs/comparison.md. The corpus comes with its scorer (`score.py`) and the other tools' adapters (`peers.py`); ours is
tests/corpus_adapter.py. Each tool runs in a process of its own, one after the other, on the same cases in the same order.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
TOOLS = {
    "backproplab": ("corpus_adapter", "`verify`, default settings"),
    "backproplab_reference": ("corpus_adapter", "`verify`, told the author's reference where there is one"),
    "check_grads_f32": ("peers", "`jax.test_util.check_grads`, float32, default settings"),
    "check_grads_best": ("peers", "the same in float64, three seeds, all variants, tolerance 1e-6"),
    "chex_rev_f32": ("peers", "`chex.assert_numerical_grads`, reverse mode, float32"),
    "chex_best": ("peers", "the same in float64, three seeds, all variants, tolerance 1e-6"),
    "allclose_f32": (
        "peers",
        "`assert_allclose` against autodiff of the author's reference, float32, several tolerances",
    ),
    "allclose_best": ("peers", "the same in float64, all variants"),
}


def main(corpus: Path, page: Path, tools: list[str]) -> None:
    """Runs the tools and writes the page."""
    paths = os.pathsep.join(map(str, (ROOT / "tests", corpus)))
    environment = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    score = lambda *arguments: [sys.executable, str(corpus / "score.py"), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for name in tools:
            results.append(str(Path(folder) / f"{name}.json"))
            command = score("run", f"{TOOLS[name][0]}:{name}", "--out", results[-1], "--timeout", "120")
            subprocess.run(command, env=environment, check=True)
        table = subprocess.run(score("table", *results), env=environment, check=True, capture_output=True, text=True)
    page.write_text(TEXT.format(
        tools="\n".join(f"- `{name}`: {TOOLS[name][1]}." for name in tools),
        table=_first_table(table.stdout),
        versions=f"Python {platform.python_version()}, jax {jax.__version__}, {os.cpu_count()} cores",
    ))  # fmt: skip
    print(page.read_text())


def _first_table(text: str) -> str:
    """The count of cases and the summary, without the breakdowns that follow."""
    return text.split("\nBy severity", 1)[0].strip()


TEXT = """# Beside other checkers

Written by `python benchmarks/comparison.py PATH/TO/gradcorpus` ({versions}). The corpus, which is not part of this repository, holds functions
with right and wrong hand-written rules; a tool sees neither which is which nor where the fault lies. *Detected*: wrong rules that the tool fails.
*Specific*: wrong rules that it fails while it passes the right rule of the same layer. Seconds are of one process on a machine that others
use as well: compare them within the table only.

{tools}

{table}
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="the folder that holds score.py")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "comparison.md", help="where the page goes")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS), help="default: all")
    main(**vars(parser.parse_args()))
