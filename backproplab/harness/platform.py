"""The devices that JAX sees here, and the precision of their float32 matrix products."""

from typing import Any

import jax

PLATFORMS = ("cpu", "gpu", "tpu")

# Unit roundoff to which the operands of a float32 product are rounded by default: TF32 keeps 11 significant bits,
# one bfloat16 pass 8.
_MATMUL = {"gpu": 2.0**-11, "cuda": 2.0**-11, "rocm": 2.0**-11, "tpu": 2.0**-8}
_BY_SETTING = {"highest": 0.0, "float32": 0.0, "high": 2.0**-16, "bfloat16_3x": 2.0**-16, "tensorfloat32": 2.0**-11,
               "bfloat16": 2.0**-8, "fastest": 2.0**-8}  # fmt: skip


def devices(platform: str) -> list[Any]:
    """The devices of a platform, none if it is not there."""
    try:
        return jax.devices(platform)
    except (RuntimeError, AssertionError):  # an assertion of JAX fails if JAX_PLATFORMS=cuda where no plug-in is
        return []


def matmul_roundoff(device: Any) -> float:
    """How float32 operands of products are rounded on this device under `jax_default_matmul_precision`; 0 if not."""
    if device.platform == "cpu":
        return 0.0
    return _BY_SETTING.get(matmul_setting(), _MATMUL.get(device.platform, 2.0**-8))


def matmul_setting() -> str:
    """`jax_default_matmul_precision`, "None" if it is not set."""
    return str(jax.config.jax_default_matmul_precision)  # type: ignore[attr-defined]
