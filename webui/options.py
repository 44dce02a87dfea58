"""The command line in A1111's spelling, read into `LaunchOptions`. Knows nothing of what the options do; torch and Gradio are far away."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from webui.ignored_flags import IGNORED, split_ignored
from webui.schema.errors import ConflictError, RequestError
from webui.schema.launch import LaunchOptions
from webui.schema.machine import DeviceOptions, MemoryMode
from webui.schema.model import FileKind

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_PORT = 7860
PORTS_TRIED = 100
PRECISIONS: dict[str, Literal["auto", "full", "half"]] = {"autocast": "auto", "full": "full", "half": "half"}

MEMORY_FLAGS: tuple[tuple[str, MemoryMode, str], ...] = (
    ("--always-high-vram --always-gpu", "high", "everything stays on the GPU"),
    ("--medvram --always-low-vram", "model offload", "one part of the model at a time on the GPU; default: by free memory"),
    ("--lowvram --always-no-vram", "group offload", "layer by layer, slow"),
)
"""A1111's and Forge's flags of the same meaning, the mode, and the words of --help."""

FILE_FOLDER_FLAGS: tuple[tuple[str, FileKind, str], ...] = (
    ("--vae-dir", "vae", "VAEs"),
    ("--text-encoder-dir", "text_encoder", "text encoders"),
    ("--lora-dir --lyco-dir", "lora", "LoRAs"),
    ("--embeddings-dir", "embedding", "embeddings"),
    ("--hypernetwork-dir", "hypernetwork", "hypernetworks"),
    ("--controlnet-dir", "controlnet", "ControlNets"),
    ("--esrgan-models-path --realesrgan-models-path --bsrgan-models-path --swinir-models-path --dat-models-path", "upscaler", "upscalers"),
    ("--gfpgan-models-path --codeformer-models-path", "face_restorer", "networks that restore faces"),
)
"""A1111's and Forge's flags for folders, what lies there, and the word for it in --help. Each may be given again."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises our error instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise `RequestError`: one line, and where to look."""
        raise RequestError(f"Command line: {message}.", hint="`python app.py --help` lists the flags.")


