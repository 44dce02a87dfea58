"""`python launch.py doctor`: what is wrong with this machine, one line each, and the way out. Standard library only; works before anything is
set up. Knows packages by the files they leave, and imports none of them itself.

    python tools/doctor.py ENVIRONMENT [flags of app.py]
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from launch import GIB, ROOT, Environment, Trouble, ask, disk_free, disk_need, say

PCI_VENDORS = "/sys/bus/pci/devices/*/vendor"  # Linux; empty elsewhere
CUDA_DRIVERS = {11: 450, 12: 525, 13: 580}
"""First driver that runs a torch built for this CUDA major version (NVIDIA, "CUDA compatibility")."""


def examine(environment: Environment, rest: list[str]) -> int:
    """Print one line for each thing that can be wrong: ok, warn or FAIL, and the way out. Returns 1 when something failed."""
    failed = False
    for check in (check_python, check_environment, check_space, check_gpu, check_packages, check_writing, check_port, check_chromium):
        verdict, text = check(environment, rest)
        failed = failed or verdict == "FAIL"
        say(f"{verdict:<5}{text}")
    return int(failed)


def check_python(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """This Python, its age and its modules."""
    version = ".".join(map(str, sys.version_info[:3]))
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        return "FAIL", f"Python {version} has no {' and no '.join(missing)}: sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if sys.version_info >= (3, 14):
        return "warn", f"Python {version}: newer than what Easel is tested with; if packages are missing, use 3.11 to 3.13"
    return "ok", f"Python {version} ({sys.executable})"


def check_environment(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """The environment and its stamp."""
    try:
        fault = environment.fault()
    except Trouble as trouble:
        return "FAIL", f"environment: {trouble.message} {trouble.repair}"
    if fault:
        return "warn", f"environment {environment.folder}: {fault}; the next `python launch.py` makes it"
    if not environment.current("run"):
        return "warn", f"environment {environment.folder}: not complete or not up to date; the next `python launch.py` installs what is missing"
    return "ok", f"environment {environment.folder}: complete"


def check_space(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """Free disk against what set-up needs, and what pictures need after it."""
    need, free = disk_need(environment), disk_free(environment.folder) / GIB
    if free < need:
        return "FAIL", f"disk: {free:.1f} GB free, set-up needs about {need:g}: free some, or use --venv DIR on another disk"
    return ("ok" if free - need > 5 else "warn"), f"disk: {free:.1f} GB free{'' if free - need > 5 else '; little room for models and pictures'}"


def check_gpu(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """The GPU and its driver against the torch that is installed, then torch's own word."""
    listed = (ask(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], 30) or "").splitlines()
    version, cuda = torch_build(environment)
    install = "EASEL_TORCH_INDEX={} python launch.py --reinstall"
    if not listed:
        card = any(read(path).strip() == "0x10de" for path in glob.glob(PCI_VENDORS))
        if card:
            return "warn", "GPU: an NVIDIA card is there but its driver does not answer: install or restart the driver; until then the CPU is used"
        return "ok", "GPU: no NVIDIA GPU found; pictures are made on the CPU, slowly" + (" (Apple: CPU too)" if sys.platform == "darwin" else "")
    driver = listed[0].split(", ")[1] if listed[0].count(", ") == 2 else "0"
    found = f"GPU: {'; '.join(listed)}"
    if not version:
        return "ok", f"{found}; torch is not installed yet"
    if not cuda:
        return "FAIL", f"{found}; torch {version} is built without CUDA: " + install.format("https://download.pytorch.org/whl/cu126")
    needed = CUDA_DRIVERS.get(int(cuda.split(".")[0]), 0)
    if int(driver.split(".")[0]) < needed:
        return "FAIL", f"{found}; torch {version} needs driver {needed} or newer: update it, or " + install.format("https://download.pytorch.org/whl/cu126")
    code = "import torch; x = torch.ones(8, device='cuda'); print(float((x @ x).item()), torch.cuda.get_device_name())"
    if ask([environment.python, "-c", code]) is None:
        return "FAIL", f"{found}; torch {version} cannot compute on it: restart the driver, or {install.format('an index that fits the card')}"
    return "ok", f"{found}; torch {version} computes on it"


def torch_build(environment: Environment, package: str = "torch") -> tuple[str, str]:
    """Version (with its +cu132) and CUDA version of an installed torch, read without importing it; empty strings where there is none."""
    text = read(os.path.join(environment.packages() or os.devnull, package, "version.py"))
    version = re.search(r"^__version__ = '(.+?)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda\b.*= '(.+?)'", text, re.MULTILINE)
    return (version[1] if version else ""), (cuda[1] if cuda else "")


