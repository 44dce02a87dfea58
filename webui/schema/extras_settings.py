"""Settings of what is done with finished pictures: upscaling by networks and the Extras tab. Under A1111's keys; part of `PictureSettings`, frozen
into the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.output_settings import Folder
from webui.schema.widgets import Checkbox, Dropdown, Number, Slider, TextBox

TileSize = Annotated[int, Field(ge=0, le=4096)]
TileOverlap = Annotated[int, Field(ge=0, le=256)]
FaceModel = Literal["CodeFormer", "GFPGAN"]
TILE_HELP = "Pixels; a picture is enlarged in pieces of this size. 0: in one piece."
OVERLAP_HELP = "Pixels over which one tile fades into the next; low values make seams."


class ExtrasSettings(Frozen):
    """What A1111 has on its pages "Upscaling" and "Postprocessing"."""

    ESRGAN_tile: Annotated[TileSize, Slider(label="Tile size", info=TILE_HELP, minimum=0, maximum=512, step=16)] = 192
    ESRGAN_tile_overlap: Annotated[TileOverlap, Slider(label="Tile overlap", info=OVERLAP_HELP, minimum=0, maximum=48, step=1)] = 8
    DAT_tile: Annotated[TileSize, Slider(label="Tile size of DAT and HAT", info=TILE_HELP, minimum=0, maximum=512, step=16)] = 192
    DAT_tile_overlap: Annotated[TileOverlap, Slider(label="Tile overlap of DAT and HAT", info=OVERLAP_HELP, minimum=0, maximum=48, step=1)] = 8
    SWIN_tile: Annotated[TileSize, Slider(label="Tile size of SwinIR", info=TILE_HELP, minimum=0, maximum=512, step=16)] = 192
    SWIN_tile_overlap: Annotated[TileOverlap, Slider(label="Tile overlap of SwinIR", info=OVERLAP_HELP, minimum=0, maximum=48, step=1)] = 8
    SCUNET_tile: Annotated[TileSize, Slider(label="Tile size of ScuNET", info=TILE_HELP, minimum=0, maximum=512, step=16)] = 256
    SCUNET_tile_overlap: Annotated[TileOverlap, Slider(label="Tile overlap of ScuNET", info=OVERLAP_HELP, minimum=0, maximum=64, step=1)] = 8
    x4_upscaler_noise_level: Annotated[
        int, Field(ge=0, le=350),
        Slider(label="Noise level of x4 upscalers", info="More lets them invent more; the picture is kept less.", minimum=0, maximum=350, step=1),
    ] = 20
    x4_upscaler_steps: Annotated[
        int, Field(ge=1, le=150),
        Slider(label="Steps of x4 upscalers", info="Of Stable Diffusion's upscaler, for each tile.", minimum=1, maximum=150, step=1),
    ] = 20
    x4_upscaler_tile: Annotated[
        int, Field(ge=0, le=4096, multiple_of=8), Slider(label="Tile size of x4 upscalers", info=TILE_HELP, minimum=0, maximum=512, step=16)
    ] = 128
    x4_upscaler_tile_overlap: Annotated[
        TileOverlap, Slider(label="Tile overlap of x4 upscalers", info=OVERLAP_HELP, minimum=0, maximum=64, step=1)
    ] = 8
    outdir_extras_samples: Annotated[
        Folder, TextBox(label="Folder of Extras", info="Below the outputs folder; counts while “folder of all pictures” is empty.")
    ] = "extras-images"
    use_original_name_batch: Annotated[
        bool, Checkbox(label="Keep file names in Extras", info="What Extras makes of several pictures is named like them; else it is numbered.")
    ] = True
    postprocessing_existing_caption_action: Annotated[
        Literal["Ignore", "Keep", "Prepend", "Append"],
        Dropdown(label="When there is a caption already", info="Ignore: the new one takes its place. Prepend, Append: where the old one goes."),
    ] = "Ignore"


class FaceSettings(Frozen):
    """A1111's page "Face restoration": of pictures that are made; Extras has fields of its own."""

    face_restoration: Annotated[
        bool, Checkbox(label="Restore faces", info="Faces of finished pictures are made anew by a network. Needs files, see docs/extras.md.")
    ] = False
    face_restoration_model: Annotated[
        FaceModel, Dropdown(label="Network that restores faces", info="GFPGAN: a file of models/GFPGAN or models/RestoreFormer.")
    ] = "CodeFormer"
    code_former_weight: Annotated[
        float, Field(ge=0, le=1), Slider(label="Weight of CodeFormer", info="0: most effect; 1: least.", minimum=0, maximum=1, step=0.01)
    ] = 0.5
    face_restoration_unload: Annotated[
        bool, Checkbox(label="Let go of the face network", info="When a run is done; else it stays while there is memory.")
    ] = False
    save_images_before_face_restoration: Annotated[
        bool, Checkbox(label="Save the picture before its faces are restored", info="As a file “…-before-face-restoration”.")
    ] = False


class InterrogateSettings(Frozen):
    """A1111's page "Interrogate"."""

    interrogate_keep_models_in_memory: Annotated[
        bool, Checkbox(label="Keep captioning models in memory", info="Else they are let go when a job is done.")
    ] = False
    interrogate_return_ranks: Annotated[bool, Checkbox(label="Scores with tags", info="Written as weights: (tag:0.983).")] = False
    interrogate_clip_num_beams: Annotated[
        int, Field(ge=1, le=16), Slider(label="Beams of BLIP", info="More look at more sentences, and take longer.", minimum=1, maximum=16, step=1)
    ] = 1
    interrogate_clip_min_length: Annotated[
        int, Field(ge=1, le=128), Slider(label="Shortest description of BLIP", info="Tokens.", minimum=1, maximum=128, step=1)
    ] = 24
    interrogate_clip_max_length: Annotated[
        int, Field(ge=1, le=256), Slider(label="Longest description of BLIP", info="Tokens.", minimum=1, maximum=256, step=1)
    ] = 48
    interrogate_clip_dict_limit: Annotated[
        int, Field(ge=0, le=1_000_000),
        Number(label="Lines of a list for CLIP", info="Of each file in interrogate/ so many count; 0: all.", precision=0),
    ] = 1500
    interrogate_clip_skip_categories: Annotated[
        tuple[str, ...], Field(max_length=1000),
        Dropdown(label="Lists that CLIP leaves out", info="Names of files in interrogate/.", source="interrogate_lists", multiple=True),
    ] = ()
    interrogate_deepbooru_score_threshold: Annotated[
        float, Field(ge=0, le=1), Slider(label="Least score of a tag", info="Of taggers, 0 to 1.", minimum=0, maximum=1, step=0.01)
    ] = 0.5
    deepbooru_sort_alpha: Annotated[bool, Checkbox(label="Tags by name", info="Else the surest come first.")] = True
    deepbooru_use_spaces: Annotated[bool, Checkbox(label="Blanks in tags", info="Instead of underscores.")] = True
    deepbooru_escape: Annotated[bool, Checkbox(label="Escape brackets in tags", info="So that prompts read them as they are.")] = True
    deepbooru_filter_tags: Annotated[
        str, Field(max_length=10_000), TextBox(label="Tags to leave out", info="With commas between them.")
    ] = ""
