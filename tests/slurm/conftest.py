"""One cluster for all tests of this folder; they are skipped where Slurm is not installed."""

import sys

import pytest
import slurm_cluster
from slurm_commands import Slurm


@pytest.fixture(scope="session")
def environment():
    if reason := slurm_cluster.reason_without():
        pytest.skip(reason)
    with slurm_cluster.cluster() as variables:
        yield {**variables, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def slurm(environment, tmp_path):
    """Slurm with two nodes, in an empty folder."""
    return Slurm(environment, tmp_path)


@pytest.fixture(scope="session")
def landscape():
    """The words of a shell that run the command."""
    return [sys.executable, "-m", "landscape"]
