"""Work on model files that is a job of the `cpu` lane: merging and converting. The page's two forms, the API and the command line come from here.

Fields of `Merge` have the names of A1111's merger (`modules.extras.run_modelmerger`). Files are named as the catalog names them, never by path.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Dropdown, Number, Slider, TextBox

DTYPES = ("as stored", "float16", "bfloat16", "float32")
BLOCKS_HINT = "25 numbers: IN00 to IN11, M00, OUT00 to OUT11 (SDXL: 19, nine each way), with commas between them."


def writable_name(name: str) -> str:
    """A file name below the models folder, or nothing. Raises `ValueError` for one that leads elsewhere or that some system cannot write."""
    parts = name.split("/")
    if name and (any(part.strip(". ") == "" or part != part.strip() or part.startswith(".") for part in parts) or len(name) > 200):
        raise ValueError("This is no file name. Folders are separated by “/”; no part is empty or begins with a dot.")
    if re.search(r'[\x00-\x1f<>:"\\|?*]', name):
        raise ValueError('A file name has none of < > : " \\ | ? *')
    return name


def readable_expression(text: str) -> str:
    """A regular expression, or nothing. Raises `ValueError` saying where it breaks."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"This is no regular expression: {error}.") from error
    return text


def json_object(text: str) -> str:
    """A JSON object of texts, or nothing. Raises `ValueError`, also for NaN and infinity, which Python takes for JSON."""
    try:
        value = json.loads(text, parse_constant=_no_number) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError('Metadata is a JSON object, such as {"title": "My merge"}.')
    return text


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")


def block_weights(text: str) -> str:
    """25 or 19 numbers from 0 to 1, or nothing. Raises `ValueError`."""
    try:
        weights = [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        raise ValueError(f"One of these is no number. Wanted: {BLOCKS_HINT}") from None
    if len(weights) not in (0, 19, 25):
        raise ValueError(f"These are {len(weights)} numbers. Wanted: {BLOCKS_HINT}")
    outside = next((weight for weight in weights if not 0 <= weight <= 1), None)
    if outside is not None:
        raise ValueError(f"{outside:g} is no weight of a block: they go from 0 to 1.")
    return text


Share = Annotated[float, Field(ge=0, le=1)]
"""How much of B, or of the difference between B and C, goes into A: the range of A1111's slider, for every method and block."""

Name = Annotated[str, Field(max_length=500)]
NewName = Annotated[str, AfterValidator(writable_name)]
Dtype = Literal["as stored", "float16", "bfloat16", "float32"]


class Merge(Frozen):
    """A new checkpoint from one, two or three."""

    kind: Literal["merge"] = "merge"
    primary_model_name: Annotated[Name, Dropdown(label="merge_primary", source="checkpoints", elem="primary_model_name")] = ""
    secondary_model_name: Annotated[Name, Dropdown(label="merge_secondary", source="checkpoints", elem="secondary_model_name")] = ""
    tertiary_model_name: Annotated[Name, Dropdown(label="merge_tertiary", source="checkpoints", elem="tertiary_model_name")] = ""
    interp_method: Annotated[
        Literal["No interpolation", "Weighted sum", "Add difference"],
        Dropdown(label="merge_method", choices=("No interpolation", "Weighted sum", "Add difference"), elem="interp_method"),
    ] = "Weighted sum"
    multiplier: Annotated[
        Share, Slider(label="merge_multiplier", info="merge_multiplier_info", minimum=0, maximum=1, step=0.05, elem="interp_amount"),
    ] = 0.3
    blocks: Annotated[
        str, Field(max_length=2000), AfterValidator(block_weights), TextBox(label="merge_blocks", info="merge_blocks_info", elem="blocks"),
    ] = ""
    base: Annotated[Share | None, Number(label="merge_base", info="merge_base_info", elem="base")] = None
    custom_name: Annotated[NewName, TextBox(label="merge_name", info="merge_name_info", elem="custom_name")] = ""
    dtype: Annotated[Dtype, Dropdown(label="work_dtype", choices=DTYPES, elem="save_as_half")] = "as stored"
    config_source: Annotated[
        Literal["A, B or C", "B", "C", "Don't"],
        Dropdown(label="merge_config", choices=("A, B or C", "B", "C", "Don't"), elem="config_method"),
    ] = "A, B or C"
    bake_in_vae: Annotated[Name, Dropdown(label="work_vae", source="vaes", elem="bake_in_vae")] = ""
    discard_weights: Annotated[
        str, Field(max_length=1000), AfterValidator(readable_expression),
        TextBox(label="merge_discard", info="merge_discard_info", elem="discard_weights"),
    ] = ""
    save_metadata: Annotated[bool, Checkbox(label="merge_save_metadata", elem="save_metadata")] = True
    add_merge_recipe: Annotated[bool, Checkbox(label="merge_recipe", elem="add_merge_recipe")] = True
    copy_metadata_fields: Annotated[bool, Checkbox(label="merge_copy_metadata", elem="copy_metadata")] = True
    metadata_json: Annotated[
        str, Field(max_length=1_000_000), AfterValidator(json_object), TextBox(label="merge_metadata", lines=3, elem="metadata_json"),
    ] = "{}"
    replace: Annotated[bool, Checkbox(label="work_replace", elem="replace")] = False
    output: NewName = ""
    """The file it will become, below the folder of checkpoints. Found when the job is put in line."""

    @property
    def block_numbers(self) -> tuple[float, ...]:
        """`blocks` as numbers."""
        return tuple(float(part) for part in self.blocks.split(",")) if self.blocks.strip() else ()


class Convert(Frozen):
    """A checkpoint written anew: another layout, dtype, VAE, without what training left."""

    kind: Literal["convert"] = "convert"
    source: Annotated[Name, Dropdown(label="convert_source", source="checkpoints", elem="source")] = ""
    layout: Annotated[
        Literal["one file", "diffusers folder"], Dropdown(label="convert_layout", choices=("one file", "diffusers folder"), elem="layout"),
    ] = "one file"
    custom_name: Annotated[NewName, TextBox(label="merge_name", info="convert_name_info", elem="custom_name")] = ""
    dtype: Annotated[Dtype, Dropdown(label="work_dtype", choices=DTYPES, elem="dtype")] = "as stored"
    ema: Annotated[
        Literal["keep", "use", "drop"], Dropdown(label="convert_ema", info="convert_ema_info", choices=("keep", "use", "drop"), elem="ema"),
    ] = "keep"
    prune: Annotated[bool, Checkbox(label="convert_prune", info="convert_prune_info", elem="prune")] = False
    bake_in_vae: Annotated[Name, Dropdown(label="work_vae", source="vaes", elem="bake_in_vae")] = ""
    replace: Annotated[bool, Checkbox(label="work_replace", elem="replace")] = False
    output: NewName = ""
    """As in `Merge`."""


ModelWork = Merge | Convert
