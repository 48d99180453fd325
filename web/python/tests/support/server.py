"""Starts the real server on a free port, with data of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import httpx

from . import paths
from .wait import eventually

#: The cores of every server.
_CORES = 2
#: The provers of so many cores: one that has all of them, and one for each.
_PROVERS = 3


def keys_file(**roles: str) -> str:
    """The text of a keys file: the key of ``alice`` is ``alice-key``."""
    tables = []
    for name, role in roles.items():
        digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
        tables.append(f'[keys.{name}]\nsha256 = ["{digest}"]\nrole = "{role}"\n')
    return "\n".join(tables)


def sample_witness(name: str = "range_check") -> Path:
    """The compressed witness of a circuit's sample."""
    return paths.CIRCUITS / f"{name}.gz"


class Server:
    """A running server."""

    def __init__(
        self,
        *flags: str,
        keys: str | None = None,
        environment: dict[str, str] | None = None,
        circuits: tuple[str, ...] = ("range_check",),
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edgeprove-python-"))
        self._environment = environment or {}
        (self._folder / "circuits").mkdir()
        for name in circuits:
            shutil.copy(paths.CIRCUITS / f"{name}.json", self._folder / "circuits")
        self._flags = ["--circuits", str(self._folder / "circuits"), "--crs", str(paths.CRS)]
        for flag, name in (("--cache-dir", "cache"), ("--spool-dir", "spool"), ("--addr-file", "address")):
            self._flags += [flag, str(self._folder / name)]
        self._flags += ["--drain", "5s", "--cores", str(_CORES), *flags]
        if "--data" not in flags:
            self._flags += ["--data", str(self._folder / "data")]
        if keys is not None:
            file = self._folder / "keys.toml"
            file.touch(mode=0o600)
            file.write_text(keys)
            self._flags += ["--keys-file", str(file)]
        self._pausing: threading.Event | None = None
        self._run("127.0.0.1:0")

    def _run(self, listen: str) -> None:
        address = self._folder / "address"
        address.unlink(missing_ok=True)
        log = self._folder / "log"
        # Only what the server needs: the caller's own settings must not change it.
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {"BB_PATH": str(paths.BB), **self._environment}
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [str(paths.SERVER), "serve", "--listen", listen, *self._flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
            )

        def found() -> str:
            assert self._child.poll() is None, f"the server ended with {self._child.returncode}:\n{log.read_text()}"
            return address.read_text().strip() if address.exists() else ""

        self.url = f"http://{eventually('the server listens', found)}"
        eventually("the server is ready", lambda: self._is_ready())

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """What the server has written so far."""
        return (self._folder / "log").read_text()

    @contextmanager
    def paused_provers(self) -> Iterator[None]:
        """Stops every prover meanwhile, so that no proof can finish, and those that replace them."""
        self._pause_provers()
        try:
            yield
        finally:
            # Tests that share the server would wait for ever after one that failed.
            self._resume_provers()

    def _pause_provers(self) -> None:

        def is_idle() -> bool:
            health = httpx.get(f"{self.url}/api/health").json()
            busy = [health["prover"]["running"], health["prover"]["waiting"]]
            return not any([*busy, health["jobs"]["running"], health["jobs"]["queued"]]) and (
                len(self._provers()) == _PROVERS
            )

        eventually("the server is idle", is_idle)
        stopped = threading.Event()
        self._pausing = stopped

        def stop() -> None:
            # A new prover needs longer than this until its first proof.
            while True:
                for pid in self._provers():
                    _signal(pid, signal.SIGSTOP)
                if stopped.wait(0.025):
                    return

        for pid in self._provers():
            _signal(pid, signal.SIGSTOP)
        self._pauser = threading.Thread(target=stop)
        self._pauser.start()

    def _resume_provers(self) -> None:
        """Lets the provers go on."""
        self._end_pause()
        for pid in self._provers():
            _signal(pid, signal.SIGCONT)

    def _end_pause(self) -> None:
        if self._pausing is not None:
            self._pausing.set()
            self._pauser.join()
            self._pausing = None

    def _provers(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                # The name, in brackets, may have blanks.
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                # A process that is still the server's copy must not be stopped: the server waits until it is bb.
                if name == "bb" and int(rest.split()[1]) == self._child.pid:
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Ends it at once, as a crash or a power cut."""
        self._end_pause()
        provers = self._provers()
        self._child.kill()
        self._child.wait()
        # One that was stopped would not notice that its server is gone.
        for pid in provers:
            _signal(pid, signal.SIGKILL)

    def restart(self) -> None:
        """Starts it again, on the same port and data."""
        self._run(self.url.removeprefix("http://"))

    def stop(self) -> None:
        """Ends it, and removes its data."""
        self._resume_provers()
        self._child.terminate()
        self._child.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
