"""What the merger and the converter are told: files and choices, after names were found and checked. Pure data and rules; needs no torch.

The rules are A1111's (`modules/extras.py`) and those of block-weighted merges as its extensions agree on them (bbc-mc's
`sdweb-merge-block-weighted`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from webui.schema.model import Checkpoint, ModelFile

IN_BOTH_LAYOUTS = ("sd1", "sd2", "sdxl", "sdxl-refiner")
"""Families whose diffusers folders are read and written under LDM's names."""

BLOCK_COUNTS = (25, 19)
"""Numbers of a block-weighted merge: IN00 to IN11, M00, OUT00 to OUT11; of SDXL, whose UNet has a level less, nine each way."""

OLD_NAMES = {f"cond_stage_model.transformer.{part}.": f"cond_stage_model.transformer.text_model.{part}."
             for part in ("embeddings", "encoder", "final_layer_norm")}
"""Names that files of 2022 give to CLIP's parts."""

_UNET = "model.diffusion_model."
_BLOCK = re.compile(r"model\.diffusion_model\.(input_blocks|middle_block|output_blocks)\.(\d+)\.")


@dataclass(frozen=True)
class MergeFiles:
    """One merge: the files, and A1111's choices."""

    target: Path
    primary: Checkpoint
    secondary: Checkpoint | None = None
    tertiary: Checkpoint | None = None
    method: str = "Weighted sum"
    multiplier: float = 0.3
    base: float | None = None
    blocks: tuple[float, ...] = ()
    dtype: str = ""
    vae: Path | None = None
    discard: str = ""
    replace: bool = False


@dataclass(frozen=True)
class ConvertFiles:
    """One conversion. `target` is a file, or with `folder` a diffusers folder."""

    checkpoint: Checkpoint
    target: Path
    folder: bool = False
    dtype: str = ""
    ema: str = "keep"
    prune: bool = False
    vae: ModelFile | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Text files for a folder, by their path in it: what needs no weights, such as the tokenizer."""

    replace: bool = False


def canonical_name(key: str) -> str:
    """The name that today's files give to this tensor."""
    old = next((old for old in OLD_NAMES if key.startswith(old)), None)
    return OLD_NAMES[old] + key.removeprefix(old) if old else key


def block_weight(key: str, multiplier: float, base: float | None, blocks: Sequence[float]) -> float:
    """M of this tensor. Without `blocks` it is `multiplier` everywhere; with them `base` (else `multiplier`) counts outside the UNet's blocks."""
    if not blocks:
        return multiplier
    outside = multiplier if base is None else base
    if not key.startswith(_UNET):
        return outside
    if ".time_embed." in key or ".label_emb." in key:
        return blocks[0]
    if key.startswith(f"{_UNET}out."):
        return blocks[-1]
    found = _BLOCK.match(key)
    if found is None:
        return outside
    side = len(blocks) // 2
    number = {"input_blocks": 0, "middle_block": side, "output_blocks": side + 1}[found[1]] + (0 if found[1] == "middle_block" else int(found[2]))
    return blocks[min(number, len(blocks) - 1)]
