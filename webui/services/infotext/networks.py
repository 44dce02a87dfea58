"""The networks a line names (`Lora hashes`, `TI hashes`, VAE, tags in the prompt): written, read, and looked for among the files that are here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from webui.engine.prompt.networks import take_tags
from webui.schema.model import FileKind, ModelFile

LABELS: Mapping[FileKind, str] = {
    "lora": "LoRA", "hypernetwork": "hypernetwork", "embedding": "embedding", "vae": "VAE", "text_encoder": "text encoder",
}
TAGS: Mapping[str, FileKind] = {"lora": "lora", "lyco": "lora", "hypernet": "hypernetwork"}
"""What the tags in a prompt are called."""

READ_BYTES = 256 * 2**20
"""How much may be read for one line to find a file by its hash; more than a third of a second of somebody's time is too much."""

OWN_VAES = ("none", "automatic", "")


class Files(Protocol):
    """What is needed of `backend.network_files`."""

    def find(self, kind: FileKind, name: str) -> ModelFile | None:
        """The file of this name."""
        ...

    def with_hash(self, kind: FileKind, short: str, budget: int) -> ModelFile | None:
        """The file with this hash, as far as `budget` bytes of reading can tell."""
        ...

    def known_hash(self, entry: ModelFile) -> str | None:
        """Its hash, when it needs no reading."""
        ...


def write_hashes(hashes: Iterable[tuple[str, str]]) -> str:
    """The value of `Lora hashes` and `TI hashes` for (name, hash) in the order of the prompt; `:` and `,` are taken out of names, as in A1111."""
    return ", ".join(f"{_bare(name)}: {value}" for name, value in hashes)


def read_hashes(text: object) -> dict[str, str]:
    """Name → hash; what is no pair is left out."""
    pairs = (item.rpartition(":") for item in str(text or "").split(","))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon and name.strip() and value.strip()}


def name_missing(prompt: str, fields: Mapping[str, Any], files: Files) -> list[str]:
    """A sentence for every network of a line that is not here, is here under another name, or has another hash."""
    comments = []
    for kind, name, short in dict.fromkeys(_wanted(prompt, fields)):
        own = f"The {LABELS[kind]} “{name[:200]}”"
        marked = f"{own} [{short[:64]}]" if short else own
        here = files.find(kind, name)
        if here is None:
            twin = files.with_hash(kind, short, READ_BYTES)
            comments.append(f"{marked} is here as “{twin.name}”." if twin else f"{marked} is not here.")
        elif short and (known := files.known_hash(here)) and not _agree(known, short):
            comments.append(f"{own} is here with another hash ({known}, not {short[:64]}).")
    return comments


def _wanted(prompt: str, fields: Mapping[str, Any]) -> Iterator[tuple[FileKind, str, str]]:
    loras, tagged = read_hashes(fields.get("Lora hashes")), set[str]()
    for tag in take_tags(prompt)[1]:
        if tag.kind in TAGS and tag.positional:
            name = tag.positional[0].strip()
            tagged.add(_bare(name))
            yield TAGS[tag.kind], name, loras.get(_bare(name), "") if TAGS[tag.kind] == "lora" else ""
    for name, short in loras.items():
        if name not in tagged:
            yield "lora", name, short
    for name, short in read_hashes(fields.get("TI hashes")).items():
        yield "embedding", name, short
    vae, short = str(fields.get("VAE", "")), str(fields.get("VAE hash", ""))
    if vae.lower() not in OWN_VAES:
        yield "vae", vae.rsplit(".", 1)[0], short


def _agree(known: str, short: str) -> bool:
    length = min(len(known), len(short))
    return known[:length].lower() == short[:length].lower()


def _bare(name: str) -> str:
    return name.replace(":", "").replace(",", "")
