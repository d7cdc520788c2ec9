"""From names on the command line to cases, and what is said where there are none."""

import pickle
import sys

import pytest

from backproplab import networks
from backproplab.layers import activations
from backproplab.layers.activations import tanh
from backproplab.targets import UsageError, built_in, cases_of, cases_with_id

RULES = """
from backproplab import Case, normal

def double(x, by=2.0):
    return by * x

class Holder:
    @staticmethod
    def inner(x):
        return x

number = 3
CASES = (Case(double, (normal(3),), order=2),)
"""
FILES = {
    "rules_of_mine.py": RULES,
    "bare_rules.py": "import jax\nclass Apart: pass\ndef helper(a): return a\n@jax.custom_vjp\ndef wave(x, y=1): return x\n",
    "nothing_here.py": "x = 1\n",
    "no_cases.py": "CASES = ()\n",
    "with_syntax_error.py": "def f(:\n",
    "with_missing_import.py": "import nothing_such_module\n",
    "that_raises.py": "raise ValueError('one\\n\\ntwo')\n",
    "without_guard.py": "import sys\nsys.exit(3)\n",
    "number_for_cases.py": "CASES = 3\n",
    "numbers_for_cases.py": "CASES = (1, 2)\n",
    "case_of_a_number.py": "from backproplab import Case\nCASES = (Case(3, ()),)\n",
    "random.py": "def mine(x):\n    return x\n",
    "package_of_mine/__init__.py": "",
    "package_of_mine/part.py": "from .other import double\nfrom backproplab import Case, normal\nCASES = (Case(double, (normal(2),)),)\n",
    "package_of_mine/other.py": "def double(x):\n    return 2 * x\n",
    "folder/inside.py": RULES,
}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    """A user's folder, where the names are given."""
    here = tmp_path_factory.mktemp("user")
    for name, text in FILES.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "path", sys.path[:])
        yield here


def names(targets, arguments=None):
    return [case.id for case in cases_of(targets, arguments)]


def test_nothing_named_is_everything_built_in():
    """Every layer and network, each case with an id of its own, so that --rerun means one."""
    ids = names([])
    assert len(ids) == len(set(ids)) == len(built_in())
    assert {"tanh", "softmax_cross_entropy"} <= set(ids)


def test_built_in_names():
    """A layer, its room, all layers; a network's function, the network, all networks; several in order."""
    assert {case.fn for case in cases_of(["tanh"])} == {tanh}
    assert cases_of(["activations"]) == list(activations.CASES)
    assert set(cases_of(["networks"])) == set(networks.CASES)
    assert {case.id.partition("[")[0] for case in cases_of(["mlp"])} >= {"mlp.loss"}
    assert names(["tanh", "relu"]) == names(["tanh"]) + names(["relu"])


@pytest.mark.parametrize(
    "target",
    [
        "rules_of_mine.py",
        "./rules_of_mine.py",
        "rules_of_mine.py::double",
        "rules_of_mine.py:double",
        "rules_of_mine",
        "rules_of_mine:double",
        "folder/inside.py",
        "package_of_mine/part.py",
        "package_of_mine.part",
        "package_of_mine.part:double",
    ],
)
def test_names_of_a_users_own(target):
    """Files and modules in the working directory, whole or by function, also with relative imports."""
    assert names([target]) == ["double"]


def test_arguments_in_place_of_cases():
    """--args gives the point; what the function's case promises of the function stays."""
    (case,) = cases_of(["rules_of_mine.py::double"], "x=f32[4]")
    assert case.arguments()[0].shape == (4,) and case.order == 2
    assert names(["rules_of_mine.py"], "x=f32[4]") == ["double"]
    assert names(["rules_of_mine.py::Holder.inner"], "x=f32[4]") == ["inner"]


def test_file_named_as_a_module_of_python():
    """A user's random.py is verified, and Python's stays what it is."""
    import random

    (case,) = cases_of(["random.py::mine"], "x=f32[2]")
    assert case.fn(3) == 3 and sys.modules["random"] is random


