"""Write the .pth files the tests read, with torch itself: ``python tests/data/record_pth.py`` (needs torch)."""

from pathlib import Path

import torch

HERE = Path(__file__).parent


def vectors():
    """Return photo id -> a vector that any test can make again: component j of photo i is (i + 1) / (j + 2)."""
    return {f"{i:016x}": (i + 1) / (torch.arange(6) + 2.0) for i in range(4)}


if __name__ == "__main__":
    one = torch.stack(list(vectors().values()))
    torch.save(vectors(), HERE / "torch-zip.pth")
    torch.save(vectors(), HERE / "torch-before-1.6.pth", _use_new_zipfile_serialization=False)
    torch.save({f"{i:016x}": one[i] for i in range(4)}, HERE / "torch-views.pth")
    torch.save({id: v.half() for id, v in vectors().items()}, HERE / "torch-half.pth")
    torch.save({id: v.numpy() for id, v in vectors().items()}, HERE / "torch-numpy.pth")
