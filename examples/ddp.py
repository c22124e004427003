"""Train on two processes (torch's DistributedDataParallel, gloo), whose shards are uneven, and resume.

    python examples/ddp.py [--folder numbers]

Shards of 5 to 60 samples: one rank has much more to read than the other, and neither waits for the other in vain, for
`equalize` gives each the same number of batches. It can be killed at any moment, and goes on from its last checkpoint;
the last line is a digest of the weights. docs/ddp.md tells how.
"""

from __future__ import annotations

import argparse
import os
import socket
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from streamwds import (
    Stream,
    TarWriter,
    batched,
    decode,
    equalize,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    tar,
    tarsamples,
    to_torch,
    to_tuple,
    urls,
)
from streamwds.torch import Progress

RANKS, BATCH, SIZES = 2, 8, (60, 5, 41, 17, 29, 8)  # (samples in each shard)


def pack(folder: Path) -> None:
    """Write shards of very different sizes: rows of numbers `x`, and what a network is to learn of them, `y`."""
    chance = np.random.default_rng(0)
    truth = chance.normal(size=(4, 1))
    for shard, size in enumerate(SIZES):
        with TarWriter(folder / f"numbers-{shard}.tar") as writer:
            for n in range(size):
                x = chance.normal(size=4)
                writer.write({"__key__": f"{shard}-{n}", "x.npy": x.astype("f4"), "y.npy": (x @ truth).astype("f4")})


def batches(folder: Path) -> Stream[tuple[Any, ...]]:
    """Batches of x (8, 4) and y (8, 1), float32; for each rank the same number, about its share of the whole."""
    shards = urls(folder / f"numbers-{{0..{len(SIZES) - 1}}}.tar") | shuffle_shards | split_by_node | split_by_worker
    each = tar.count_each(shards, world_size=RANKS)
    samples = shards | tarsamples | decode() | shuffle(40) | to_tuple("x.npy", "y.npy")
    return samples | batched(BATCH) | equalize(sum(each) // len(each) // BATCH)


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that there is always a whole one, whenever the processes are killed."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def train(rank: int, folder: Path, epochs: int, port: int) -> None:
    """What one rank does, in a process of its own."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    dataset = to_torch(batches(folder)).with_position()
    progress = Progress(DataLoader(dataset, batch_size=None, num_workers=1))
    step = 0

    path = folder / "checkpoint.pt"
    if path.exists():
        found = torch.load(path, weights_only=True)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        progress.load_state_dict(found["data"][rank])
        step = found["step"]

    while progress.epoch < epochs:
        for x, y in progress:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            # one checkpoint of all ranks after the same step
            data: list[Any] = [None] * RANKS
            distributed.all_gather_object(data, progress.state_dict())
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "data": data, "step": step}
                save(state, path)
                print(f"step {step}, epoch {progress.epoch}: loss {loss.item():.6f}", flush=True)
    if rank == 0:
        weights = b"".join(weight.numpy().tobytes() for weight in model.state_dict().values())
        print(f"weights {blake2b(weights, digest_size=8).hexdigest()}")
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on two processes; kill them, and start them again.")
    parser.add_argument("--folder", type=Path, default=Path("numbers"), help="shards and checkpoint (default: numbers)")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pack(options.folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start_processes(train, (options.folder, options.epochs, port), nprocs=RANKS, start_method="fork")


if __name__ == "__main__":
    main()
