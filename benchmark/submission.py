"""`bench submit`: the shards of a suite as an array of jobs of a batch system, through submitit."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import InputError
from benchmark.wording import say

TIMEOUT_MINUTES = 24 * 60
"""A job's time unless `timeout_min` says another; submitit's own default is a few minutes."""


@dataclass(frozen=True)
class ShardJob:
    """The command of one shard, as a job that goes on where it was when it is given again.

    Attributes:
        command: `bench run … --shard I/N`.
        folder: where it is given.
    """

    command: tuple[str, ...]
    folder: str

    def __call__(self) -> int:
        """Run it and return its exit code."""
        return subprocess.run(self.command, cwd=self.folder, check=False).returncode

    def checkpoint(self) -> Any:
        """Return what is queued in place of a job that was pre-empted, or whose time is over: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit_shards(
    suite: str,
    options: Sequence[str],
    outputs: Sequence[Path],
    *,
    cluster: str,
    parameters: Mapping[str, Any],
    logs: Path,
) -> list[Any]:
    """Queue one job per shard, say what was queued, and return the jobs.

    Args:
        suite: as `bench run` takes it.
        options: of `bench run`.
        outputs: run directories, one per shard.
        cluster: `slurm`, or `local` for processes on this machine.
        parameters: of the batch system, by submitit's names, such as `slurm_partition` or `timeout_min`.
        logs: folder for what jobs print.

    Raises:
        InputError: submitit is not installed, or there is no such batch system here, or it knows no such parameter.
    """
    if importlib.util.find_spec("submitit") is None:
        raise InputError(
            "bench submit: the package submitit is not installed. Install it (`pip install 'unmask-bench[slurm]'`), or "
            "give the shards to the batch system yourself (docs/scale.md has an example)."
        )
    import submitit

    try:
        executor = submitit.AutoExecutor(folder=str(logs), cluster=cluster)
        executor.update_parameters(**{"name": "bench", "timeout_min": TIMEOUT_MINUTES, **parameters})
    except Exception as error:  # submitit raises many kinds
        raise InputError(f"bench submit: {cluster}: {error}") from None
    count = len(outputs)
    jobs = [
        ShardJob(
            (
                *(sys.executable, "-m", "benchmark", "run", suite, *options),
                *("--shard", f"{index}/{count}", "--output", str(output), "--no-report"),
            ),
            os.getcwd(),
        )
        for index, output in enumerate(outputs, 1)
    ]
    try:
        queued: list[Any] = executor.submit_array(jobs)
    except Exception as error:
        raise InputError(f"bench submit: {cluster} took no jobs: {error}") from None
    for job, output in zip(queued, outputs, strict=True):
        say(f"job {job.job_id}: {output}; it prints to {job.paths.stdout} and {job.paths.stderr}")
    return queued


def wait_for(jobs: Sequence[Any], outputs: Sequence[Path]) -> None:
    """Wait until all jobs have ended.

    Raises:
        InputError: a shard has not come to its end.
    """
    wrong = []
    for job, output in zip(jobs, outputs, strict=True):
        try:
            code = job.result()
        except Exception as error:  # submitit raises many kinds
            code = str(error).splitlines()[0] if str(error) else type(error).__name__
        if code not in (0, 1):
            wrong.append(f"job {job.job_id} of {output} ended with {code}: see {job.paths.stderr}")
    if wrong:
        raise InputError("; ".join(wrong) + ". The same command goes on with what is missing.")


def merge_command(outputs: Sequence[Path], whole: Path, plugins: Sequence[str], cache: str) -> str:
    """Return the command that makes one run of the shards."""
    words = [word for plugin in plugins for word in ("--plugin", plugin)]
    return shlex.join(["bench", "merge", *map(str, outputs), "-o", str(whole), *words, "--cache", cache])
