"""What these tests share with tests/scenario."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from telling import pytest_runtest_makereport  # noqa: E402, F401
