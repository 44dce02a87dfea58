"""The doctor's lines, each against a machine that has that illness."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections import namedtuple
from pathlib import Path

import pytest

import launch
from tools import doctor

TORCH = "__version__ = '2.15.0+cu132'\ncuda: Optional[str] = '13.2'\n"


@pytest.fixture
def environment(project, monkeypatch) -> launch.Environment:
    """The fake environment with a torch for CUDA 13 and its torchvision, seen from a project of its own."""
    project.fake_environment()
    monkeypatch.setattr(launch, "ROOT", str(project.folder))
    made = launch.Environment(str(project.venv))
    _package(made, "torch", TORCH)
    _package(made, "torchvision", "__version__ = '0.29.2+cu132'\n", "torch (>=2.14.0)")
    return made


def _package(environment: launch.Environment, name: str, version_py: str, requires: str = "") -> None:
    site = Path(environment.packages())
    (site / name).mkdir(exist_ok=True)
    (site / name / "version.py").write_text(version_py)
    (site / f"{name}-1.dist-info").mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n" + (f"Requires-Dist: {requires}\n" if requires else "")
    (site / f"{name}-1.dist-info" / "METADATA").write_text(text)


def _smi(monkeypatch, line: str | None, computes: bool = True) -> None:
    """Answer for nvidia-smi, and for torch's own probe."""

    def ask(command: list[str], timeout: float = 120) -> str | None:
        return line if command[0] == "nvidia-smi" else ("8.0" if computes else None)

    monkeypatch.setattr(doctor, "ask", ask)


def test_a_bare_clone_gets_eight_lines_each_with_a_verdict(project):
    done = project.launch("doctor")
    lines = done.stdout.splitlines()
    assert len(lines) == 8, done.stdout + done.stderr
    assert all(line.startswith(("ok   ", "warn ", "FAIL ")) for line in lines)
    assert "warn environment" in done.stdout
    assert done.returncode == int("FAIL" in done.stdout)
    assert not project.venv.exists()  # it looks and changes nothing


def test_doctor_after_set_up(project):
    project.fake_environment()
    project.launch("setup")
    assert f"ok   environment {project.venv}: complete" in project.launch("doctor").stdout


def test_the_environment_line(environment, project):
    assert doctor.check_environment(environment, [])[0] == "warn"  # no stamp yet
    os.remove(environment.python)
    assert doctor.check_environment(environment, []) == (
        "warn", f"environment {project.venv}: its Python is gone; the next `python launch.py` makes it")
    os.remove(project.venv / "pyvenv.cfg")
    verdict, text = doctor.check_environment(environment, [])
    assert verdict == "FAIL"
    assert "not an environment" in text


def test_the_python_line(environment, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert doctor.check_python(environment, [])[0] == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    assert doctor.check_python(environment, [])[0] == "warn"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    verdict, text = doctor.check_python(environment, [])
    assert verdict == "FAIL"
    assert "apt install python3.15-venv" in text


@pytest.mark.parametrize(("free", "verdict"), [(0.1, "FAIL"), (4, "warn"), (40, "ok")])
def test_the_disk_line(environment, monkeypatch, free, verdict):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(0, 0, int(free * launch.GIB)))
    assert doctor.check_space(environment, [])[0] == verdict


@pytest.mark.parametrize(("smi", "version_py", "computes", "verdict", "words"), [
    ("NVIDIA RTX, 580.65.06, 24564 MiB", TORCH, True, "ok", "computes on it"),
    ("NVIDIA RTX, 580.65.06, 24564 MiB", TORCH, False, "FAIL", "cannot compute on it"),
    ("NVIDIA RTX, 550.54.14, 24564 MiB", TORCH, True, "FAIL", "needs driver 580 or newer"),
    ("NVIDIA RTX, 580.65.06, 24564 MiB", "__version__ = '2.15.0+cpu'\ncuda: Optional[str] = None\n", True, "FAIL", "without CUDA"),
    ("NVIDIA RTX, 580.65.06, 24564 MiB", "", True, "ok", "not installed yet"),
])
def test_the_gpu_line(environment, monkeypatch, smi, version_py, computes, verdict, words):
    _package(environment, "torch", version_py)
    _smi(monkeypatch, smi, computes)
    got, text = doctor.check_gpu(environment, [])
    assert got == verdict
    assert words in text
    if verdict == "FAIL":
        assert "EASEL_TORCH_INDEX=" in text


