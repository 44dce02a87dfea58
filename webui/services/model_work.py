"""Merging and converting as jobs: names become files, wrong ones an error at their field, and A1111's notes go into what is written.

Knows neither queue nor HTTP: the cpu lane, the API and the command line come here. Enters torch only when the work begins.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.backend.catalog import Catalog
from webui.backend.hashing import legacy_hash
from webui.backend.headers import read_header
from webui.backend.layouts import beside
from webui.backend.network_files import NetworkFiles
from webui.backend.recipes import IN_BOTH_LAYOUTS, ConvertFiles, MergeFiles
from webui.backend.support import NAMES
from webui.engine.prompt.tokens import tokenizer_files
from webui.schema.errors import ModelError, RequestError, WebuiError
from webui.schema.model import Checkpoint, ModelFile
from webui.schema.model_work import BLOCKS_HINT, Convert, Merge, ModelWork

Progress = Callable[[float], None]

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
ENDINGS = {9: ".inpainting", 8: ".instruct-pix2pix"}
"""What A1111 appends to the name of a merge whose first layer has so many channels."""

TWELVE_BLOCKS = ("sd1", "sd2", "sdxl-refiner")
"""Families whose UNets have more blocks than 19 numbers can name; SDXL has nine each way."""

HASHING = 0.4
"""Share of the progress that hashing the inputs gets, when they must be hashed."""


@dataclass(frozen=True)
class _Inputs:
    """The checkpoints that a merge uses, in the order A, B, C."""

    primary: Checkpoint
    secondary: Checkpoint | None
    tertiary: Checkpoint | None

    @property
    def named(self) -> dict[str, Checkpoint]:
        """Those that are there, by `primary`, `secondary`, `tertiary`."""
        return {name: item for name, item in vars(self).items() if item is not None}


class ModelWorkshop:
    """Checks and does work on model files. New ones go into the first folder of the catalog."""

    def __init__(self, catalog: Catalog, files: NetworkFiles) -> None:
        self._catalog = catalog
        self._files = files

    @property
    def folder(self) -> Path:
        """Where new files go."""
        return self._catalog.folders[0]

    def check(self, request: ModelWork) -> ModelWork:
        """The request with `output` filled in. Raises `RequestError` or `ModelError` at the field that is wrong."""
        if isinstance(request, Merge):
            inputs = self._inputs(request)
            name = _with_ending(request.custom_name or _merge_name(request, inputs), request, inputs)
            used = list(inputs.named.values())
        else:
            used = [self._readable(self._checkpoint(request.source, "source"), "source")]
            name = _plain(request.custom_name) or _converted_name(used[0], request)
            name += "" if request.layout == "diffusers folder" else ".safetensors"
        self._vae(request.bake_in_vae)
        request = request.revise(output=name)
        target = self.folder / name
        if any(Path(item.path).resolve() == target.resolve() for item in used):
            raise RequestError(f"{name} is one of the files that are read.", field="custom_name", hint="Choose another name.")
        if target.exists() and not request.replace:
            raise RequestError(f"{name} is there already.", field="custom_name", hint="Choose another name, or allow to replace it.")
        return request

    def run(self, request: ModelWork, progress: Progress) -> Path:
        """Do what `check` let pass; gives the new file. `progress` hears 0..1 and may raise to stop it: then nothing is left. Raises `WebuiError`."""
        target = self.folder / request.output
        vae = self._vae(request.bake_in_vae)
        dtype = "" if request.dtype == "as stored" else request.dtype
        if isinstance(request, Merge):
            from webui.backend.merge import merge  # torch; not before there is work

            inputs = self._inputs(request)
            metadata = self._metadata(request, inputs, lambda done: progress(done * HASHING))
            begun = HASHING if request.save_metadata and request.add_merge_recipe else 0.0
            files = MergeFiles(
                target=target, method=request.interp_method, multiplier=request.multiplier, base=request.base, blocks=request.block_numbers,
                dtype=dtype, vae=Path(vae.path) if vae else None, discard=request.discard_weights, replace=request.replace, **inputs.named,
            )
            merge(files, metadata, lambda done: progress(begun + done * (1 - begun)))
            _copy_config(request, inputs, target)
        else:
            from webui.backend.convert import convert  # torch; not before there is work

            source = self._checkpoint(request.source, "source")
            folder = request.layout == "diffusers folder"
            convert(ConvertFiles(
                source, target, folder=folder, dtype=dtype, ema=request.ema, prune=request.prune, vae=vae, replace=request.replace,
                extra=_tokenizers(source) if folder else {},
            ), progress)
        self._catalog.refresh()
        return target

    def read_metadata(self, names: list[str]) -> dict[str, Any]:
        """A1111's “Read metadata from selected checkpoints”: the notes of these files in one, the later ones win. Raises `WebuiError`."""
        found: dict[str, Any] = {}
        for name in filter(None, names):
            found |= _notes(self._checkpoint(name, "primary_model_name"))
        return found

    def _checkpoint(self, name: str, field: str) -> Checkpoint:
        """Also one that cannot make pictures, as long as its header can be read. Raises `RequestError`, see `Catalog.find`."""
        if not name:
            raise RequestError("Choose a checkpoint.", field=field)
        return self._catalog.find(name, field)

    def _inputs(self, request: Merge) -> _Inputs:
        """The checkpoints this method uses. Raises `WebuiError` at the one that is missing or cannot be read."""
        method = request.interp_method
        primary = self._checkpoint(request.primary_model_name, "primary_model_name")
        secondary = None if method == "No interpolation" else self._checkpoint(request.secondary_model_name, "secondary_model_name")
        tertiary = self._checkpoint(request.tertiary_model_name, "tertiary_model_name") if method == "Add difference" else None
        inputs = _Inputs(primary, secondary, tertiary)
        if len(request.block_numbers) == 19 and primary.family in TWELVE_BLOCKS:
            what = f"{primary.name} has twelve blocks each way, and 19 numbers are for nine."
            raise RequestError(what, field="blocks", hint=f"Wanted: {BLOCKS_HINT}")
        for name, item in inputs.named.items():
            folder = Path(item.path).is_dir()
            if folder and item.family not in IN_BOTH_LAYOUTS:
                raise ModelError(f"{item.name} is a diffusers folder of a family that is not merged.", field=f"{name}_model_name",
                                 hint="Folders of Stable Diffusion 1, 2 and XL can be merged.")
            self._readable(item, f"{name}_model_name")
            if item.family and primary.family and item.family != primary.family:
                what = f"{primary.name} is {NAMES[primary.family]}, {item.name} is {NAMES[item.family]}."
                raise ModelError(what, field=f"{name}_model_name", hint="Merge models of the same family.")
        return inputs

    def _readable(self, item: Checkpoint, field: str) -> Checkpoint:
        """The same; raises `ModelError` at `field` when its header, of a folder that of its UNet, cannot be read."""
        path = Path(item.path)
        if not path.is_dir() or item.family in IN_BOTH_LAYOUTS:
            try:
                read_header(path / "unet" if path.is_dir() else path)
            except ModelError as error:
                raise ModelError(error.message, field=field, hint=error.hint) from error
        return item

    def _vae(self, name: str) -> ModelFile | None:
        if not name or name == "None":
            return None
        found = self._files.find("vae", name) or self._files.find("vae", name.rsplit(".", 1)[0])
        if found is None:
            raise RequestError(f"There is no VAE “{name[:120]}”.", field="bake_in_vae", hint="Put it into models/VAE.")
        return found

    def _metadata(self, request: Merge, inputs: _Inputs, progress: Progress) -> dict[str, str]:
        """What A1111 writes into the file, in its order."""
        if not request.save_metadata:
            return {}
        metadata: dict[str, Any] = {}
        if request.copy_metadata_fields:
            for item in inputs.named.values():
                metadata |= _notes(item)
        metadata |= json.loads(request.metadata_json) if request.metadata_json.strip() else {}
        metadata["format"] = "pt"
        if request.add_merge_recipe:
            hashes: dict[str, str] = {}
            for number, (name, item) in enumerate(inputs.named.items()):
                hashes[name] = self._catalog.sha256(item, lambda done, number=number: progress((number + done) / len(inputs.named)))
            metadata["sd_merge_recipe"] = _recipe(request, inputs, hashes)
            metadata["sd_merge_models"] = _ancestors(inputs, hashes)
        return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}


