"""What the person asked for on the command line, checked and complete. Knows no argparse: `webui.options` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.machine import DeviceOptions
from webui.schema.model import FileKind


class LaunchOptions(Frozen):
    """How this server was started. Paths are absolute."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` with --listen."""

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """None: 7860 or the next free one; 0: any free one, chosen by the system."""

    data_dir: Path
    models_dir: Path
    outputs_dir: Path
    ckpt: Path | None = None
    """The checkpoint that is picked when nothing else was picked before."""

    ckpt_dir: Path | None = None
    """A second folder of checkpoints."""

    file_folders: Mapping[FileKind, tuple[Path, ...]] = {}
    """Further folders of what goes with checkpoints."""

    device: DeviceOptions = DeviceOptions()
    gradio_auth: Annotated[tuple[tuple[str, str], ...], Field(repr=False)] = ()
    """Name and password pairs for the page; empty: no sign-in."""

    api_auth: Annotated[tuple[tuple[str, str], ...], Field(repr=False)] = ()
    """Name and password pairs for programs (HTTP Basic)."""

    theme: Literal["light", "dark", "auto"] = "auto"
    browser: bool = False
    """Open the page in the person's browser once the server answers."""

    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    safe_mode: bool = False
    """Load no extensions and no scripts of the person's."""

    no_hashing: bool = False
    """Never compute the SHA-256 of a checkpoint."""

    styles_files: tuple[Path, ...] = ()
    """Styles files, or globs of them; none = `styles.csv` of the data folder."""

    picture_folders: tuple[Path, ...] = ()
    """Where Batch and Extras may read and write besides the data and outputs folders."""

    prompt_history: bool = True
    """Keep the line of the last pictures in `params.txt`."""

    ignored: tuple[str, ...] = ()
    """Flags of A1111 or Forge that mean nothing here, each with its reason: `--medvram: …`. The start says them once."""

    @property
    def local(self) -> bool:
        """True when only this machine can reach the server."""
        return self.host in ("127.0.0.1", "localhost", "::1")
