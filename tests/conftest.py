"""What holds for all tests."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no limits in seconds
settings.load_profile("busy")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
HEAVY = ("torch", "ray")


class HeavyImportError(Exception):
    """A test that runs under `--pure` imports torch or Ray. Not an ImportError, so that nothing catches it."""


class RefuseHeavyImports:
    """An import finder that finds nothing, and refuses torch and Ray."""

    def find_spec(self, name, path=None, target=None):
        """Refuse, or leave it to the next finder."""
        if name in HEAVY:
            raise HeavyImportError(f"imports {name}: it does not belong to `make quick` (see PURE in the Makefile)")


def pytest_addoption(parser):
    parser.addoption("--pure", action="store_true", help="refuse every import of torch and of Ray")


def pytest_configure(config):
    if config.getoption("--pure"):
        assert not set(HEAVY) & set(sys.modules)
        sys.meta_path.insert(0, RefuseHeavyImports())


@pytest.fixture
def one_thread():
    """Compute in one thread: small networks gain nothing from more, which wait for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
