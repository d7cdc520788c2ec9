"""Eight simulated devices on the CPU for every test, and programs compiled in a hurry, before jax is imported."""

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
flags = "--xla_force_host_platform_device_count=8 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # newer ones have no other emitters, and do not start with an unknown flag
    flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

gc.set_threshold(50_000, 20, 50)  # what is traced lives on: to look through it for garbage takes a tenth of the time


@pytest.fixture
def optimized() -> Iterator[None]:
    """Programs are compiled as users compile them: where they run for long, or where what the compiler does is the question."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
