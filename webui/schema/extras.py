"""What the Extras tab asks for: finished pictures enlarged, faces mended, and pictures made ready for training. Names and defaults are A1111's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.generation import ImageRef
from webui.schema.widgets import Checkbox, Dropdown, Number, Slider, TextBox

PICTURES_LIMIT = 10_000
Share = Annotated[float, Field(ge=0, le=1)]
CaptionModel = Literal["Deepbooru", "BLIP"]


class NamedPicture(Frozen):
    """A stored picture, and what its file was called."""

    image: ImageRef
    name: str = Field(default="", max_length=255)


class Upscaling(Frozen):
    """The picture enlarged by one upscaler, or by two that are mixed."""

    upscale: Annotated[bool, Checkbox(label="extras_upscale", elem="upscale-checkbox")] = True
    upscaler_1: Annotated[str, Dropdown(label="upscaler_1", source="image_upscalers", elem="upscaler_1")] = "None"
    upscaler_2: Annotated[str, Dropdown(label="upscaler_2", source="image_upscalers", elem="upscaler_2")] = "None"
    upscaler_2_visibility: Annotated[
        Share, Slider(label="upscaler_2_visibility", minimum=0, maximum=1, step=0.001, elem="upscaler_2_visibility")
    ] = 0.0
    resize_mode: Annotated[
        Literal["Scale by", "Scale to"], Dropdown(label="extras_resize_mode", choices=("Scale by", "Scale to"), elem="resize_mode"),
    ] = "Scale by"
    upscaling_resize: Annotated[
        float, Field(ge=1, le=8), Slider(label="upscaling_resize", minimum=1, maximum=8, step=0.05, elem="upscaling_resize")
    ] = 4.0
    max_side_length: Annotated[
        int, Field(ge=0, le=65_536), Number(label="max_side_length", info="max_side_length_info", precision=0, elem="upscale_max_side_length")
    ] = 0
    """What is larger with `Scale by` is made smaller to fit; 0 = no limit."""

    upscaling_resize_w: Annotated[
        int, Field(ge=64, le=8192), Slider(label="upscaling_resize_w", minimum=64, maximum=8192, step=8, elem="upscaling_resize_w")
    ] = 512
    upscaling_resize_h: Annotated[
        int, Field(ge=64, le=8192), Slider(label="upscaling_resize_h", minimum=64, maximum=8192, step=8, elem="upscaling_resize_h")
    ] = 512
    upscaling_crop: Annotated[bool, Checkbox(label="upscaling_crop", elem="upscaling_crop")] = True
    """With `Scale to`: what sticks out is cut; else the picture keeps its shape and covers the size."""


class Faces(Frozen):
    """Faces found, made anew by a network, put back."""

    gfpgan: Annotated[bool, Checkbox(label="extras_gfpgan", elem="gfpgan-checkbox")] = False
    gfpgan_model: Annotated[str, Dropdown(label="gfpgan_model", info="gfpgan_model_info", source="face_restorers", elem="gfpgan_model")] = ""
    """A file of models/GFPGAN or models/RestoreFormer; empty = the first."""

    gfpgan_visibility: Annotated[Share, Slider(label="visibility", minimum=0, maximum=1, step=0.001, elem="gfpgan_visibility")] = 1.0
    codeformer: Annotated[bool, Checkbox(label="extras_codeformer", elem="codeformer-checkbox")] = False
    codeformer_visibility: Annotated[Share, Slider(label="visibility", minimum=0, maximum=1, step=0.001, elem="codeformer_visibility")] = 1.0
    codeformer_weight: Annotated[
        Share, Slider(label="codeformer_weight", info="codeformer_weight_info", minimum=0, maximum=1, step=0.001, elem="codeformer_weight")
    ] = 0.0


class Preparing(Frozen):
    """Pictures made ready for training."""

    split: Annotated[bool, Checkbox(label="extras_split", elem="split-checkbox")] = False
    split_threshold: Annotated[Share, Slider(label="split_threshold", minimum=0, maximum=1, step=0.05, elem="split_threshold")] = 0.5
    overlap_ratio: Annotated[
        float, Field(ge=0, le=0.9), Slider(label="overlap_ratio", minimum=0, maximum=0.9, step=0.05, elem="overlap_ratio")
    ] = 0.2
    focal_crop: Annotated[bool, Checkbox(label="extras_focal_crop", elem="focal_crop-checkbox")] = False
    face_weight: Annotated[Share, Slider(label="face_weight", minimum=0, maximum=1, step=0.05, elem="focal_crop_face_weight")] = 0.9
    entropy_weight: Annotated[Share, Slider(label="entropy_weight", minimum=0, maximum=1, step=0.05, elem="focal_crop_entropy_weight")] = 0.15
    edges_weight: Annotated[Share, Slider(label="edges_weight", minimum=0, maximum=1, step=0.05, elem="focal_crop_edges_weight")] = 0.5
    focal_debug: Annotated[bool, Checkbox(label="focal_debug", elem="focal_crop_debug")] = False
    autosized_crop: Annotated[bool, Checkbox(label="extras_autosized_crop", elem="autosized_crop-checkbox")] = False
    mindim: Annotated[int, Field(ge=64, le=2048), Slider(label="mindim", minimum=64, maximum=2048, step=8, elem="multicrop_mindim")] = 384
    maxdim: Annotated[int, Field(ge=64, le=2048), Slider(label="maxdim", minimum=64, maximum=2048, step=8, elem="multicrop_maxdim")] = 768
    minarea: Annotated[
        int, Field(ge=64 * 64, le=2048 * 2048), Slider(label="minarea", minimum=4096, maximum=4_194_304, step=1, elem="multicrop_minarea")
    ] = 64 * 64
    maxarea: Annotated[
        int, Field(ge=64 * 64, le=2048 * 2048), Slider(label="maxarea", minimum=4096, maximum=4_194_304, step=1, elem="multicrop_maxarea")
    ] = 640 * 640
    objective: Annotated[
        Literal["Maximize area", "Minimize error"],
        Dropdown(label="multicrop_objective", choices=("Maximize area", "Minimize error"), elem="multicrop_objective"),
    ] = "Maximize area"
    threshold: Annotated[Share, Slider(label="multicrop_threshold", minimum=0, maximum=1, step=0.01, elem="multicrop_threshold")] = 0.1
    flip: Annotated[bool, Checkbox(label="extras_flip", elem="flip-checkbox")] = False
    flips: Annotated[
        tuple[Literal["Horizontal", "Vertical", "Both"], ...], Field(max_length=3),
        Dropdown(label="flips", choices=("Horizontal", "Vertical", "Both"), multiple=True, elem="flips"),
    ] = ("Horizontal",)
    caption: Annotated[bool, Checkbox(label="extras_caption", elem="caption-checkbox")] = False
    captions: Annotated[
        tuple[CaptionModel, ...], Field(max_length=2), Dropdown(label="captions", choices=("Deepbooru", "BLIP"), multiple=True, elem="captions"),
    ] = ("BLIP",)


class Extras(Upscaling, Faces, Preparing):
    """Work on finished pictures: given ones, or all in a folder."""

    kind: Literal["extras"] = "extras"
    images: tuple[NamedPicture, ...] = Field(default=(), max_length=PICTURES_LIMIT)
    input_dir: Annotated[str, Field(max_length=1000), TextBox(label="extras_input_dir", info="extras_input_dir_info", elem="batch_input_dir")] = ""
    """A folder below the data or outputs folder; counts instead of `images`."""

    output_dir: Annotated[
        str, Field(max_length=1000), TextBox(label="extras_output_dir", info="extras_output_dir_info", elem="batch_output_dir")
    ] = ""
    show_extras_results: Annotated[bool, Checkbox(label="show_extras_results", elem="show_extras_results")] = True
    """With a folder: whether results are shown, or only written."""


class Interrogate(Frozen):
    """A stored picture described in words."""

    kind: Literal["interrogate"] = "interrogate"
    image: ImageRef
    model: CaptionModel | Literal["CLIP"] = "CLIP"
    """CLIP: BLIP's sentence, and behind it what of the lists in interrogate/ fits best, by CLIP. A1111's two buttons are this and Deepbooru."""


OPERATIONS = {
    "upscale": ("upscaler_1", "upscaler_2", "upscaler_2_visibility", "resize_mode", "upscaling_resize", "max_side_length", "upscaling_resize_w",
                "upscaling_resize_h", "upscaling_crop"),
    "gfpgan": ("gfpgan_model", "gfpgan_visibility"),
    "codeformer": ("codeformer_visibility", "codeformer_weight"),
    "split": ("split_threshold", "overlap_ratio"),
    "focal_crop": ("face_weight", "entropy_weight", "edges_weight", "focal_debug"),
    "autosized_crop": ("mindim", "maxdim", "minarea", "maxarea", "objective", "threshold"),
    "flip": ("flips",),
    "caption": ("captions",),
}
"""What can be done, in the order it is done (A1111's), and the fields of each; the name is that of its switch."""
