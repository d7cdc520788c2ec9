"""The command line of an experiment: four options, a line for each measure, an exit code."""

import argparse
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path

from backproplab.training.experiment import Outcome
from backproplab.training.extras import MissingExtra

FORMATS = (".png", ".pdf", ".svg")


def run(main: Callable[..., Outcome]) -> None:
    """Calls an experiment's `main(gradients, epochs, seed, picture)` with what was typed, prints what it found, exits.

    Exit code 0, or 1 where hand and autodiff are further apart than rounding explains; a bad option (2) and a library
    that is not installed (1) get one line.
    """
    options = _parser(main).parse_args()
    try:
        outcome = main(**vars(options))
    except (MissingExtra, OSError) as error:
        sys.exit(str(error))
    for name, value in outcome.measures.items():
        print(f"{name}: {value:.4g}")
    for fit in outcome.fits:
        if fit.agreement is not None:
            print(f"{fit.name}, {fit.agreement}")
    sys.exit(0 if outcome.at_rounding_level else 1)


class _OneLine(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _parser(main):
    default = {name: parameter.default for name, parameter in inspect.signature(main).parameters.items()}
    parser = _OneLine(
        description=main.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.set_defaults(**default)
    parser.add_argument(
        "--gradients",
        choices=("hand", "autodiff", "both"),
        help="the hand-written rules, JAX's autodiff of the same network, or both, compared",
    )
    parser.add_argument("--epochs", type=_count, help="how often the training rows are visited")
    parser.add_argument("--seed", type=_seed, help="decides held-out rows, first parameters and order of rows")
    parser.add_argument("--picture", type=_writable, help="where the picture goes: .png, .pdf or .svg")
    return parser


def _count(text: str) -> int:
    return _whole_number(text, 1, 10**6)


def _seed(text: str) -> int:
    return _whole_number(text, 0, 2**32 - 1)


def _whole_number(text, low, high):
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def _writable(text: str) -> Path:
    """Found out before the training, not after it."""
    path = Path(text)
    if path.suffix.lower() not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in one of {', '.join(FORMATS)}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return path
