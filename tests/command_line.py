"""What the tests of the command line share: running it in this process, and in one of its own."""

import os
import subprocess
import sys

import pytest

from backproplab.cli import main


def run(capsys, *arguments):
    """Exit code, standard output and standard error of `backproplab ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def complaint(capsys, code, *arguments):
    """The one line on standard error with which `backproplab ARGUMENTS` ends; it has the exit code and no other output."""
    found, out, err = run(capsys, *arguments)
    assert found == code, err
    assert out == ""
    assert err.startswith("backproplab: ") and err.endswith("\n") and err.count("\n") == 1, err
    return err


def start(*arguments, env=None, **options):
    """`python ARGUMENTS` as a process of its own."""
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen([sys.executable, *arguments], env=environment, text=True, **options)


def process(*arguments, env=None, cwd=None):
    """Exit code, standard output and standard error of `python ARGUMENTS`."""
    with start(*arguments, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        out, err = child.communicate(timeout=120)
    return child.returncode, out, err