def check_packages(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """torch, torchvision and xformers must be made for each other."""
    torch, cuda = torch_build(environment)
    if not torch:
        return "warn", "torch: not installed yet; `python launch.py` installs it"
    repair = ": python launch.py --reinstall"
    vision, _ = torch_build(environment, "torchvision")
    if not vision:
        return "FAIL", f"torch {torch} without torchvision{repair}"
    if "+" in torch and "+" in vision and torch.split("+")[1] != vision.split("+")[1]:
        return "FAIL", f"torch {torch} and torchvision {vision} are different builds{repair}"
    text = [f"torch {torch}", f"torchvision {vision}"]
    for package in importlib.metadata.distributions(path=[environment.packages()]):
        name = (package.metadata["Name"] or "").lower()
        if name in ("torchvision", "xformers"):
            for line in package.requires or ():
                wanted = re.match(r"torch\s*\(?((?:[<>=!~]=?\s*[\d.]+,?\s*)+)\)?", line)
                if wanted and not fits(torch, wanted[1]):
                    return "FAIL", f"{name} {package.version} needs torch {wanted[1]}, but torch {torch} is installed{repair}"
        if name == "xformers":
            text.append(f"xformers {package.version}")
    if ask([environment.python, "-c", "import torch, torchvision"]) is None:
        return "FAIL", f"{' and '.join(text[:2])} cannot be imported{repair}"
    built = xformers_cuda(environment)
    if built and built != cuda.split(".")[0]:
        return "warn", (f"{', '.join(text)}: xformers was built for CUDA {built}, torch for {cuda or 'the CPU'}, so --xformers does nothing;"
                        " torch's own attention is used and needs no repair")
    return "ok", ", ".join(text) + " fit each other"


def xformers_cuda(environment: Environment) -> str:
    """CUDA major version that the kernels of xformers were built for (it writes 1208 for 12.8); "" where there are none."""
    found = re.search(r'"cuda": (\d+)\d\d\b', read(os.path.join(environment.packages() or os.devnull, "xformers", "cpp_lib.json")))
    return found[1] if found else ""


def fits(version: str, wanted: str) -> bool:
    """Whether a version meets a specifier such as `>=2.10,<3`; the build after the plus does not count."""
    have = numbers(version.split("+")[0])
    for operator, text in re.findall(r"([<>=!~]=?)\s*([\d.]+)", wanted):
        limit = numbers(text)
        short = have[: len(limit)]
        met = {">=": have >= limit, "<=": short <= limit, "==": short == limit, "!=": short != limit, ">": have > limit, "<": have < limit,
               "~=": have >= limit and have[: len(limit) - 1] == limit[:-1]}
        if not met.get(operator, True):
            return False
    return True


def numbers(version: str) -> tuple[int, ...]:
    """(2, 15, 0) of "2.15.0"."""
    return tuple(map(int, re.findall(r"\d+", version)))


def check_writing(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """Whether the folders that Easel writes to can be written."""
    data = os.path.abspath(os.path.expanduser(flag_value(rest, "--data-dir") or ROOT))
    for folder in (data, os.path.join(data, "outputs"), os.path.join(data, "models"), os.path.dirname(environment.folder)):
        if not os.path.isdir(folder):
            continue
        probe = os.path.join(folder, f".easel-probe-{os.getpid()}")
        try:
            with open(probe, "w", encoding="ascii"):
                pass
            os.remove(probe)
        except OSError as error:
            return "FAIL", f"writing: {folder} cannot be written ({error.strerror}): change its owner, or use --data-dir and --venv"
    return "ok", f"writing: {data} can be written"


def check_port(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """Whether the port is free."""
    given = flag_value(rest, "--port")
    port = int(given) if given and given.isdigit() and int(given) < 65536 else 7860
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if given:
                return "FAIL", f"port {port} cannot be used ({error.strerror}): leave --port out and the next free one is taken"
            return "ok", f"port {port} is in use (another Easel?); the next free one will be taken"
    return "ok", f"port {port} is free"


def check_chromium(environment: Environment, rest: list[str]) -> tuple[str, str]:
    """The browser of the tests."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found:
        return "ok", f"Chromium for the tests: {found}"
    return "warn", "Chromium: none found; only `python launch.py test` needs it: sudo apt install chromium"


def flag_value(words: list[str], flag: str) -> str | None:
    """The value of `--flag VALUE` or `--flag=VALUE`, the last one given."""
    value = None
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(flag + "="):
            value = word.partition("=")[2]
    return value


def read(path: str) -> str:
    """The text of a file, "" when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(examine(Environment(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "venv")), sys.argv[2:]))
