"""The same work as one process does, as a job of many shards: on plain processes, or on Ray.

A job is a work folder that all shards share. Each shard is done by one process at a time and survives being killed;
when all are finished, they are merged into what one process would have made. See docs/distributed.md.
"""

from __future__ import annotations

from veduta.jobs.add import AddJob
from veduta.jobs.merge import MergeReport, merge_job
from veduta.jobs.on_ray import run_on_ray
from veduta.jobs.recognize import RecognizeJob
from veduta.jobs.shard import JobStatus, ShardReport, ShardStatus, job_status, run_shard
from veduta.jobs.verify import VerifyJob

__all__ = [
    "AddJob",
    "JobStatus",
    "MergeReport",
    "RecognizeJob",
    "ShardReport",
    "ShardStatus",
    "VerifyJob",
    "job_status",
    "merge_job",
    "run_on_ray",
    "run_shard",
]
