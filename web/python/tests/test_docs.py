"""The examples of the documents are run, the documents name every member, and generated files are up to date."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgeprove
from edgeprove import CLIENT_ERROR_CODES, Client, EdgeproveError, Progress, ProofResult

from .support import paths
from .support.server import Server


def _text(name: str) -> str:
    return (paths.REPOSITORY / name).read_text(encoding="utf-8")


def _examples(name: str) -> list[str]:
    return [block for block in re.findall(r"```python\n(.*?)```", _text(name), re.S) if "prover.example" in block]


def _output(example: str, server: Server, folder: Path) -> str:
    script = example.replace("https://prover.example", server.url).replace('"KEY"', '"alice-key"')
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(paths.PACKAGE / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_examples_of_the_documents_do_what_they_show(server: Server, tmp_path: Path) -> None:
    first, concurrent, jobs, vouchers, receipts, errors = _examples("docs/PYTHON.md")
    shown = _output(first, server, tmp_path)
    assert "stage='done'" in shown and shown.rstrip().endswith("True") and (tmp_path / "proof").stat().st_size > 1000
    assert len(re.findall(r"'[0-9a-f-]{36}'", _output(concurrent, server, tmp_path))) == 3
    assert re.search(r"done 100.0 True\ncompleted ok\n$", _output(jobs, server, tmp_path))
    assert _output(vouchers, server, tmp_path) == "True 3\n"
    assert _output(receipts, server, tmp_path) == "range_check bb True\n"
    assert _output(errors, server, tmp_path) == "witness_unsatisfied False 422\n"
    for name in ("README.md", "web/python/README.md"):
        (example,) = _examples(name)
        assert len(example.strip().splitlines()) <= 10
        assert _output(example, server, tmp_path).rstrip().endswith("True")


def test_the_document_names_every_code_argument_and_member() -> None:
    text = _text("docs/PYTHON.md")

    def arguments(function: Any) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name != "self"]

    def public(kind: type[Any]) -> list[str]:
        return [name for name in vars(kind) if not name.startswith("_")]

    names = [*CLIENT_ERROR_CODES, *arguments(Client), *arguments(Client.prove)[2:]]
    names += [field.name for kind in (ProofResult, Progress) for field in dataclasses.fields(kind)]
    names += inspect.get_annotations(EdgeproveError)
    assert len(names) > 40
    for name in names:
        assert f"`{name}`" in text, f"docs/PYTHON.md does not have {name}"
    parts = (edgeprove.Jobs, edgeprove.Circuits, edgeprove.Vouchers)
    methods = [name for part in parts for name in public(part)]
    methods += ["prove", "verify", "health", "service", "warm"]
    internal = {"submit_body", "follow_until", "abandon", "abandon_submission", "proof_body", "forget_after"}
    for name in set(methods) - internal:
        assert f"{name}(" in text, f"docs/PYTHON.md does not have {name}"


def test_the_client_for_threads_is_generated_from_the_one_for_asyncio() -> None:
    sys.path.insert(0, str(paths.PACKAGE / "scripts"))
    try:
        from generate_sync import generated_files  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    for path, content in generated_files().items():
        assert path.read_text(encoding="utf-8") == content, f"run scripts/generate_sync.py: {path} is out of date"
        assert not re.search(r"\b(async|await|aclose|Async\w+|Awaitable)\b", content.split("\n", 1)[1]), path


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=["lints", "format", "types"]
)
def test_the_code_passes_its_checks(command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=paths.PACKAGE, capture_output=True, text=True, timeout=500, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_package_can_be_built_and_has_its_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=paths.PACKAGE, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("edgeprove-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"edgeprove/py.typed", "edgeprove/_sync/_client.py", "edgeprove/wire.py"} <= set(names)
    assert not [name for name in names if not name.startswith("edgeprove")], names
    script = "import edgeprove, sys; print(edgeprove.__file__, edgeprove.__version__)"
    ended = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True, check=True
    )
    assert str(wheel) in ended.stdout and wheel.name.startswith(f"edgeprove-{ended.stdout.split()[-1]}-")
