"""Sets Easel up and starts it: needs Python 3.11 or newer and nothing else.

    python launch.py [flags]      set up if needed, then start app.py; every flag that is not listed here is passed on to it
    python launch.py setup        set up and leave
    python launch.py test [...]   set up for tests and run pytest (--all: also the slow ones); every other argument is pytest's
    python launch.py models ...   list, inspect, convert and merge model files (python launch.py models --help)
    python launch.py doctor       say what is wrong with this machine, and the way out

    --venv DIR       another place for the environment (default: venv)
    --reinstall      make the environment anew
    --skip-install   run no pip; use the environment as it is, or this Python where there is none

Read from the environment: COMMANDLINE_ARGS (flags, as A1111 has it), EASEL_TORCH_INDEX (an index for torch and torchvision, such as
https://download.pytorch.org/whl/cu126), and whatever pip reads (PIP_INDEX_URL, HTTPS_PROXY, ...).

Standard library only, and written so that Python 3.8 can still read it and say that it is too old. It knows nothing of Easel but its files' names.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import importlib.util
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ROOT = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 11)
GIB = 1 << 30
NO_PIP = "its pip is gone"

PIP_TROUBLE = (
    (r"No space left on device|Errno 28\b|WinError 112", "The disk is full.", "Free about {need} GB and start again; what is already there is kept."),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError", "The package index cannot be trusted: a certificate did not verify, mostly a proxy's own.",
     "Name the proxy's certificate with PIP_CERT=/path/to/ca.pem, check the clock of this machine, and start again."),
    (r"407 Proxy|ProxyError|Cannot connect to proxy", "The proxy refused the connection.", "Check HTTPS_PROXY and start again."),
    (r"Failed to establish a new connection|Name or service not known|getaddrinfo failed|nodename nor servname|Temporary failure in name resolution"
     r"|Network is unreachable|Connection refused|ConnectTimeoutError|Read timed out|ReadTimeoutError|Connection (?:broken|reset|aborted)",
     "The package index cannot be reached: there is no network, or a proxy is needed.",
     "Check the connection (HTTPS_PROXY for a proxy, PIP_INDEX_URL for another index) and start again; it goes on where it stopped."),
    (r"DO NOT MATCH THE HASHES|IncompleteRead|Cannot unpack file|BadZipFile", "A download arrived damaged.",
     "Start again; if it comes back: `{python} -m pip cache purge`."),
    (r"not a trusted or secure host", "The package index is not served by HTTPS, so pip does not use it.",
     "Give its https:// address, or name the host in PIP_TRUSTED_HOST."),
    (r"No matching distribution found for (?P<what>[^\s(]+)", "Python {version} gets no package {what} here: the index lacks it or is out of reach.",
     "Check the connection; use Python 3.11 to 3.13 on 64-bit Linux, Windows or macOS; check PIP_INDEX_URL and EASEL_TORCH_INDEX."),
    (r"ResolutionImpossible|conflicting dependencies", "The packages contradict each other.",
     "Take your changes out of requirements.txt, or try --reinstall."),
    (r"Permission denied|Errno 13\b|WinError 5\b", "A file of the environment cannot be written.",
     "Close other programs that use it and check who owns {venv}, or choose another place with --venv DIR."),
)


class Trouble(Exception):
    """Something that stops us, in one sentence, and the way out."""

    def __init__(self, message: str, repair: str) -> None:
        super().__init__(message)
        self.message = message
        self.repair = repair


class Environment:
    """The virtual environment and its stamps. A stamp is a file with the hash of what was installed; it is written last."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self.python = os.path.join(self.folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
        self.marker = os.path.join(self.folder, "easel-environment")
        self.log = os.path.join(self.folder, "easel-pip.log")

    def requirements(self, kind: str) -> str:
        """Path of what `kind` ("run" or "dev") needs."""
        return os.path.join(ROOT, "requirements.txt" if kind == "run" else "requirements-dev.txt")

    def wanted(self, kind: str) -> str:
        """Hash of the requirement files and the torch index."""
        digest = hashlib.sha256(os.environ.get("EASEL_TORCH_INDEX", "").encode())
        for part in ("run", "dev")[: 1 if kind == "run" else 2]:
            with open(self.requirements(part), "rb") as file:
                digest.update(file.read())
        return digest.hexdigest()

    def current(self, kind: str) -> bool:
        """True when nothing needs to be installed: the stamp fits and the environment's Python is there."""
        try:
            with open(os.path.join(self.folder, "easel-stamp-" + kind), encoding="ascii") as file:
                return file.read() == self.wanted(kind) and os.path.isfile(self.python)
        except OSError:
            return False

    def stamp(self, kind: str) -> None:
        """Write down that `kind` is complete; "dev" includes "run"."""
        for part in ("run", "dev")[: 1 if kind == "run" else 2]:
            path = os.path.join(self.folder, "easel-stamp-" + part)
            with open(path + ".tmp", "w", encoding="ascii") as file:
                file.write(self.wanted(part))
            os.replace(path + ".tmp", path)

    def packages(self) -> str:
        """Its site-packages folder; "" before there is one."""
        places = (os.path.join(self.folder, "lib", "python3*", "site-packages"), os.path.join(self.folder, "Lib", "site-packages"))
        return next((found for place in places for found in glob.glob(place)), "")

    def fault(self) -> str | None:
        """What is wrong with the environment in words, None when it can be installed into. Raises `Trouble` for a folder that is not ours."""
        if not os.path.isdir(self.folder) or not os.listdir(self.folder):
            return "it is not there yet"
        if not os.path.isfile(os.path.join(self.folder, "pyvenv.cfg")):
            if os.path.isfile(self.marker):
                return "it was never finished"
            raise Trouble(f"{self.folder} holds something that is not an environment.", "Choose another place with --venv DIR, or move it away.")
        if not os.path.isfile(self.python):
            return "its Python is gone"
        answer = ask([self.python, "-c", "import sys; print(*sys.version_info[:2])"])
        if answer is None or tuple(map(int, answer.split())) < OLDEST:
            return "its Python does not run or is too old"
        return None if self.has_pip() else NO_PIP

    def has_pip(self) -> bool:
        """True when pip runs."""
        return ask([self.python, "-m", "pip", "--version"]) is not None

    def mend_pip(self) -> bool:
        """Put pip back without touching the gigabytes beside it; False when that fails."""
        for folder in glob.glob(os.path.join(self.packages() or os.devnull, "pip-*.dist-info")):
            shutil.rmtree(folder, ignore_errors=True)  # else ensurepip believes that pip is there
        return ask([self.python, "-m", "ensurepip", "--upgrade"]) is not None and self.has_pip()

    def make(self, reason: str) -> None:
        """Make it anew. Raises `Trouble` when this Python cannot."""
        for module in ("venv", "ensurepip"):
            if importlib.util.find_spec(module) is None:
                name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
                raise Trouble(f"This Python has no module {module}, so it cannot make an environment.",
                              f"On Debian or Ubuntu: sudo apt install {name}; elsewhere install Python from python.org. Then start again.")
        say(f"Making the environment {self.folder} ({reason}).")
        shutil.rmtree(self.folder + ".old", ignore_errors=True)
        if os.path.isdir(self.folder):  # renamed first: a deletion that is interrupted must not leave a folder that looks like somebody else's
            os.replace(self.folder, self.folder + ".old")
            shutil.rmtree(self.folder + ".old", ignore_errors=True)
        os.makedirs(self.folder)
        with open(self.marker, "w", encoding="ascii"):
            pass  # from here on the folder is known as ours, whatever happens
        base = getattr(sys, "_base_executable", sys.executable)  # not the Python inside the folder just removed
        done = subprocess.run([base, "-m", "venv", self.folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise pip_trouble(done.stdout.decode(errors="replace"), self)

    def clean(self) -> None:
        """Forget packages that an interrupted pip left half-done, so that it installs them again: it writes INSTALLER after a package's last file."""
        for folder in glob.glob(os.path.join(self.packages() or os.devnull, "*.dist-info")):
            if not os.path.isfile(os.path.join(folder, "INSTALLER")) or not os.path.isfile(os.path.join(folder, "RECORD")):
                shutil.rmtree(folder, ignore_errors=True)


class Progress:
    """Says what pip is doing: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, temporary: str, packages: str) -> None:
        self.temporary, self.packages = temporary, packages
        self.before = self.count = 0
        self.start = time.monotonic()
        self.doing = "asking the package index"
        self.size = 0.0
        self.shown = -10.0
        self.terminal = sys.stdout.isatty()

    def read(self, line: str) -> None:
        """Learn from one line of pip."""
        download = re.match(r"\s*Downloading (?:\S*/)?(\S+?)(?:\.metadata)? \(([\d.]+) (kB|MB|GB)\)", line)
        if download and ".metadata" not in line:
            self.doing = "downloading " + re.sub(r"-(?:cp|py|pp)\d.*", "", download[1])
            self.size = float(download[2]) * {"kB": 1e-3, "MB": 1.0, "GB": 1e3}[download[3]]
            self.show(large=self.size > 20)
        elif line.startswith("Collecting "):
            self.doing, self.size = "choosing versions: " + re.split(r"[\s<>=~!;\[(]", line[11:], maxsplit=1)[0], 0.0
        elif line.startswith("Installing collected packages"):
            self.doing, self.size = "unpacking packages", 0.0
            self.before, self.count = self._unpacked(), line.count(",") + 1
            self.show(large=True)

    def show(self, large: bool = False) -> None:
        """Print where it is, when it is time to."""
        elapsed = int(time.monotonic() - self.start)
        if not (self.terminal or large or elapsed - self.shown >= 10):
            return
        self.shown = elapsed
        text = f"  {elapsed // 60}:{elapsed % 60:02}  {self.doing}"
        if self.size > 20:
            text += f", {min(self._arrived(), self.size):.0f} of {self.size:.0f} MB"
        if self.count:
            text += f", {self._unpacked() - self.before} of {self.count}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            text = "\r" + text[:width].ljust(width)
        print(text, end="" if self.terminal else "\n", flush=True)

    def _unpacked(self) -> int:
        return len(glob.glob(os.path.join(self.packages, "*.dist-info")))

    def _arrived(self) -> float:
        newest, size = 0.0, 0
        for folder, _, names in os.walk(self.temporary):
            for name in names:
                with contextlib.suppress(OSError):  # pip removes files while we look
                    state = os.stat(os.path.join(folder, name))
                    newest, size = max((newest, size), (state.st_mtime, state.st_size))
        return size / 1e6


def main(argv: list[str]) -> int:
    """Do what the command line says. Returns the exit status; does not return where the app takes this process over."""
    command = argv[0] if argv and argv[0] in ("setup", "test", "doctor", "models") else "run"
    words = argv[1:] if command != "run" else shlex.split(os.environ.get("COMMANDLINE_ARGS", "")) + argv
    if {"-h", "--help"} & set(words) and command not in ("test", "models"):
        print(__doc__)
        print("The flags of app.py: python launch.py setup, then python app.py --help in the environment.")
        return 0
    try:
        leave_old_python(argv)
        environment, rest, own = read_flags(words)
        if command == "doctor":
            return hand_over([sys.executable, os.path.join(ROOT, "tools", "doctor.py"), environment.folder, *rest])
        if "--skip-install" not in own:
            set_up(environment, "dev" if command == "test" else "run", "--reinstall" in own)
        python = environment.python if os.path.isfile(environment.python) else sys.executable
        if command == "setup":
            say("Easel is set up. Start it with: python launch.py")
            return 0
        if command == "test":
            os.chdir(ROOT)
            return hand_over([python, "-m", "pytest", *test_arguments(rest)])
        script = os.path.join("tools", "models.py") if command == "models" else "app.py"
        return hand_over([python, os.path.join(ROOT, script), *rest])
    except KeyboardInterrupt:
        print("\nStopped. The next start goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        trouble = Trouble("The disk is full.", "Free some space and start again; what is already there is kept.")
    except Trouble as error:
        trouble = error
    print(f"\nEasel cannot go on: {trouble.message}\n  {trouble.repair}", file=sys.stderr)
    return 1


def leave_old_python(argv: list[str]) -> None:
    """Go on with a newer Python where this one is too old. Raises `Trouble` when there is none."""
    if sys.version_info >= OLDEST:
        return
    version = ".".join(map(str, sys.version_info[:2]))
    for minor in (13, 12, 11, 14):
        newer = shutil.which(f"python3.{minor}")
        if newer and ask([newer, "-c", "import venv, ensurepip"]) is not None:
            say(f"This is Python {version}; Easel needs 3.11 or newer and goes on with {newer}.")
            sys.exit(hand_over([newer, os.path.join(ROOT, "launch.py"), *argv]))
    raise Trouble(f"This is Python {version}; Easel needs 3.11 or newer.",
                  "Install it (python.org, or your system's package python3.12), then: python3.12 launch.py")


def read_flags(words: list[str]) -> tuple[Environment, list[str], set[str]]:
    """Split the command line: the environment, what app.py or pytest gets, our own switches."""
    rest, own, folder = [], set(), os.path.join(ROOT, "venv")
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word in ("--reinstall", "--skip-install"):
            own.add(word)
        elif word == "--venv" or word.startswith("--venv="):
            folder = word[7:] or (waiting.pop(0) if waiting and word == "--venv" else "")
            if not folder:
                raise Trouble("--venv needs a folder.", "For example: python launch.py --venv ~/easel-venv")
        else:
            rest.append(word)
    return Environment(os.path.expanduser(folder)), rest, own


def set_up(environment: Environment, kind: str, anew: bool) -> None:
    """Bring the environment up to the requirements. Every step may be interrupted: the next start repairs it."""
    if not anew and environment.current(kind):
        return
    with locked(environment.folder + ".lock"):
        fault = environment.fault()
        check_disk(environment)
        if fault == NO_PIP and environment.mend_pip():
            fault = None
        if anew or fault:
            environment.make(fault or "asked for by --reinstall")
        for stamp in glob.glob(os.path.join(environment.folder, "easel-stamp-*")):
            os.remove(stamp)
        environment.clean()
        say(f"Installing packages{' (gigabytes, some minutes)' if disk_need(environment) > 1 else ''}. Ctrl+C is safe, the next start goes on.")
        index = os.environ.get("EASEL_TORCH_INDEX")
        if index and torch_lines():
            run_pip(environment, ["--index-url", index, *torch_lines()])
        run_pip(environment, ["-r", environment.requirements(kind)])
        environment.stamp(kind)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """One set-up at a time; the second waits. The system frees the lock however the first one ends."""
    with open(path, "a+b") as file:
        if fcntl is None:  # Windows: two set-ups at once are left to the person
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another launch.py is setting up the same environment; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def torch_lines() -> list[str]:
    """The requirements that EASEL_TORCH_INDEX is for. With one index only, so that a newer build from elsewhere cannot win."""
    with open(os.path.join(ROOT, "requirements.txt"), encoding="utf-8") as file:
        return [line.partition("#")[0].strip() for line in file if re.match(r"torch(vision)?\b(?![-_])", line)]


def check_disk(environment: Environment) -> None:
    """Raises `Trouble` when the packages cannot fit."""
    need, free = disk_need(environment), disk_free(environment.folder)
    if free < need * GIB:
        raise Trouble(f"The disk is too full: {free / GIB:.1f} GB are free at {environment.folder}, about {need} GB are needed.",
                      "Free some space, or put the environment on another disk with --venv DIR.")


def disk_need(environment: Environment) -> float:
    """GB to be free before pip begins: measured on Linux with CUDA (6.5 unpacked, 3 as wheels); less elsewhere, little when torch is there."""
    if not torch_lines() or os.path.isfile(os.path.join(environment.packages(), "torch", "version.py")):
        return 0.2
    cuda = sys.platform.startswith("linux") and "/cpu" not in os.environ.get("EASEL_TORCH_INDEX", "")
    return 10 if cuda else 3


def disk_free(folder: str) -> int:
    """Free bytes where `folder` is or will be."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def run_pip(environment: Environment, arguments: list[str]) -> None:
    """pip install, with progress. pip's own environment settings hold. Raises `Trouble` in words for what pip said."""
    temporary = os.path.join(os.environ.get("TMPDIR") or environment.folder, "easel-pip-downloads")  # /tmp is often too small for torch
    os.makedirs(temporary, exist_ok=True)
    command = [environment.python, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    variables.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary))
    variables.setdefault("PIP_NO_INPUT", "1")
    lines: queue.Queue[str | None] = queue.Queue()
    progress, said = Progress(temporary, environment.packages()), []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, encoding="utf-8", errors="replace")
    threading.Thread(target=pass_on, args=(process.stdout, lines), daemon=True).start()
    try:
        with open(environment.log, "a", encoding="utf-8") as log:
            while True:
                try:
                    line = lines.get(timeout=0.5)
                except queue.Empty:
                    progress.show()
                    continue
                if line is None:
                    break
                said.append(line)
                log.write(line)
                progress.read(line)
        if process.wait():
            raise pip_trouble("".join(said), environment)
    finally:
        if process.poll() is None:  # Ctrl+C reaches pip as well; wait until it has let go of the files
            process.terminate()
            process.wait()
        shutil.rmtree(temporary, ignore_errors=True)
        print(end="\n" if progress.terminal else "", flush=True)


