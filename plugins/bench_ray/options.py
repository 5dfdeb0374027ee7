"""Options of `ray`."""

from __future__ import annotations

from pydantic import Field

from benchmark import ExecutorOptions


class RayOptions(ExecutorOptions):
    """Options of `ray`."""

    workers: int | None = Field(None, ge=1)
    """Tasks at work at the same time; by default as many as the cluster has room for."""

    address: str | None = Field(None, min_length=1)
    """Cluster to join, as `HOST:PORT`, `ray://HOST:PORT` or `auto`; by default that of `RAY_ADDRESS`, or else a Ray of
    this run's own is started on this machine."""

    gpus: float = Field(1.0, gt=0)
    """GPUs that a task claims with `--device cuda`; 0.25 lets four tasks share one."""

    memory: float = Field(1.0, gt=0)
    """GiB of memory that a task claims: no node gets more tasks than fit."""

    attempts: int = Field(3, ge=0)
    """How often Ray gives a task to another worker whose worker or node has died."""