class _Folders(argparse.Action):
    """Collects folders; one that is not there is refused under the flag's name as it was spelled."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        del parser
        given = values if isinstance(values, list) else [values]
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), *(_existing_folder(option_string or self.dest, entry) for entry in given)))


def parse_options(argv: Sequence[str]) -> LaunchOptions:
    """Read the flags. Raises `RequestError` with one line for the first thing that is wrong (`field` is the flag)."""
    arguments, ignored = split_ignored(argv)
    parser = _make_parser()
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _unknown_flag(unknown[0], parser)
    data_dir = _usable_folder("--data-dir", given.data_dir, ROOT)
    certificate = (_existing_file("--tls-keyfile", given.tls_keyfile), _existing_file("--tls-certfile", given.tls_certfile))
    if (certificate[0] is None) != (certificate[1] is None):
        raise RequestError("TLS needs both --tls-keyfile and --tls-certfile; only one was given.", field="--tls-keyfile")
    return LaunchOptions(
        host=given.server_name or ("0.0.0.0" if given.listen else "127.0.0.1"),
        port=_port(given.port),
        data_dir=data_dir,
        models_dir=_usable_folder("--models-dir", given.models_dir, data_dir / "models"),
        outputs_dir=_usable_folder("--outputs-dir", given.outputs_dir, data_dir / "outputs"),
        ckpt=_existing_file("--ckpt", given.ckpt),
        ckpt_dir=_existing_folder("--ckpt-dir", given.ckpt_dir),
        file_folders={kind: getattr(given, kind) for _, kind, _ in FILE_FOLDER_FLAGS},
        device=_device(given),
        gradio_auth=_pairs("--gradio-auth", given.gradio_auth) + _pairs_from_file(given.gradio_auth_path),
        api_auth=_pairs("--api-auth", given.api_auth),
        theme=given.theme,
        browser=given.browser if given.browser is not None else can_open_browser(os.environ),
        loglevel=given.loglevel,
        tls_keyfile=certificate[0],
        tls_certfile=certificate[1],
        safe_mode=given.safe_mode,
        no_hashing=given.no_hashing,
        styles_files=tuple(Path(entry).expanduser().absolute() for entry in given.styles_file),
        picture_folders=given.gradio_allowed_path,
        prompt_history=not given.no_prompt_history,
        ignored=ignored,
    )


def choose_port(host: str, port: int | None) -> int:
    """The port to listen on: the given one, else 7860 or the next free one; 0 lets the system choose. Raises `ConflictError` when the given port
    is taken, `RequestError` when the address is not one of this machine or the port needs more rights."""
    if port is not None:
        return _bind(host, port)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        try:
            return _bind(host, candidate)
        except ConflictError:
            continue
    raise ConflictError(f"All ports from {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1} are taken.", "--port", "Name a free one with --port.")


def can_open_browser(environment: Mapping[str, str], platform: str = sys.platform) -> bool:
    """False where nobody would see a window: continuous integration, a remote shell, Linux without a display."""
    if environment.get("CI") or environment.get("SSH_CONNECTION"):
        return False
    if platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def _make_parser() -> _Parser:
    parser = _Parser(prog="app.py", description="Easel, a web UI for diffusion models.", allow_abbrev=False,
                     epilog="Flags of A1111 and Forge that mean nothing here are accepted and named at the start.")
    add = parser.add_argument_group("server").add_argument
    add("--listen", action="store_true", help="let other machines reach the page (0.0.0.0); use --gradio-auth with it")
    add("--server-name", metavar="ADDRESS", help="listen on this address only")
    add("--port", metavar="N", help="exactly this port; else 7860 or the next free one")
    add("--gradio-auth", metavar="NAME:PASSWORD,…", help="sign-in for the page and everything behind it")
    add("--gradio-auth-path", metavar="FILE", help="the same pairs in a file, comma or line separated")
    add("--api-auth", metavar="NAME:PASSWORD,…", help="sign-in for programs (HTTP Basic)")
    add("--tls-keyfile", metavar="FILE", help="serve HTTPS with this key …")
    add("--tls-certfile", metavar="FILE", help="… and this certificate")
    add("--no-browser", dest="browser", action="store_const", const=False, help="do not open the page in a browser")
    add("--autolaunch", dest="browser", action="store_const", const=True, help="open it even where no display was found")
    add("--theme", choices=("light", "dark", "auto"), default="auto", help="auto follows the system")
    add("--loglevel", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO")
    add = parser.add_argument_group("folders").add_argument
    add("--data-dir", metavar="DIR", help="settings, queue and library, and by default models/ and outputs/ (default: where app.py is)")
    add("--models-dir", metavar="DIR", help="an existing A1111, Forge or ComfyUI models folder will do")
    add("--outputs-dir", metavar="DIR", help="where pictures are saved")
    add("--ckpt", metavar="FILE", help="the checkpoint to begin with")
    add("--styles-file", metavar="FILE", action="append", default=[], help="a styles file, or a pattern such as styles/*.csv; may be given again")
    add("--ckpt-dir", metavar="DIR", help="a second folder of checkpoints")
    for flags, kind, words in FILE_FOLDER_FLAGS:
        add(*flags.split(), dest=kind, metavar="DIR", action=_Folders, default=(), help=f"a further folder of {words}; may be given again")
    help_text = "a further folder of pictures for Batch and Extras; may be given again"
    add("--gradio-allowed-path", metavar="DIR", nargs="+", action=_Folders, default=(), help=help_text)
    add = parser.add_argument_group("device").add_argument
    add("--device-id", metavar="N", help="CUDA device; default: the first")
    add("--use-cpu", nargs="*", metavar="PART", help="run on the CPU; A1111's parts are read, and `all` or `sd` mean everything")
    add("--always-cpu", action="store_true", help="the same, in Forge's spelling")
    add("--no-half", action="store_true", help="32 bits everywhere, the same as --precision full")
    add("--no-half-vae", action="store_true", help="32 bits for the VAE")
    add("--precision", choices=("full", "half", "autocast"), default="autocast", help="autocast: 16 bits where the device does them well")
    add("--xformers", action="store_true", help="xformers' attention on CUDA")
    modes = parser.add_argument_group("graphics memory").add_mutually_exclusive_group()
    for flag, mode, words in MEMORY_FLAGS:
        modes.add_argument(*flag.split(), dest="memory", action="store_const", const=mode, default="auto", help=words)
    modes.add_argument("--medvram-sdxl", action="store_true", help="--medvram for SDXL alone")
    add = parser.add_argument_group("behaviour").add_argument
    add("--disable-mmap-load-safetensors", dest="whole_files", action="store_true", help="read model files whole instead of mapping them")
    add("--safe-mode", "--disable-all-extensions", "--disable-extra-extensions", action="store_true", help="load no extensions and no scripts")
    add("--no-hashing", action="store_true", help="never compute checkpoint hashes")
    add("--no-prompt-history", action="store_true", help="do not write params.txt, which ↙ reads above an empty prompt")
    return parser


def _unknown_flag(token: str, parser: _Parser) -> RequestError:
    name = token.partition("=")[0]
    if not name.startswith("-"):
        return RequestError(f"Command line: “{token}” belongs to no flag.", hint="Quote a value that has spaces; `app.py --help` lists the flags.")
    known = [option for action in parser._actions for option in action.option_strings] + list(IGNORED)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "`python app.py --help` lists the flags."
    return RequestError(f"Command line: there is no flag {name}.", field=name, hint=hint)


def _port(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or int(given) > 65535:
        raise RequestError(f"--port {given}: a port is a whole number from 0 (any free one) to 65535.", field="--port")
    return int(given)


def _device(given: argparse.Namespace) -> DeviceOptions:
    if given.no_half and given.precision == "half":
        raise RequestError("--no-half and --precision half contradict each other.", field="--precision", hint="Give one of the two.")
    if given.device_id is not None and not (given.device_id.isascii() and given.device_id.isdigit()):
        raise RequestError(f"--device-id {given.device_id}: a device is a whole number from 0.", field="--device-id")
    parts = given.use_cpu
    return DeviceOptions(
        device_id=None if given.device_id is None else int(given.device_id),
        use_cpu=given.always_cpu or (parts is not None and (not parts or bool({"all", "sd"} & set(parts)))),
        precision="full" if given.no_half else PRECISIONS[given.precision],
        full_vae=given.no_half_vae,
        xformers=given.xformers,
        memory=given.memory,
        medvram_sdxl=given.medvram_sdxl,
        whole_files=given.whole_files,
    )


def _pairs(flag: str, text: str | None) -> tuple[tuple[str, str], ...]:
    if text is None:
        return ()
    pairs = tuple(_pair(flag, entry) for entry in text.strip('"').replace("\n", ",").split(",") if entry.strip())
    if not pairs:
        raise RequestError(f"{flag} is empty.", field=flag, hint=f"Write {flag} name:password.")
    return pairs


def _pair(flag: str, entry: str) -> tuple[str, str]:
    name, colon, password = entry.strip().partition(":")
    if not (name and colon and password):
        raise RequestError(f"{flag}: an entry is not of the form name:password.", field=flag, hint="Several are separated by commas.")
    return name, password


def _pairs_from_file(given: str | None) -> tuple[tuple[str, str], ...]:
    path = _existing_file("--gradio-auth-path", given)
    if path is None:
        return ()
    try:
        return _pairs("--gradio-auth-path", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--gradio-auth-path: {path} cannot be read: {error}.", field="--gradio-auth-path") from error


def _existing_file(flag: str, given: str | None) -> Path | None:
    if given is None:
        return None
    path = Path(given).expanduser().absolute()
    if not path.is_file():
        raise RequestError(f"{flag}: there is no file {path}.", field=flag)
    return path


def _existing_folder(flag: str, given: str | None) -> Path | None:
    if given is None:
        return None
    path = Path(given).expanduser().absolute()
    if not path.is_dir():
        raise RequestError(f"{flag}: there is no folder {path}.", field=flag)
    return path


def _usable_folder(flag: str, given: str | None, default: Path) -> Path:
    """A folder that is there, or that can be made later: the nearest parent that exists must be a folder we may write to."""
    if given is None:
        return default
    path = Path(given).expanduser().absolute()
    nearest = next(parent for parent in _upwards(path) if parent.exists())
    if not nearest.is_dir():
        raise RequestError(f"{flag} {path}: {nearest} is a file, not a folder.", field=flag)
    if nearest != path and not os.access(nearest, os.W_OK | os.X_OK):
        raise RequestError(f"{flag} {path} cannot be made: {nearest} is not writable.", field=flag, hint="Choose a folder of your own.")
    return path


def _upwards(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # as the web server does: a port whose last owner has just ended is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return int(probe.getsockname()[1])
        except PermissionError as error:
            raise RequestError(f"Port {port} needs administrator rights.", field="--port", hint="Choose one from 1024 up.") from error
        except socket.gaierror as error:
            raise RequestError(f"{host} is not an address of this machine.", field="--server-name", hint="Use --listen for every address.") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = "Choose another one, or leave --port out and the next free one is taken."
                raise ConflictError(f"Port {port} is already in use on {host}.", field="--port", hint=hint) from error
            raise RequestError(f"Cannot listen on {host}:{port}: {error.strerror or error}.", field="--server-name") from error
