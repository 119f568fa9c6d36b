"""Time `pipeline --help` and `model --help` as whole processes: they must feel instant."""

import statistics
import subprocess
import sys
import time

from model.contract.terminal import print_anything


def main(runs: int = 15) -> None:
    """Print the median and the worst wall time of each command's help, in seconds."""
    for program in ("pipeline", "model"):
        times_s = []
        for _ in range(runs):
            start_s = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", program, "--help"], check=True, stdout=subprocess.DEVNULL
            )
            times_s.append(time.perf_counter() - start_s)
        print(
            f"{program} --help: median {statistics.median(times_s):.3f} s, "
            f"worst {max(times_s):.3f} s of {runs}"
        )


if __name__ == "__main__":
    print_anything()
    main()
