"""Settings of img2img, under A1111's keys. Part of `PictureSettings`: frozen into the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.output_settings import Colour, Folder
from webui.schema.widgets import Checkbox, Dropdown, Slider, TextBox

Unit = Annotated[float, Field(ge=0, le=1)]


class Img2ImgSettings(Frozen):
    """What A1111 has on its page "img2img", and of pages on saving what is about it."""

    img2img_fix_steps: Annotated[
        bool, Checkbox(label="Exactly the steps of the slider in img2img", info="A1111 does fewer steps the lower the denoising strength is.")
    ] = False
    img2img_extra_noise: Annotated[
        Unit,
        Slider(label="Extra noise in img2img and hires fix", info="Added to the picture before the steps.", minimum=0, maximum=1, step=0.01),
    ] = 0.0
    initial_noise_multiplier: Annotated[
        float, Field(ge=0, le=1.5),
        Slider(
            label="Noise multiplier of img2img", info="Of the noise over the picture; 1 = as the model expects.", minimum=0, maximum=1.5, step=0.001,
        ),
    ] = 1.0
    inpainting_mask_weight: Annotated[
        Unit,
        Slider(
            label="Conditioning mask strength", info="How much of what is masked an inpainting model does not see; 0 = it sees the whole picture.",
            minimum=0, maximum=1, step=0.01,
        ),
    ] = 1.0
    img2img_color_correction: Annotated[
        bool, Checkbox(label="Colour correction in img2img", info="The result gets the colours of the picture it began with.")
    ] = False
    color_correction_method: Annotated[
        Literal["Histogram", "Wavelet", "AdaIN"],
        Dropdown(label="Way of colour correction", info="Histogram: A1111's; Wavelet: coarse colours only; AdaIN: mean and spread of each channel."),
    ] = "Histogram"
    img2img_background_color: Annotated[
        Colour, TextBox(label="Background of transparent pictures", info="What stands behind transparent parts in img2img, as #rrggbb.")
    ] = "#ffffff"
    overlay_inpaint: Annotated[
        bool, Checkbox(label="Lay the original over the result", info="What is not masked stays to the bit. Off: all is the model's.")
    ] = True
    upscaler_for_img2img: Annotated[
        str, Field(max_length=200),
        Dropdown(label="Upscaler of img2img", info="What enlarges a picture to the size of the result.", source="image_upscalers"),
    ] = "None"
    img2img_batch_use_original_name: Annotated[
        bool, Checkbox(label="Keep file names in Batch", info="What img2img makes of the pictures of a folder is named like them.")
    ] = False
    img2img_batch_show_results_limit: Annotated[
        int, Field(ge=-1, le=1000),
        Slider(
            label="Results of a folder that are shown", info="Of Batch the first so many pictures; 0 = none, -1 = all. All are saved.",
            minimum=-1, maximum=1000, step=1,
        ),
    ] = 32
    save_mask: Annotated[bool, Checkbox(label="Save the mask of inpainting", info="As a file beside the picture, “…-mask”.")] = False
    save_mask_composite: Annotated[
        bool, Checkbox(label="Save what inpainting made", info="Without the rest of the picture, as a file “…-mask-composite”.")
    ] = False
    return_mask: Annotated[bool, Checkbox(label="Show the mask of inpainting", info="As a picture of its own after the result.")] = False
    return_mask_composite: Annotated[
        bool, Checkbox(label="Show what inpainting made", info="Without the rest of the picture, as a picture of its own after the result.")
    ] = False
    save_images_before_color_correction: Annotated[
        bool, Checkbox(label="Save the picture before colour correction", info="As a file “…-before-color-correction”.")
    ] = False
    save_init_img: Annotated[
        bool, Checkbox(label="Save the pictures img2img begins with", info="Named by their hash, which the infotext then tells.")
    ] = False
    outdir_init_images: Annotated[Folder, TextBox(label="Folder for pictures to begin with", info="Below the outputs folder.")] = "init-images"
    outdir_img2img_samples: Annotated[Folder, TextBox(label="Folder for img2img pictures", info="Below the outputs folder.")] = "img2img-images"
    outdir_img2img_grids: Annotated[Folder, TextBox(label="Folder for img2img grids", info="Below the outputs folder.")] = "img2img-grids"
