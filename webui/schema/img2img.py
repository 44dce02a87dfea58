"""What img2img asks for: a picture to begin with, what was painted on it, and which part of it is made anew. Names and defaults are A1111's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.generation import GenerationRequest, ImageRef, Refiner
from webui.schema.widgets import Checkbox, Picture, Radio, Slider

ImageMode = Literal["img2img", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload"]
"""A1111's modes. `sketch` works over picture and strokes; `inpaint` replaces what is under the mask; `inpaint_sketch` replaces what is under the
strokes, beginning with them; `inpaint_upload` is `inpaint` with a mask from a file."""

ResizeMode = Literal["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]
MaskedContent = Literal["fill", "original", "latent noise", "latent nothing"]
FolderName = Annotated[str, Field(max_length=1000)]
PngProperty = Literal["prompt", "negative_prompt", "seed", "cfg_scale", "sampler", "steps", "checkpoint"]
MASKED: tuple[ImageMode, ...] = ("inpaint", "inpaint_sketch", "inpaint_upload")
"""Modes that keep a part of the picture."""


class Source(Frozen):
    """The picture, and what lies on it at the same size. What the mode does not use may be there and is left alone."""

    mode: Annotated[ImageMode, Radio(label="img2img_mode", choices=("img2img", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload"),
                                     elem="mode")] = "img2img"
    image: Annotated[ImageRef | None, Picture(label="img2img_image", elem="image")] = None
    """The picture at the bottom."""

    colour: Annotated[ImageRef | None, Picture(label="img2img_colour", elem="colour")] = None
    """Strokes of colour over it, RGBA (`sketch`, `inpaint_sketch`)."""

    mask: Annotated[ImageRef | None, Picture(label="img2img_mask", elem="mask")] = None
    """What is to be replaced (`inpaint`, `inpaint_upload`): white in a grey or RGB picture, opaque in one with transparency."""

    depth: Annotated[ImageRef | None, Picture(label="depth_map", elem="depth")] = None
    """How near each place of the picture is (the lighter, the nearer), for models that look at depth; of any size, it is laid over the picture. None:
    it is estimated."""

    resize_mode: Annotated[ResizeMode, Radio(label="resize_mode", choices=("Just resize", "Crop and resize", "Resize and fill",
                                                                         "Just resize (latent upscale)"), elem="resize_mode")] = "Just resize"
    resize_by: Annotated[float, Field(ge=0, le=16), Slider(label="resize_by", minimum=0, maximum=4, step=0.05, elem="scale")] = 0.0
    """Size of the result as a multiple of the picture's; 0 = `width` × `height` count."""

    denoising_strength: Annotated[
        float, Field(ge=0, le=1), Slider(label="denoising_strength", minimum=0, maximum=1, step=0.01, elem="denoising_strength")
    ] = 0.75
    image_cfg_scale: Annotated[
        float, Field(ge=0, le=100), Slider(label="image_cfg_scale", info="image_cfg_scale_info", minimum=0, maximum=3, step=0.05,
                                           elem="image_cfg_scale")
    ] = 1.5
    """How closely an instruct-pix2pix model keeps to the picture; other models have no such scale."""


class Masking(Frozen):
    """How a mask is used; counts in the modes of `MASKED` only."""

    mask_blur: Annotated[int, Field(ge=0, le=256), Slider(label="mask_blur", minimum=0, maximum=64, step=1, elem="mask_blur")] = 4
    mask_alpha: Annotated[float, Field(ge=0, le=100), Slider(label="mask_alpha", minimum=0, maximum=100, step=1, elem="mask_alpha")] = 0.0
    """Mask transparency of `inpaint_sketch`, in per cent."""

    inpainting_mask_invert: Annotated[bool, Checkbox(label="mask_invert", elem="mask_mode")] = False
    """Replace what is not under the mask."""

    inpainting_fill: Annotated[
        MaskedContent, Radio(label="masked_content", choices=("fill", "original", "latent noise", "latent nothing"), elem="inpainting_fill")
    ] = "original"
    inpaint_full_res: Annotated[bool, Checkbox(label="only_masked", elem="inpaint_full_res")] = False
    """Work on the surroundings of the mask alone, at the full size, and put the result back."""

    inpaint_full_res_padding: Annotated[
        int, Field(ge=0, le=4096), Slider(label="only_masked_padding", minimum=0, maximum=256, step=4, elem="inpaint_full_res_padding")
    ] = 32
    """Pixels of the picture around the mask that are worked on too, with `inpaint_full_res`."""


class SoftInpainting(Frozen):
    """A mask with grey levels is blended step by step. Names of the ranges are those of A1111's extension."""

    soft_inpainting: Annotated[bool, Checkbox(label="soft_inpainting", elem="soft_inpainting_enabled")] = False
    soft_power: Annotated[float, Field(ge=0, le=8), Slider(label="soft_power", minimum=0, maximum=8, step=0.1, elem="mask_blend_power")] = 1.0
    """Schedule bias."""

    soft_scale: Annotated[float, Field(ge=0, le=8), Slider(label="soft_scale", minimum=0, maximum=8, step=0.05, elem="mask_blend_scale")] = 0.5
    """Preservation strength."""

    soft_detail: Annotated[
        float, Field(ge=1, le=32), Slider(label="soft_detail", minimum=1, maximum=32, step=0.5, elem="inpaint_detail_preservation")
    ] = 4.0
    """Transition contrast boost."""

    soft_influence: Annotated[
        float, Field(ge=0, le=1), Slider(label="soft_influence", minimum=0, maximum=1, step=0.05, elem="composite_mask_influence")
    ] = 0.0
    """Mask influence on the last composite; the two below belong to it too."""

    soft_threshold: Annotated[
        float, Field(ge=0, le=8), Slider(label="soft_threshold", minimum=0, maximum=8, step=0.25, elem="composite_difference_threshold")
    ] = 0.5
    soft_contrast: Annotated[
        float, Field(ge=0, le=8), Slider(label="soft_contrast", minimum=0, maximum=8, step=0.25, elem="composite_difference_contrast")
    ] = 2.0


class FolderBatch(Frozen):
    """All pictures of a folder of the server, each with the values of the request. Folders are named as in Extras."""

    input_dir: FolderName
    """Pictures in folders below it are taken too."""

    output_dir: FolderName = ""
    """Empty: the folder of img2img."""

    inpaint_mask_dir: FolderName = ""
    """A mask for each picture, of the same name, or a single one for all. Empty: whole pictures are worked on."""

    use_png_info: bool = False
    """Whether what a picture says of itself counts: prompts behind those of the request, the rest in their place."""

    png_info_dir: FolderName = ""
    """Files of the same names that say it instead."""

    png_info_props: tuple[PngProperty, ...] = ("prompt", "negative_prompt", "seed", "cfg_scale", "sampler", "steps", "checkpoint")


class Img2Img(GenerationRequest, Source, Masking, SoftInpainting, Refiner):
    """Pictures from a picture."""

    kind: Literal["img2img"] = "img2img"
    batch: FolderBatch | None = None
    """Takes the place of `image` and `mask`. The request of each picture that comes of it has none."""

    @property
    def masked(self) -> bool:
        """Whether a part of the picture is kept."""
        return self.mode in MASKED

    @property
    def painted(self) -> bool:
        """Whether the strokes of colour count."""
        return self.mode in ("sketch", "inpaint_sketch")

    @property
    def soft(self) -> bool:
        """Whether the mask is blended step by step."""
        return self.soft_inpainting and self.masked
