"""Train a small network on handwritten digits, so that it can be killed at any moment and goes on where it was.

    python examples/train.py [--folder digits]

The first run packs scikit-learn's digits into shards. Every run goes on from the last checkpoint in the folder, if
there is one, and ends with the very weights of a run that nobody disturbed; the last line is a digest of them.
docs/training.md tells how.
"""

from __future__ import annotations

import argparse
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from streamwds import (
    Sample,
    Stream,
    TarWriter,
    batched,
    decode,
    fraction,
    map,
    shuffle,
    shuffle_shards,
    split_by_worker,
    tarsamples,
    to_torch,
    to_tuple,
    urls,
)
from streamwds.torch import Progress

SHARDS = 12

# ---- data


def pack(folder: Path) -> None:
    """Write scikit-learn's 1797 digits, pictures of 8 × 8 pixels, as shards: once."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = (digits.images * 15).astype(np.uint8)  # (from 0 … 16)
    for shard in range(SHARDS):
        path = folder / f"digits-{shard:02}.tar"
        if not path.exists():
            with TarWriter(path) as writer:
                for n in range(shard, len(pictures), SHARDS):
                    writer.write({"__key__": f"{n:04}", "png": pictures[n], "cls": int(digits.target[n])})


def shifted(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with its picture moved by up to one pixel: the same in each run, another one in each epoch."""
    down, right = rng.integers(-1, 2, size=2)
    padded = np.pad(sample["png"], 1)
    return {**sample, "png": padded[1 + down : 9 + down, 1 + right : 9 + right]}


def training(folder: Path) -> Stream[tuple[Any, ...]]:
    """Batches of pictures (32, 8, 8), float32 from 0 to 1, and classes (32,)."""
    return (
        urls(folder / f"digits-{{00..{SHARDS - 1}}}.tar")
        | shuffle_shards
        | split_by_worker
        | tarsamples
        | fraction(0, 0.8)
        | decode("l")
        | map(shifted, rng=True)
        | shuffle(500)
        | to_tuple("png", "cls")
        | batched(32)
    )


def testing(folder: Path) -> Stream[tuple[Any, ...]]:
    """The digits that training never sees."""
    samples = urls(folder / f"digits-{{00..{SHARDS - 1}}}.tar") | tarsamples | fraction(0.8, 1)
    return samples | decode("l") | to_tuple("png", "cls") | batched(1000)


# ---- network


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 4 * 4, 10),
    )


def accuracy(model: nn.Module, batches: Stream[tuple[Any, ...]]) -> float:
    """The share of pictures that the network reads right."""
    right: list[NDArray[np.bool_]] = []
    model.eval()
    with torch.no_grad():
        for pictures, classes in batches:
            right.append(model(torch.from_numpy(pictures)[:, None]).argmax(1).numpy() == classes)
    model.train()
    return float(np.concatenate(right).mean())


def digest(model: nn.Module) -> str:
    """A short stand-in for all the weights, to the last bit."""
    found = blake2b(digest_size=8)
    for weights in model.state_dict().values():
        found.update(weights.numpy().tobytes())
    return found.hexdigest()


# ---- training


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that there is always a whole one, whenever the process is killed."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def train(folder: Path, epochs: int, steps: int | None = None, every: int = 10, workers: int = 2) -> nn.Module:
    """Train for so many epochs, or steps if they come first; a checkpoint after `every` so many steps."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    dataset = to_torch(training(folder)).with_position()
    # (a generator of its own, for a loader draws one number for each iteration, and dropout shall not miss it)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, generator=torch.Generator())
    progress = Progress(loader)
    step = 0

    path = folder / "checkpoint.pt"
    if path.exists():
        found = torch.load(path, weights_only=True)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        torch.set_rng_state(found["rng"])  # (what dropout draws)
        progress.load_state_dict(found["data"])
        step = found["step"]
        print(f"goes on after step {step}, in epoch {progress.epoch}", flush=True)

    while progress.epoch < epochs and step != steps:
        for pictures, classes in progress:
            loss = nn.functional.cross_entropy(model(pictures[:, None]), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            print(f"step {step}, epoch {progress.epoch}: loss {loss.item():.4f}", flush=True)
            if step % every == 0:
                checkpoint = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rng": torch.get_rng_state(),
                    "data": progress.state_dict(),
                    "step": step,
                }
                save(checkpoint, path)
            if step == steps:
                break
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits; kill it, and start it again.")
    parser.add_argument("--folder", type=Path, default=Path("digits"), help="shards and checkpoint (default: digits)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--every", type=int, default=10, help="steps from checkpoint to checkpoint (default: 10)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the DataLoader (default: 2)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pack(options.folder)
    model = train(options.folder, options.epochs, options.steps, options.every, options.workers)
    print(f"accuracy {accuracy(model, testing(options.folder)):.1%}")
    print(f"weights {digest(model)}")


if __name__ == "__main__":
    main()
