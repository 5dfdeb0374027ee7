"""Weights of UnMask's part extractor for these pictures, offered to `bench_unmask` under the name `partshapes`.

They are those of `unmask_paper --profile embedded`, in half precision: small, and made for drawn pictures alone.

    bench run unmask_paper --profile embedded
    python -m bench_unmask.extractor.shipped runs/unmask_paper-embedded partshapes.safetensors
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights" / "partshapes.safetensors"