def pass_on(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """Put every line of a stream into a queue, then None; reading alone cannot wait with a time limit."""
    for line in stream:
        lines.put(line)
    lines.put(None)


def pip_trouble(said: str, environment: Environment) -> Trouble:
    """The first known cause in what pip said, as a sentence."""
    version = ".".join(map(str, sys.version_info[:2]))
    words = {"need": f"{disk_need(environment):g}", "venv": environment.folder, "python": environment.python, "version": version}
    for pattern, message, repair in PIP_TROUBLE:
        found = re.search(pattern, said)
        if found:
            words.update(found.groupdict())
            return Trouble(message.format(**words), repair.format(**words))
    last = "\n  ".join(said.strip().splitlines()[-6:])
    return Trouble(f"pip failed. Its last words:\n  {last}", f"All of it is in {environment.log}. Start again, or try --reinstall.")


def test_arguments(rest: list[str]) -> list[str]:
    """pytest's arguments. --all lifts the default selection of pyproject.toml; GPU tests join where there is one. Two processes share the tests, the
    browser's stay in one (tests/conftest.py); `-n 0` is one process."""
    others = [word for word in rest if word != "--all"]
    processes = [] if any(word.startswith(("-n", "--numprocesses", "--pdb")) for word in rest) else ["-n", "2"]
    if len(others) == len(rest):
        return [*processes, *others]
    return [*processes, "-m", "" if shutil.which("nvidia-smi") else "not gpu", *others]


def hand_over(command: list[str]) -> int:
    """Become `command` where the system can, so that no launcher waits in memory; else run it and give its status back."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # it gets Ctrl+C too and ends in its own way
            return process.wait()


def ask(command: list[str], timeout: float = 120) -> str | None:
    """What a program prints, None when it fails or is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
