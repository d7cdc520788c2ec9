"""Devices by platform, and the precision of their matrix products."""

from types import SimpleNamespace

import jax
import pytest

from backproplab.harness.platform import devices, matmul_roundoff


def test_devices():
    """Those of a platform that is here, none of one that is not."""
    assert devices("cpu") == jax.devices("cpu")
    assert devices("abacus") == []


@pytest.mark.parametrize("setting, gpu, tpu", [(None, 2.0**-11, 2.0**-8), ("highest", 0.0, 0.0), ("bfloat16", 2.0**-8, 2.0**-8)])  # fmt: skip
def test_matmul_roundoff(setting, gpu, tpu):
    """TF32 on a GPU and bfloat16 on a TPU unless JAX is told otherwise; on a CPU float32 is float32."""
    with jax.default_matmul_precision(setting):
        assert [matmul_roundoff(SimpleNamespace(platform=name)) for name in ("cpu", "gpu", "tpu")] == [0.0, gpu, tpu]
