"""The launcher as a person meets it: first start, second start, and every way in which set-up goes wrong."""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

import launch

ROOT = Path(__file__).resolve().parents[2]
NO_NETWORK = """WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError('<HTTPSConnection object at 0x7f>:
Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/gradio/
ERROR: Could not find a version that satisfies the requirement gradio==6.31.0 (from versions: none)
ERROR: No matching distribution found for gradio==6.31.0
"""
TROUBLES = {
    NO_NETWORK: "cannot be reached: there is no network",
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "The disk is full",
    "Could not fetch URL: SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]": "a certificate did not verify",
    "ERROR: Could not find a version\nERROR: No matching distribution found for torch~=2.15.0": "gets no package torch~=2.15.0 here",
    "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE": "arrived damaged",
    "ERROR: ResolutionImpossible: for help visit": "contradict each other",
    "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'": "cannot be written",
    "ERROR: something nobody has seen before": "something nobody has seen before",
}


def test_a_half_made_environment_is_made_and_a_broken_one_is_repaired(project):
    project.venv.mkdir()
    (project.venv / "easel-environment").touch()  # Ctrl+C came right after the first file
    first = project.launch("--port", "1234")
    assert first.returncode == 0, first.stderr
    assert "it was never finished" in first.stdout
    assert "APP ['--port', '1234']" in first.stdout

    (project.venv / "bin" / "python").unlink()
    second = project.launch()
    assert "its Python is gone" in second.stdout
    assert "APP []" in second.stdout

    shutil.rmtree(next(project.venv.glob("lib/python3*/site-packages/pip")))
    (project.folder / "requirements.txt").write_text("# changed\n")
    third = project.launch()
    assert "Making the environment" not in third.stdout  # pip alone was mended
    assert "APP []" in third.stdout, third.stderr
    assert list(project.venv.glob("lib/python3*/site-packages/pip/__init__.py"))


def test_reinstall_makes_the_environment_anew(project):
    project.fake_environment()
    (project.venv / "left-over").touch()
    done = project.launch("setup", "--reinstall")
    assert done.returncode == 0, done.stderr
    assert not (project.venv / "left-over").exists()
    assert not Path(f"{project.venv}.old").exists()


def test_the_second_start_runs_no_pip_and_adds_less_than_300_ms(project):
    project.fake_environment()
    assert project.launch().returncode == 0
    assert len(project.installs) == 1
    log = (project.folder / "calls").read_text()

    def measure(script: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, str(project.folder / script)], env=project.environment(), check=True, capture_output=True)
        return time.perf_counter() - began

    pairs = [(measure("launch.py"), measure("app.py")) for _ in range(7)]
    assert min(with_launcher for with_launcher, _ in pairs) - min(alone for _, alone in pairs) < 0.3
    assert project.folder.joinpath("calls").read_text().removeprefix(log).splitlines() == [f"{project.folder}/app.py"] * 7


def test_changed_requirements_are_installed_once(project):
    project.fake_environment()
    project.launch("setup")
    (project.folder / "requirements.txt").write_text("# other\n")
    project.launch("setup")
    project.launch("setup")
    assert len(project.installs) == 2


def test_dev_requirements_are_apart_and_include_the_others(project):
    project.fake_environment()
    project.launch("test", "--version")
    assert project.installs[-1].endswith("requirements-dev.txt")
    project.launch()
    assert len(project.installs) == 1
    (project.folder / "requirements-dev.txt").write_text("-r requirements.txt\n# other\n")
    project.launch()
    assert len(project.installs) == 1
    project.launch("test", "--version")
    assert len(project.installs) == 2


def test_flags_reach_the_app_behind_those_of_commandline_args(project):
    project.fake_environment()
    done = project.launch("--port", "1", "--venv", str(project.venv), "--xformers", COMMANDLINE_ARGS='--listen --gradio-auth "me:a b"')
    assert "APP ['--listen', '--gradio-auth', 'me:a b', '--port', '1', '--xformers']" in done.stdout
    assert "COMMANDLINE_ARGS" not in project.launch("--skip-install", COMMANDLINE_ARGS="--x").stdout


def test_models_is_a_command_of_the_environment_and_the_apps_flags_are_not_for_it(project):
    (project.folder / "tools" / "models.py").write_text("import sys\nprint('MODELS', sys.argv[1:], flush=True)\n")
    project.fake_environment()
    done = project.launch("models", "list", "--kind", "lora", COMMANDLINE_ARGS="--listen")
    assert "MODELS ['list', '--kind', 'lora']" in done.stdout
    assert "MODELS ['--help']" in project.launch("models", "--help").stdout


def test_skip_install_runs_no_pip(project):
    (project.folder / "requirements.txt").write_text("a-package-that-is-nowhere==0\n")
    done = project.launch("--skip-install", "--port", "2")
    assert "APP ['--port', '2']" in done.stdout
    assert not project.venv.exists()


def test_another_torch_index_is_for_torch_only_and_comes_first(project):
    project.fake_environment()
    (project.folder / "requirements.txt").write_text("gradio==1\ntorch~=2.15.0  # why\ntorchvision~=0.29\nopen_clip_torch\ntorch-fidelity\n")
    (project.venv / "lib" / "python3" / "site-packages" / "torch").mkdir()
    (project.venv / "lib" / "python3" / "site-packages" / "torch" / "version.py").touch()  # so that no 10 GB are asked for
    project.launch("setup", EASEL_TORCH_INDEX="https://example.org/cpu")
    first, second = project.installs
    assert first.endswith("--index-url https://example.org/cpu torch~=2.15.0 torchvision~=0.29")
    assert "--index-url" not in second
    project.launch("setup", EASEL_TORCH_INDEX="https://example.org/cpu")
    assert len(project.installs) == 2
    project.launch("setup")  # the index is part of the stamp
    assert len(project.installs) == 3


