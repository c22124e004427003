"""Streams for torch: the dataset that `to_torch` makes of a stream, and what knows how far a DataLoader came with it.

Nothing else in the package imports torch; what a stream can do without torch is not told here.
"""

from __future__ import annotations

from streamwds.torch.dataset import TorchStream
from streamwds.torch.progress import Progress

__all__ = ["Progress", "TorchStream"]
