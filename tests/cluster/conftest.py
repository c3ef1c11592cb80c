from collections.abc import Iterator

import pytest

from .slurm import Cluster, why_not


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A SLURM of two nodes, while its tests run."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "slurm")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