@pytest.mark.parametrize(
    "target, code, words",
    [
        ("tanhh", 4, "no layer, network, room or module is called 'tanhh': did you mean tanh or tanh_shrink?"),
        ("soft_max", 4, "softmax"),
        ("qqqq", 4, "a function of yours is file.py::name or package.module:name"),
        ("", 4, "is called ''"),
        ("::", 4, "is called ''"),
        ("nowhere.py", 4, "no file nowhere.py"),
        ("a/" * 3000, 4, "no file a/a/"),
        (".", 4, ". is a directory: name a file in it"),
        ("folder", 4, "folder is a directory: name a file in it"),
        ("folder/", 4, "folder/ is a directory: name a file in it"),
        ("folder:double", 4, "folder is a directory: name a file in it"),
        ("with_syntax_error.py", 4, "with_syntax_error.py could not be imported: SyntaxError"),
        ("with_syntax_error", 4, "with_syntax_error could not be imported: SyntaxError"),
        ("with_missing_import.py", 4, "ModuleNotFoundError: No module named 'nothing_such_module'"),
        ("that_raises.py", 4, "that_raises.py could not be imported: ValueError: one two"),
        ("without_guard.py", 4, "without_guard.py could not be imported: SystemExit: 3"),
        ("number_for_cases.py", 4, "CASES of number_for_cases.py is not a tuple of backproplab.Case"),
        ("numbers_for_cases.py", 4, "CASES of numbers_for_cases.py is not a tuple of backproplab.Case"),
        ("case_of_a_number.py", 4, "case_of_a_number.py could not be imported: TypeError: Case wants a function"),
        ("rules_of_mine.dobule", 4, "rules_of_mine.dobule could not be imported"),
        ("rules_of_mine.py::dobule", 4, "rules_of_mine.py has no 'dobule': did you mean double?"),
        ("rules_of_mine.py::double::x", 4, "rules_of_mine.py has no 'double::x'"),
        ("rules_of_mine.py::number", 4, "number of rules_of_mine.py is no function but of type int"),
        ("bare_rules.py", 5, "name a function of it, as in bare_rules.py::wave --args 'x=f32[8,5]'"),
        ("bare_rules.py::", 5, "as in bare_rules.py::wave"),
        ("bare_rules", 5, "as in bare_rules:wave"),
        ("nothing_here.py", 5, "as in nothing_here.py::NAME --args 'x=f32[8,5]'"),
        ("no_cases.py", 5, "no_cases.py has no CASES"),
        ("bare_rules.py::helper", 2, "bare_rules.py::helper has no cases: say at what arguments, as in --args 'a=f32[8,5]'"),
    ],
)  # fmt: skip
def test_names_that_lead_nowhere(target, code, words):
    """One line that says what is wrong and what to type, and the exit code that goes with it."""
    with pytest.raises(UsageError) as refused:
        cases_of([target])
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert refused.value.exit_code == code


@pytest.mark.parametrize(
    "targets, words",
    [
        ([], "backproplab verify file.py::name --args"),
        (["tanh", "relu"], "--args goes with exactly one function"),
        (["activations"], "exactly one function, and activations holds celu, clip, crelu, elu, ..."),
        (["bare_rules.py"], "exactly one function, as in bare_rules.py::wave --args 'x=f32[8,5]'"),
        (["rules_of_mine.py::double"], "double has no argument 'z': it takes x, by"),
    ],
)
def test_arguments_for_no_single_function(targets, words):
    """--args with none or several functions, or with one that they do not fit: exit code 2."""
    with pytest.raises(UsageError) as refused:
        cases_of(targets, "z=f32")
    assert words in str(refused.value) and refused.value.exit_code == 2


def test_cases_that_share_an_id(folder):
    """If a user's cases share a name, --rerun takes all of them; an unknown id selects nothing."""
    twice = cases_of(["rules_of_mine.py", "rules_of_mine.py"])
    assert cases_with_id(twice, "double") == twice and len(twice) == 2
    with pytest.raises(UsageError, match="did you mean 'double'") as refused:
        cases_with_id(twice, "triple")
    assert refused.value.exit_code == 5


def test_usage_errors_travel_between_processes():
    """A process of the pool hands its complaint on, exit code included."""
    copy = pickle.loads(pickle.dumps(UsageError("no\nfile", 4)))
    assert (str(copy), copy.exit_code) == ("no file", 4)
