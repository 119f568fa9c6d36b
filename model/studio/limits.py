"""What the studio refuses, and when it stops: all limits in one place."""

from __future__ import annotations

from dataclasses import dataclass

from model.contract.options import option

MB, GB = 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of one studio; each is an option of the command."""

    upload_mb: float = option(200.0, "largest video or song", flag="max-upload-mb", type=float)
    duration_s: float = option(120.0, "longest video", flag="max-duration-s", type=float)
    job_s: float = option(3600.0, "longest time of one job", flag="max-job-s", type=float)
    memory_gb: float = option(
        8.0, "most memory of one job, all its processes together", flag="max-memory-gb", type=float
    )
    waiting: int = option(40, "most jobs that wait, of all users", flag="max-waiting", type=int)
    waiting_each: int = option(
        12, "most jobs of one user that wait", flag="max-waiting-each", type=int
    )
    user_gb: float = option(4.0, "most files of one user", flag="max-user-gb", type=float)
    total_gb: float = option(
        40.0, "most files of all users together", flag="max-total-gb", type=float
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"the limit {name} is {value}; expected more than 0")
