"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: as the commands do
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each process of tests
    # Two processes that compile librosa's functions at once leave a cache of numba's that crashes
    # all later ones: each has a cache of its own.
    _CACHE = Path(__file__).parents[1] / ".pytest_cache" / "numba"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE / os.environ["PYTEST_XDIST_WORKER"]))

from collections.abc import Iterator

import pytest
from places import ROOT

from pipeline.engine.base import LocalEngine
from pipeline.engine.ray import RayEngine


@pytest.fixture(autouse=True)
def plain_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `auto` be float32 in this process, so that tests compare the same numbers anywhere."""
    monkeypatch.setattr("model.contract.precision.fast_bf16", lambda device: False)


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real clips and conformance data, or skip where there is none."""
    folder = os.environ.get("D2M_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("D2M_TEST_DATA names no folder: real clips and conformance data not at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def _ray() -> Iterator[None]:
    import ray

    # Workers must find the stages that tests define, by the names that pytest gives the modules.
    places = [str(ROOT / "tests" / "support"), str(ROOT), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> LocalEngine | RayEngine:
    """Return each engine in turn; all tests share one Ray, whose workers take seconds to start."""
    if request.param == "local":
        return LocalEngine()
    request.getfixturevalue("_ray")
    return RayEngine()


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> LocalEngine | RayEngine:
    """Return the engine that a test names by an indirect parameter."""
    if request.param == "local":
        return LocalEngine()
    request.getfixturevalue("_ray")
    return RayEngine()
