"""Eight simulated devices on the CPU for every test, and programs compiled in a hurry, before jax is imported."""

import gc
import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = "--xla_force_host_platform_device_count=8 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # newer ones have no other emitters, and do not start with an unknown flag
    flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

gc.set_threshold(50_000, 20, 50)  # what is traced lives on: to look through it for garbage takes a tenth of the time
