"""How tests compare decoded values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["assert_same"]


def assert_same(ours: Any, them: Any) -> None:
    """That two values are of the same type and equal; arrays and tensors of the same dtype and shape, too."""
    assert type(ours) is type(them)
    if isinstance(ours, dict):
        assert ours.keys() == them.keys()
        for key, value in ours.items():
            assert_same(value, them[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(them)
        for one, other in zip(ours, them):
            assert_same(one, other)
    elif isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, them, rtol=0, atol=0)
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, them, strict=True)
    else:
        assert ours == them
