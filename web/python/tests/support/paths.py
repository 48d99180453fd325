"""Where the tests find the server and its data."""

from __future__ import annotations

import os
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
REPOSITORY = PACKAGE.parents[1]


def _environment(name: str, otherwise: Path) -> Path:
    return Path(os.environ.get(name) or otherwise)


def _bb() -> Path:
    found = re.search(r'^\[bb\]\n.*?^version = "([^"]+)"', (REPOSITORY / "versions.toml").read_text(), re.S | re.M)
    assert found is not None
    home = _environment("EDGEPROVE_HOME", Path.home() / ".edgeprove")
    return _environment("BB_PATH", home / "bb" / found[1] / "bb")


_TARGET = _environment("CARGO_TARGET_DIR", REPOSITORY / "target")
#: The server: ``cargo xtask test`` builds it.
SERVER = _environment("EDGEPROVE_TEST_SERVER", _TARGET / "debug" / "edgeprove")
#: The compiled circuits, and the witnesses of their samples.
CIRCUITS = _environment("EDGEPROVE_TEST_CIRCUITS", _TARGET / "circuits")
#: The points of the CRS.
CRS = _environment("CRS_PATH", Path.home() / ".bb-crs")
BB = _bb()
#: The compilers of templates.
TOOLCHAIN = REPOSITORY / "circuit"
