"""Settings of files: what is saved, in which format, where and under which name. Under A1111's keys;
part of `PictureSettings`, frozen into the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Dropdown, Slider, TextBox
from webui.schema.widgets import Number as NumberBox

PictureFormat = Literal["png", "jpg", "jpeg", "webp", "avif", "jxl"]
"""jxl only where Pillow's plug-in for it is installed."""

Pattern = Annotated[str, Field(max_length=1000)]
"""A file name pattern, see `services.names`."""

Folder = Annotated[str, Field(max_length=1000)]
"""A folder below another one, see `services.placing`."""


class OutputSettings(Frozen):
    """What A1111 has on its pages "Saving images/grids", "Paths for saving", "Saving to a directory" and "Infotext"."""

    samples_save: Annotated[bool, Checkbox(label="Save finished pictures", info="Every finished picture goes to the outputs folder.")] = True
    samples_format: Annotated[PictureFormat, Dropdown(label="File format of pictures", info="jxl needs Pillow's plug-in for it.")] = "png"
    save_incomplete_images: Annotated[
        bool, Checkbox(label="Save interrupted pictures", info="Keep the partial picture when a job is interrupted or skipped; A1111 throws it away.")
    ] = True
    save_images_before_highres_fix: Annotated[
        bool, Checkbox(label="Save the first pass of hires fix", info="As a picture of its own, “…-before-highres-fix”.")
    ] = False
    save_txt: Annotated[bool, Checkbox(label="Text file beside each picture", info="Write the infotext into a .txt file as well.")] = False
    jpeg_quality: Annotated[
        int, Field(ge=1, le=100),
        Slider(label="Quality of JPEG, WebP and AVIF", info="WebP and JPEG XL only unless they are lossless.", minimum=1, maximum=100, step=1),
    ] = 80
    webp_lossless: Annotated[bool, Checkbox(label="Lossless WebP", info="WebP and JPEG XL keep every pixel.")] = False
    export_for_4chan: Annotated[
        bool, Checkbox(label="JPG copy of large pictures", info="Made when the file or a side of the picture is larger than the two limits below.")
    ] = True
    img_downscale_threshold: Annotated[
        float, Field(gt=0, le=10_000), NumberBox(label="File size that asks for a JPG copy", info="Megabytes.")
    ] = 4.0
    target_side_length: Annotated[
        int, Field(ge=64, le=65_000), NumberBox(label="Side that asks for a JPG copy", info="Pixels; the copy is made no larger.", precision=0)
    ] = 4000
    save_images_add_number: Annotated[
        bool, Checkbox(label="Number in file names", info="Begin file names with a number. Without a pattern they always do.")
    ] = True
    save_images_replace_action: Annotated[
        Literal["Replace", "Add number suffix"],
        Dropdown(label="When there is a file of this name", info="Counts only for names without a number."),
    ] = "Replace"
    samples_filename_pattern: Annotated[
        Pattern,
        TextBox(
            label="File name pattern of pictures",
            info="Words in brackets: [seed], [prompt_words], [model_name], … Empty: [seed] with folders, [seed]-[prompt_spaces] without.",
        ),
    ] = ""
    save_to_dirs: Annotated[
        bool, Checkbox(label="Pictures in subfolders", info="Named by the folder pattern: a folder per day if it is [date].")
    ] = True
    grid_save_to_dirs: Annotated[bool, Checkbox(label="Grids in subfolders", info="The same for grids.")] = True
    directories_filename_pattern: Annotated[Pattern, TextBox(label="Folder name pattern", info="The same words as in file names.")] = "[date]"
    directories_max_prompt_words: Annotated[
        int, Field(ge=1, le=20), Slider(label="Most words of [prompt_words]", info="Words of the prompt in a name.", minimum=1, maximum=20, step=1)
    ] = 8
    filenames_max_length: Annotated[
        int, Field(ge=1, le=200),
        Slider(label="Longest part of a name", info="Characters that one word of a pattern may give.", minimum=1, maximum=200, step=1),
    ] = 128
    outdir_samples: Annotated[Folder, TextBox(label="Folder for all pictures", info="Below the outputs folder. Empty: the folder of each kind.")] = ""
    outdir_txt2img_samples: Annotated[Folder, TextBox(label="Folder for txt2img pictures", info="Below the outputs folder.")] = "txt2img-images"
    outdir_grids: Annotated[Folder, TextBox(label="Folder for all grids", info="Below the outputs folder. Empty: the folder of each kind.")] = ""
    outdir_txt2img_grids: Annotated[Folder, TextBox(label="Folder for txt2img grids", info="Below the outputs folder.")] = "txt2img-grids"
    grid_save: Annotated[bool, Checkbox(label="Save a grid", info="One file with all pictures of a run side by side.")] = True
    grid_format: Annotated[PictureFormat, Dropdown(label="File format of grids", info="jxl needs Pillow's plug-in for it.")] = "png"
    grid_only_if_multiple: Annotated[bool, Checkbox(label="No grid of a single picture", info="A grid needs at least two pictures.")] = True
    grid_extended_filename: Annotated[bool, Checkbox(label="Pattern in names of grids", info="Use the file name pattern for grids too.")] = False
    grid_prevent_empty_spots: Annotated[
        bool, Checkbox(label="No empty places in a grid", info="Choose rows and columns so that every place is filled.")
    ] = False
    n_rows: Annotated[
        int, Field(ge=-1, le=16),
        Slider(label="Rows of a grid", info="−1: about as many as columns; 0: as many as pictures in a batch.", minimum=-1, maximum=16, step=1),
    ] = -1
    img_max_size_mp: Annotated[
        int, Field(ge=1, le=1000), NumberBox(label="Largest grid", info="Megapixels; a larger grid is not made.", precision=0)
    ] = 200
    enable_pnginfo: Annotated[
        bool,
        Checkbox(label="Infotext in the file", info="A1111's line: PNG chunk “parameters”, EXIF UserComment of the other formats."),
    ] = True
    easel_request_in_png: Annotated[
        bool,
        Checkbox(label="Full request in the file", info="As JSON: PNG chunk “easel”, EXIF MakerNote of the other formats. What Replay reads first."),
    ] = True
    add_model_name_to_info: Annotated[bool, Checkbox(label="Name of the model in the infotext", info="The field “Model”.")] = True
    add_model_hash_to_info: Annotated[bool, Checkbox(label="Hash of the model in the infotext", info="The field “Model hash”.")] = True
    add_vae_name_to_info: Annotated[bool, Checkbox(label="Name of the VAE in the infotext", info="The field “VAE”, when one was chosen.")] = True
    add_vae_hash_to_info: Annotated[bool, Checkbox(label="Hash of the VAE in the infotext", info="The field “VAE hash”.")] = True
    add_version_to_infotext: Annotated[bool, Checkbox(label="Version of the program in the infotext", info="The field “Version”.")] = True
    add_user_name_to_info: Annotated[bool, Checkbox(label="Who is signed in, in the infotext", info="The field “User”.")] = False
