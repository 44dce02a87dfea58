"""A small project around a copy of launch.py, and an environment whose Python writes down what it is asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "{folder}/calls"
case "$*" in
  "-m pip install"*) cat "{folder}/said"; sleep "$(cat "{folder}/sleep")"; exit "$(cat "{folder}/status")" ;;
esac
exec "{python}" "$@"
"""


class Project:
    """A folder with launch.py, an app.py that prints its arguments, and requirements that need no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "launch.py", folder)
        shutil.copy(ROOT / "tools" / "doctor.py", folder / "tools")
        (folder / "app.py").write_text("import sys\nprint('APP', sys.argv[1:], flush=True)\n")
        (folder / "requirements.txt").write_text("# nothing\n")
        (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
        self.venv = folder / "venv"

    def environment(self, **extra: str) -> dict[str, str]:
        """The process environment, without what would change the launcher's behaviour."""
        drop = ("COMMANDLINE_ARGS", "EASEL_TORCH_INDEX", "TMPDIR")
        return {name: value for name, value in os.environ.items() if name not in drop} | extra

    def launch(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run launch.py to its end."""
        return subprocess.run([sys.executable, str(self.folder / "launch.py"), *arguments], env=self.environment(**environment), text=True,
                              capture_output=True, timeout=120, check=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start launch.py in a process group of its own, so that a Ctrl+C can be sent to it and its children."""
        return subprocess.Popen([sys.executable, str(self.folder / "launch.py"), *arguments], env=self.environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def fake_environment(self, said: str = "", status: int = 0, sleep: float = 0) -> None:
        """An environment that is there; its pip prints `said` and ends with `status` after `sleep` seconds."""
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "lib" / "python3" / "site-packages").mkdir(parents=True)
        (self.venv / "pyvenv.cfg").write_text("home = here\n")
        (self.venv / "bin" / "python").write_text(FAKE_PYTHON.format(folder=self.folder, python=sys.executable))
        (self.venv / "bin" / "python").chmod(0o755)
        self.pip(said, status, sleep)

    def pip(self, said: str = "", status: int = 0, sleep: float = 0) -> None:
        """What the fake pip does from now on."""
        (self.folder / "said").write_text(said)
        (self.folder / "status").write_text(str(status))
        (self.folder / "sleep").write_text(str(sleep))

    @property
    def calls(self) -> list[str]:
        """What the fake Python was asked to run."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def installs(self) -> list[str]:
        """The pip installs among the calls."""
        return [call for call in self.calls if call.startswith("-m pip install")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "easel")