@pytest.mark.parametrize(("said", "sentence"), TROUBLES.items(), ids=[text[:24] for text in TROUBLES.values()])
def test_what_pip_says_becomes_one_sentence_and_a_repair(project, said, sentence):
    project.fake_environment(said, status=1)
    done = project.launch()
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Easel cannot go on" in done.stderr
    assert "Traceback" not in done.stderr
    assert "APP" not in done.stdout
    project.pip()
    assert "APP []" in project.launch().stdout  # the next start goes on


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_install_is_repaired_by_the_next_start(project, kill):
    project.fake_environment("Installing collected packages: half\n", sleep=30)
    process = project.start()
    _wait_for(lambda: project.installs)
    half = project.venv / "lib" / "python3" / "site-packages" / "half-1.0.dist-info"
    whole = half.with_name("whole-1.0.dist-info")
    for folder, names in ((half, ("METADATA", "RECORD")), (whole, ("METADATA", "RECORD", "INSTALLER"))):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    os.killpg(process.pid, kill)
    said = process.communicate(timeout=20)[0]
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert "The next start goes on from here" in said
    assert not list(project.venv.glob("easel-stamp-*"))

    project.pip()
    done = project.launch()
    assert "APP []" in done.stdout, done.stderr
    assert len(project.installs) == 2
    assert not half.exists()
    assert whole.exists()


def test_two_set_ups_at_once_take_turns(project):
    project.fake_environment()
    with open(f"{project.venv}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = project.start()
        assert process.stdout is not None
        assert "waiting for it" in process.stdout.readline()
        assert not project.installs
    assert "APP []" in process.communicate(timeout=30)[0]


def test_a_folder_of_somebody_else_is_refused_and_left_alone(project):
    project.venv.mkdir()
    (project.venv / "thesis.txt").write_text("years of work")
    for flags in ((), ("--reinstall",)):
        done = project.launch(*flags)
        assert done.returncode == 1
        assert "not an environment" in done.stderr
        assert "--venv" in done.stderr
    assert (project.venv / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_is_noticed_before_anything_is_loaded(project, monkeypatch, capsys):
    project.fake_environment()
    (project.folder / "requirements.txt").write_text("torch\n")
    monkeypatch.setattr(launch, "ROOT", str(project.folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(9, 9, 10**9))
    assert launch.main(["setup"]) == 1
    said = capsys.readouterr().err
    assert "too full: 0.9 GB are free" in said
    assert "--venv" in said
    assert not project.installs


def test_a_disk_that_fills_up_meanwhile_is_no_traceback(project, monkeypatch, capsys):
    project.fake_environment()
    monkeypatch.setattr(launch, "ROOT", str(project.folder))

    def full(environment: object, kind: str, anew: bool) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launch, "set_up", full)
    assert launch.main(["setup"]) == 1
    assert "The disk is full" in capsys.readouterr().err


def test_a_missing_venv_module_names_the_package(project, monkeypatch, capsys):
    monkeypatch.setattr(launch, "ROOT", str(project.folder))
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    assert launch.main(["setup"]) == 1
    said = capsys.readouterr().err
    assert "no module ensurepip" in said
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in said


def test_an_old_python_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert launch.main([]) == 1
    said = capsys.readouterr().err
    assert "This is Python 3.8; Easel needs 3.11 or newer" in said


def test_an_old_python_goes_on_with_a_newer_one(monkeypatch):
    taken: list[list[str]] = []
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable if name == "python3.12" else None)
    monkeypatch.setattr(launch, "hand_over", lambda command: taken.append(command) or 7)
    with pytest.raises(SystemExit, match="7"):
        launch.main(["--port", "3"])
    assert taken == [[sys.executable, str(ROOT / "launch.py"), "--port", "3"]]


def test_python_38_can_read_the_launcher():
    for name in ("launch.py", "tools/doctor.py"):
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))
        imported = {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert imported <= set(sys.stdlib_module_names) | {"launch"}


def test_progress_names_the_download_and_what_has_arrived(tmp_path, capsys):
    progress = launch.Progress(str(tmp_path), str(tmp_path / "site-packages"))
    (tmp_path / "torch.whl").write_bytes(b"x" * 3_000_000)
    for line in ("Collecting torch~=2.15.0\n", "  Downloading torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)\n",
                 "Downloading torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl (821.1 MB)\n", "Installing collected packages: a, b, c\n"):
        progress.read(line)
    (tmp_path / "site-packages" / "a-1.dist-info").mkdir(parents=True)
    progress.show(large=True)
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["downloading torch-2.15.0, 3 of 821 MB", "unpacking packages, 0 of 3", "unpacking packages, 1 of 3"]


SHARED = ["-n", "2"]


@pytest.mark.parametrize(("given", "passed"), [
    (["-k", "x"], [*SHARED, "-k", "x"]),
    (["-n", "0", "-k", "x"], ["-n", "0", "-k", "x"]),
    (["--pdb"], ["--pdb"]),
    (["--all"], [*SHARED, "-m", "not gpu"]),
    (["--all", "-m", "browser"], [*SHARED, "-m", "not gpu", "-m", "browser"]),
])
def test_pytest_gets_its_arguments(monkeypatch, given, passed):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert launch.test_arguments(given) == passed
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/nvidia-smi")
    assert launch.test_arguments(["--all"]) == [*SHARED, "-m", ""]


def _wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
