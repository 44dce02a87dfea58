"""A Stable Diffusion checkpoint as a diffusers folder, and such a folder as one LDM state dict. Nothing is lost on the way there and back: tensors
that no module holds (EMA weights, constants of the training) and the file's notes lie in the folder too.

The families' own reading (`families.sd`) says where parts are and in whose words; this module only writes them in the other's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedModel

from webui.backend import dit_folder
from webui.backend.blueprint import blueprint
from webui.backend.families import sd
from webui.backend.families.ldm import LOGIT_SCALE, Laid, layout, prefixes
from webui.backend.families.ldm_keys import ema_name
from webui.backend.families.sd_folder import read_folder
from webui.backend.parts import ModelChoice, Part
from webui.backend.recipes import IN_BOTH_LAYOUTS, ConvertFiles
from webui.backend.rewrite import Streams, as_dtype, pruned, with_ema, without_ema
from webui.backend.tensor_file import Stream, flat_pieces, publish, stored, write_tensors
from webui.backend.weights import Weights, Wrapped, open_weights
from webui.schema.errors import ModelError, StorageError
from webui.schema.model import Checkpoint

REST, NOTES = "ldm_rest.safetensors", "ldm_metadata.json"
"""What no module holds: the tensors by their LDM names, and the metadata of the single file."""

_LAST_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
PIPELINES = {"sd1": "StableDiffusionPipeline", "sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline",
             "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline"}


class _Watched(Wrapped):
    """Opened weights that remember which of them were asked for; `stand_ins` gives another's tensor in the place of some."""

    def __init__(self, weights: Weights, stand_ins: Mapping[str, str]) -> None:
        super().__init__(weights)
        self._stand_ins = stand_ins
        self.read: set[str] = set()

    def get(self, key: str) -> Tensor:
        self.read.add(key)
        return self._weights.get(self._stand_ins.get(key, key)).reshape(self._weights.shape(key))