def _recipe(request: Merge, inputs: _Inputs, hashes: dict[str, str]) -> dict[str, Any]:
    """A1111's keys, then ours where A1111 has none."""
    channels = _merged_channels(inputs)
    recipe: dict[str, Any] = {
        "type": "webui", "primary_model_hash": hashes["primary"], "secondary_model_hash": hashes.get("secondary"),
        "tertiary_model_hash": hashes.get("tertiary"), "interp_method": request.interp_method, "multiplier": request.multiplier,
        "save_as_half": request.dtype == "float16", "custom_name": request.custom_name,
        "config_source": ("A, B or C", "B", "C", "Don't").index(request.config_source), "bake_in_vae": request.bake_in_vae or "None",
        "discard_weights": request.discard_weights, "is_inpainting": channels == 9, "is_instruct_pix2pix": channels == 8,
    }
    if request.blocks:
        recipe |= {"block_weights": list(request.block_numbers), "base_weight": request.multiplier if request.base is None else request.base}
    return recipe if request.dtype in ("as stored", "float16") else recipe | {"dtype": request.dtype}


def _ancestors(inputs: _Inputs, hashes: dict[str, str]) -> dict[str, Any]:
    models: dict[str, Any] = {}
    for name, item in inputs.named.items():
        notes = _notes(item)
        models[hashes[name]] = {"name": item.name, "legacy_hash": legacy_hash(item.path), "sd_merge_recipe": notes.get("sd_merge_recipe")}
        earlier = notes.get("sd_merge_models")
        models |= earlier if isinstance(earlier, dict) else {}
    return models


