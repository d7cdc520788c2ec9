"""Every built-in page and network: on disk, in the lists, documented, with cases, and right at twenty points."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import jax
import pytest

import backproplab
from backproplab import layers, networks, verify
from backproplab.case import page

ALL = (*layers.CASES, *networks.CASES)
PAGES = sorted(
    module.name
    for package in (layers, networks)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not module.ispkg
)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_listed_and_documented(name):
    """Nothing on disk is left out of the lists, without words, or without cases."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert set(module.CASES) <= set(ALL)
    room = importlib.import_module(name.rpartition(".")[0])
    rules = {
        n.removesuffix("_bwd")
        for n in vars(module)
        if n.endswith("_bwd") and inspect.isfunction(vars(module)[n]) and vars(module)[n].__module__ == name
    }
    for layer in rules:
        assert getattr(room, layer) is getattr(module, layer), f"{room.__name__} does not offer {layer}"
        for part in (layer, f"{layer}_fwd", f"{layer}_bwd"):
            assert getattr(module, part).__doc__, f"{part} has no docstring"
        assert any(case.fn is getattr(module, layer) for case in module.CASES), f"{layer} has no case"
    if name.startswith("backproplab.networks"):
        for part in ("init", "apply", "loss"):
            assert getattr(module, part).__doc__


def test_the_lists_are_sorted():
    """A reader finds a page where the alphabet says."""
    for room in vars(layers).values():
        if inspect.ismodule(room) and hasattr(room, "CASES"):
            pages = list(dict.fromkeys(page(case.fn) for case in room.CASES))
            assert pages == sorted(pages), room.__name__


def test_case_ids_are_unique():
    """A row of a report names one case."""
    ids = [case.id for case in ALL]
    assert len(ids) == len(set(ids)), {i for i in ids if ids.count(i) > 1}


def test_every_folder_is_a_room():
    """No page in a folder that `layers` does not import."""
    folder = Path(layers.__file__).parent
    rooms = {path.name for path in folder.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms == {
        name for name, room in vars(layers).items() if inspect.ismodule(room) and name[0] != "@"
    }  # pytest's own


@pytest.mark.parametrize("case", [case for case in ALL if case.name == ""], ids=lambda case: case.id)
def test_under_jit_with_rules(case):
    """The plainest use of each page: a jitted gradient of its sum exists and is finite at an ordinary point."""
    args = case.arguments(seed=3, dtype="float32")
    leaves, tree = jax.tree.flatten(args)
    floats = [i for i, leaf in enumerate(leaves) if getattr(leaf, "dtype", None) == "float32"]

    def total(chosen):
        full = list(leaves)
        for i, leaf in zip(floats, chosen):
            full[i] = leaf
        return sum(leaf.sum() for leaf in jax.tree.leaves(case.fn(*jax.tree.unflatten(tree, full))))

    for gradient in jax.jit(jax.grad(total))([leaves[i] for i in floats]):
        assert jax.numpy.isfinite(gradient).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)
def test_passes_at_twenty_seeds(case):
    """No false alarm: every case in its dtypes, at twenty draws of its arguments and cotangents."""
    for seed in range(20):
        verify(case, seed=seed).assert_passed()


def test_public_names():
    """What the README imports is there."""
    for name in ("Case", "verify", "strip", "defvjp", "Verdict"):
        assert hasattr(backproplab, name)
