"""Settings of what is done with finished pictures: upscaling by networks and the Extras tab. Under A1111's keys; part of `PictureSettings`, frozen
into the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.output_settings import Folder
from webui.schema.widgets import Checkbox, Dropdown, Slider, TextBox

TileSize = Annotated[int, Field(ge=0, le=4096)]
TileOverlap = Annotated[int, Field(ge=0, le=256)]
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