def _notes(item: Checkpoint) -> dict[str, Any]:
    """The metadata of the file; a value that is a JSON object becomes one, as in A1111."""
    try:
        raw = {} if Path(item.path).is_dir() else read_header(Path(item.path)).metadata
    except ModelError:
        return {}
    found: dict[str, Any] = {}
    for key, value in raw.items():
        try:
            found[key] = json.loads(value) if value[:1] == "{" else value
        except ValueError:
            found[key] = value
    return found


def _merged_channels(inputs: _Inputs) -> int:
    """Input channels of A's UNet when a plain model is merged into its first four; else 0."""
    widths = [_channels(item) if item else 0 for item in (inputs.primary, inputs.secondary)]
    return widths[0] if widths[1] == 4 and widths[0] in ENDINGS else 0


def _channels(item: Checkpoint) -> int:
    """Input channels of the UNet, 0 where there is none."""
    path, name = (Path(item.path) / "unet", "conv_in.weight") if Path(item.path).is_dir() else (Path(item.path), CONV_IN)
    shape = read_header(path).shapes.get(name, ())
    return shape[1] if len(shape) == 4 else 0


def _merge_name(request: Merge, inputs: _Inputs) -> str:
    """A1111's name for a merge without one."""
    a, b, c = (item.stem if item else "" for item in (inputs.primary, inputs.secondary, inputs.tertiary))
    rest, share = round(1 - request.multiplier, 2), round(request.multiplier, 2)
    names = {"Weighted sum": f"{rest}({a}) + {share}({b})", "Add difference": f"{a} + {share}({b} - {c})"}
    return names.get(request.interp_method, a)


def _with_ending(name: str, request: Merge, inputs: _Inputs) -> str:
    return f"{_plain(name)}{ENDINGS.get(_merged_channels(inputs), '')}.safetensors"


def _plain(name: str) -> str:
    """Without an ending that somebody typed although it is added."""
    return name.removesuffix(".safetensors")


def _converted_name(source: Checkpoint, request: Convert) -> str:
    parts = [source.stem, "" if request.dtype == "as stored" else {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}[request.dtype],
             "pruned" if request.prune else "", {"use": "ema", "drop": "", "keep": ""}[request.ema], "vae" if request.bake_in_vae else ""]
    name = "-".join(filter(None, parts))
    return name if name != source.stem or request.layout == "diffusers folder" or not source.name.endswith(".safetensors") else f"{name}-copy"


def _tokenizers(source: Checkpoint) -> dict[str, str]:
    """CLIP's tokenizer as transformers reads it, for each text encoder. SD 2.x and the second of SDXL and SD 3 pad with "!"."""
    both = ("tokenizer", "tokenizer_2")
    names = {"sdxl": both, "sd3": both, "sdxl-refiner": ("tokenizer_2",)}.get(source.family or "", ("tokenizer",))
    padded = {"tokenizer": source.family == "sd2", "tokenizer_2": True}
    return {f"{folder}/{name}": text for folder in names for name, text in tokenizer_files("!" if padded[folder] else "<|endoftext|>").items()}


def _copy_config(request: Merge, inputs: _Inputs, target: Path) -> None:
    """The `.yaml` beside the chosen source, put beside the result, as A1111 does. A failure to copy it does not undo the merge."""
    chosen = {"A, B or C": (inputs.primary, inputs.secondary, inputs.tertiary), "B": (inputs.secondary,), "C": (inputs.tertiary,)}
    for item in chosen.get(request.config_source, ()):
        config = beside(Path(item.path), ".yaml") if item else None
        if config is not None and config.is_file():
            try:
                shutil.copyfile(config, target.with_suffix(".yaml"))
            except OSError as error:
                raise WebuiError(f"{target.name} is written, but not the {config.name} beside it: {error.strerror or error}.") from error
            return