@pytest.mark.parametrize(("vendor", "verdict"), [("0x10de\n", "warn"), ("0x8086\n", "ok")])
def test_a_card_without_a_driver_is_noticed(environment, monkeypatch, tmp_path, vendor, verdict):
    (tmp_path / "vendor").write_text(vendor)
    _smi(monkeypatch, None)
    monkeypatch.setattr(doctor, "PCI_VENDORS", str(tmp_path / "ven*"))
    assert doctor.check_gpu(environment, [])[0] == verdict


def test_the_torch_line(environment, monkeypatch):
    _smi(monkeypatch, None)
    assert doctor.check_packages(environment, [])[0] == "ok"
    _package(environment, "xformers", "", "torch>=2.16")
    verdict, text = doctor.check_packages(environment, [])
    assert verdict == "FAIL"
    assert "xformers 1 needs torch >=2.16" in text
    _package(environment, "xformers", "", "torch>=2.10")
    assert "xformers 1 fit" in doctor.check_packages(environment, [])[1]
    kernels = Path(environment.packages()) / "xformers" / "cpp_lib.json"
    kernels.write_text('{"version": {"cuda": 1301, "torch": "2.15.0"}}')
    assert doctor.check_packages(environment, [])[0] == "ok"
    kernels.write_text('{"version": {"cuda": 1208, "torch": "2.10.0"}}')
    verdict, text = doctor.check_packages(environment, [])
    assert verdict == "warn"
    assert "built for CUDA 12, torch for 13.2" in text
    _package(environment, "torchvision", "__version__ = '0.29.2+cpu'\n")
    verdict, text = doctor.check_packages(environment, [])
    assert verdict == "FAIL"
    assert "different builds" in text


def test_a_torch_that_cannot_be_imported_fails(environment, monkeypatch):
    _smi(monkeypatch, None, computes=False)
    verdict, text = doctor.check_packages(environment, [])
    assert verdict == "FAIL"
    assert "cannot be imported" in text
    assert "--reinstall" in text


@pytest.mark.parametrize(("version", "wanted", "met"), [
    ("2.15.0+cu132", "==2.15.0", True), ("2.15.0", ">=2.10", True), ("2.9.1", ">=2.10", False), ("2.15.0", "<2.15", False),
    ("2.15.1", "~=2.15.0", True), ("2.16.0", "~=2.15.0", False), ("2.15.0", "!=2.15.0", False), ("2.15.3", ">=2.10,<3", True),
    ("2.15.0", "<=2.15", True), ("3.0", ">2.15", True),
])
def test_version_specifiers(version, wanted, met):
    assert doctor.fits(version, wanted) is met


def test_the_writing_line(environment, project):
    assert doctor.check_writing(environment, ["--data-dir", str(project.folder)])[0] == "ok"
    assert not list(project.folder.glob(".easel-probe*"))
    verdict, text = doctor.check_writing(environment, ["--data-dir=/proc"])
    assert verdict == "FAIL"
    assert "--data-dir" in text


def test_the_port_line(environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        verdict, text = doctor.check_port(environment, ["--port", port])
        assert verdict == "FAIL"
        assert "leave --port out" in text
    assert doctor.check_port(environment, [f"--port={port}"]) == ("ok", f"port {port} is free")


def test_the_chromium_line(environment, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/chromium" if name == "chromium" else None)
    assert doctor.check_chromium(environment, []) == ("ok", "Chromium for the tests: /usr/bin/chromium")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.check_chromium(environment, [])[0] == "warn"