class _LdmFolder:
    """`Weights` of a folder under LDM's names, with the notes for the single file. A tensor is put together when it is asked for."""

    def __init__(self, checkpoint: Checkpoint, stack: ExitStack) -> None:
        rest = Path(checkpoint.path) / REST
        self._made: dict[str, Callable[[], Tensor]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        if checkpoint.family in dit_folder.FAMILIES:
            self._add_parts(checkpoint, stack)
        else:
            self._add_sd(checkpoint, stack, whole=rest.is_file())
        if rest.is_file():
            others = stack.enter_context(open_weights(rest))
            for key in others.keys():  # noqa: SIM118 (no dict)
                self._add(key, others.shape(key), lambda key=key: others.get(key))
        self.metadata = _read_notes(checkpoint)

    def _add_parts(self, checkpoint: Checkpoint, stack: ExitStack) -> None:
        for part in dit_folder.parts_of(ModelChoice(checkpoint)):
            own = part.read(stack.enter_context(open_weights(Path(part.source.path))))
            for name, laid in dit_folder.published(checkpoint.family or "sd3", part.name, own).items():
                self._add(name, _shape(laid, own), lambda laid=laid, own=own: laid.join(own))

    def _add_sd(self, checkpoint: Checkpoint, stack: ExitStack, whole: bool) -> None:
        """`whole`: what no module holds lies in the folder."""
        folder = read_folder(checkpoint)
        for part in folder.parts:
            own = part.read(stack.enter_context(open_weights(Path(part.source.path))))
            prefix = prefixes(folder.config)[part.name]
            for name, laid in layout(folder.config, part.name, own.keys()).items():
                self._add(prefix + name, _shape(laid, own), lambda laid=laid, own=own: laid.join(own))
            text = folder.config.texts.get(part.name)
            if text is not None and text.kind == "open_clip" and not whole:
                dtype = next(iter(own.values())).dtype
                self._add(f"{prefix}logit_scale", (), lambda dtype=dtype: torch.full((), LOGIT_SCALE, dtype=dtype))

    def keys(self) -> list[str]:
        return list(self._made)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._shapes[key]

    def get(self, key: str) -> Tensor:
        return self._made[key]()

    def _add(self, name: str, shape: tuple[int, ...], make: Callable[[], Tensor]) -> None:
        self._made[name], self._shapes[name] = make, shape


def open_ldm(checkpoint: Checkpoint, stack: ExitStack) -> Weights:
    """The weights of a checkpoint, those of a folder under LDM's names. What is opened, `stack` closes. Raises `ModelError`."""
    if checkpoint.layout != "diffusers":
        return stack.enter_context(open_weights(Path(checkpoint.path)))
    check_family(checkpoint)
    return _LdmFolder(checkpoint, stack)


def _read_notes(checkpoint: Checkpoint) -> dict[str, str]:
    notes = Path(checkpoint.path) / NOTES
    try:
        metadata = json.loads(notes.read_text("utf-8")) if notes.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{checkpoint.name}/{NOTES} is damaged.", field="source", hint="Delete that file; only notes are lost.") from error
    return {str(key): str(value) for key, value in metadata.items()}


def write_folder(files: ConvertFiles, progress: Callable[[float], None]) -> None:
    """Write `files.target` as a diffusers folder that plain diffusers can load. Raises as `convert.convert` does; then nothing is left."""
    check_family(files.checkpoint)
    if files.checkpoint.family == "sd2" and files.checkpoint.prediction is None:
        raise ModelError(f"{files.checkpoint.name} does not say whether it predicts v or epsilon, and a folder has to.", field="source",
                         hint="Set “What it predicts” on its card, or put a .yaml with `parameterization: \"v\"` (or \"eps\") beside the file.")
    temporary = files.target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with ExitStack() as stack:
            _write_parts(files, temporary, stack, progress)
        for name, text in files.extra.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if files.replace and files.target.exists():
            aside = files.target.with_name(f".{uuid.uuid4().hex}.part")
            os.replace(files.target, aside)
            os.replace(temporary, files.target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            publish(temporary, files.target, replace=False)
    except OSError as error:
        raise StorageError(f"{files.target.name} cannot be written: {error.strerror or error}.", hint="Check the folder and the disk.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_family(checkpoint: Checkpoint) -> None:
    """Raises `ModelError` for what has no folder layout here."""
    if checkpoint.family not in (*IN_BOTH_LAYOUTS, *dit_folder.FAMILIES):
        raise ModelError(f"{checkpoint.name} is of a family that is not converted between layouts.", field="layout", hint="Leave it as it is.")
    if checkpoint.family in dit_folder.FAMILIES and checkpoint.layout != "diffusers":
        dit_folder.check_plain(checkpoint)
    if checkpoint.prediction == "edm":
        raise ModelError(f"{checkpoint.name} has noise levels of its own (EDM); such models are not written as folders.", field="layout",
                         hint="Write it as one file, or take the publisher's folder.")


def _write_parts(files: ConvertFiles, temporary: Path, stack: ExitStack, progress: Callable[[float], None]) -> None:
    checkpoint = files.checkpoint
    opened: dict[str, _Watched] = {}
    modules: dict[str, tuple[nn.Module, Streams]] = {}
    configs: dict[str, str] = {}
    dits = checkpoint.family in dit_folder.FAMILIES
    choice = ModelChoice(checkpoint, files.vae)
    for part in dit_folder.parts_of(choice) if dits else sd.plan(choice).parts:
        path = part.source.path
        if path not in opened:
            weights = stack.enter_context(open_weights(Path(path)))
            opened[path] = _Watched(weights, _ema_of(weights, files.ema) if path == checkpoint.path else {})
        if dits:
            modules[part.name], configs[part.name] = _dit_module(part, opened[path], checkpoint.family or "sd3")
        else:
            modules[part.name] = _module(part, opened[path], shorten=checkpoint.family == "sd2" and checkpoint.layout != "diffusers")
    rest, notes = _rest(files, opened, stack)
    total = sum(stream.size for _, streams in modules.values() for stream in streams.values()) or 1
    done = 0
    for name, (module, streams) in modules.items():
        own = as_dtype(streams, files.dtype)
        size, before = sum(stream.size for stream in streams.values()), done

        def told(fraction: float, before: int = before, size: int = size) -> None:
            progress((before + fraction * size) / total)

        stem = "model" if isinstance(module, PreTrainedModel) else "diffusion_pytorch_model"
        write_tensors(temporary / name / f"{stem}.safetensors", own, {"format": "pt"}, progress=told)
        done += size
        (temporary / name / "config.json").write_text(configs.get(name) or _config_of(module), encoding="utf-8")
    if rest:
        write_tensors(temporary / REST, as_dtype(rest, files.dtype), {"format": "pt"})
    (temporary / NOTES).write_text(json.dumps(notes, ensure_ascii=False), encoding="utf-8")
    write = dit_folder.write_index if dits else _write_index
    write(temporary, checkpoint, {name: module for name, (module, _) in modules.items()})


def _dit_module(part: Part, weights: Weights, family: str) -> tuple[tuple[nn.Module, Streams], str]:
    """As `_module`, and its configuration."""
    with blueprint():
        module = part.build()
    own, config = dit_folder.in_folder(family, part.name, module, part.read(weights))
    return (module, _streams(own)), config


def _config_of(module: Any) -> str:
    return module.config.to_json_string() if isinstance(module, PreTrainedModel) else module.to_json_string()


def _streams(own: Mapping[str, Tensor]) -> Streams:
    return {key: Stream(value.dtype, tuple(value.shape), lambda value=value: flat_pieces(value)) for key, value in own.items()}


def _module(part: Part, weights: Weights, shorten: bool) -> tuple[nn.Module, Streams]:
    """The module on the meta device, and its weights under the names that folders have. `shorten`: without the last layer of the text encoder and its
    projection, which SD 2.x does not use and its folders do not have."""
    with blueprint():
        module = part.build()
    own = part.read(weights)
    if isinstance(module, PreTrainedModel):
        if shorten:
            layers = module.config.num_hidden_layers - 1
            own = {key: value for key, value in own.items() if key != "text_projection.weight" and _layer(key) != layers}
            with blueprint():
                module = CLIPTextModel(CLIPTextConfig.from_dict({**module.config.to_dict(), "num_hidden_layers": layers}))
        # transformers 4 wrote every name of a text model behind `text_model.`, and so are the folders that are in circulation
        own = {key if key.startswith("text_") else f"text_model.{key}": value for key, value in own.items()}
    return module, _streams(own)


def _layer(key: str) -> int:
    found = _LAST_LAYER.search(key)
    return int(found[1]) if found else -1


def _rest(files: ConvertFiles, opened: Mapping[str, _Watched], stack: ExitStack) -> tuple[Streams, dict[str, str]]:
    """What no module holds, and the notes. A folder hands on its own."""
    checkpoint = files.checkpoint
    if checkpoint.layout == "diffusers":
        path = Path(checkpoint.path)
        notes = _read_notes(checkpoint)
        weights = stack.enter_context(open_weights(path / REST)) if (path / REST).is_file() else None
        streams = {key: stored(weights, key) for key in weights.keys()} if weights else Streams()  # noqa: SIM118
    else:
        weights = opened.get(checkpoint.path) or stack.enter_context(open_weights(Path(checkpoint.path)))
        notes = dict(weights.metadata)
        held = weights.read if isinstance(weights, _Watched) else set()
        unused = _unused_text(held) if checkpoint.family == "sd2" else set()
        names = [key for key in weights.keys() if key not in held or key in unused]  # noqa: SIM118
        names = [key for key in names if not (files.vae and key.startswith("first_stage_model."))]
        streams = {key: stored(weights, key) for key in names}
    streams = streams if files.ema == "keep" else without_ema(streams)
    return pruned(streams) if files.prune else streams, notes


def _unused_text(names: set[str]) -> set[str]:
    """OpenCLIP's last layer and projection among the names of an SD 2.x file."""
    layers = {key: int(found[1]) for key in names if (found := re.search(r"transformer\.resblocks\.(\d+)\.", key))}
    last = max(layers.values(), default=-1)
    return {key for key, number in layers.items() if number == last} | {key for key in names if key.endswith(".text_projection")}


def _ema_of(weights: Weights, choice: str) -> dict[str, str]:
    """UNet weight → its average, when the averages are to take its place. Raises `ModelError` when there are none."""
    if choice != "use":
        return {}
    names = weights.keys()
    with_ema({key: Stream(torch.float32, (), lambda: ()) for key in names}, "use")  # complains in its own words
    return {key: ema_name(key) for key in names if key.startswith("model.diffusion_model.")}


def _shape(laid: Laid, own: Mapping[str, Tensor]) -> tuple[int, ...]:
    return tuple(laid.join({key: torch.empty_like(own[key], device="meta") for key in laid.keys}).shape)


def _write_index(folder: Path, checkpoint: Checkpoint, modules: Mapping[str, nn.Module]) -> None:
    """`model_index.json` and the scheduler, as diffusers writes them."""
    from_folder = Path(checkpoint.path) / "scheduler" / "scheduler_config.json"
    scheduler: dict[str, Any] = {
        "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "num_train_timesteps": 1000, "prediction_type": "v_prediction" if checkpoint.prediction == "v" else "epsilon",
        "rescale_betas_zero_snr": checkpoint.zero_snr,
        "steps_offset": 1, "timestep_spacing": "leading",
    }
    if checkpoint.layout == "diffusers" and from_folder.is_file():
        scheduler = json.loads(from_folder.read_text("utf-8"))
    index: dict[str, Any] = {"_class_name": PIPELINES[checkpoint.family or "sd1"], "_diffusers_version": "0.35.0"}
    for name, module in modules.items():
        index[name] = ["transformers" if isinstance(module, PreTrainedModel) else "diffusers", type(module).__name__]
        if name.startswith("text_encoder"):
            index[name.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    if checkpoint.family in ("sd1", "sd2"):
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    elif checkpoint.family == "sdxl-refiner":
        index |= {"text_encoder": [None, None], "tokenizer": [None, None], "requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2), encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
