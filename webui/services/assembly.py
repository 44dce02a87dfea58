"""Where things live and what is there, for these launch options: folders, database, catalogs. What the server and the command line share, so it knows
neither Gradio nor HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.schema.launch import LaunchOptions
from webui.schema.model import FileKind
from webui.services.cards import ModelCards
from webui.services.folders import Folders
from webui.services.library import HashTable, Library, content_hashes
from webui.services.model_work import ModelWorkshop


def make_folders(options: LaunchOptions) -> Folders:
    """Where things live for these options. Extensions and scripts are those of the data folder, and of the program when that is elsewhere."""
    return Folders(
        data=options.data_dir, models=options.models_dir, outputs=options.outputs_dir, extensions=options.data_dir / "extensions",
        scripts=options.data_dir / "scripts",
    )


@contextmanager
def open_models(options: LaunchOptions, folders: Folders) -> Iterator[tuple[ModelCards, ModelWorkshop]]:
    """Only what work on model files needs: for the command line. A server may be running on the same folders."""
    folders.create()
    library = open_library(folders)
    try:
        catalog, files = make_catalog(options, folders, library)[0], make_files(options, folders, library)
        yield ModelCards(catalog, files), ModelWorkshop(catalog, files)
    finally:
        library.close()


def open_library(folders: Folders) -> Library:
    """The database: the one named by EASEL_DATABASE_URL, else a file of the data folder. Raises `StorageError`."""
    url = os.environ.get("EASEL_DATABASE_URL")
    return Library(url) if url else Library.open(folders.own / "library.db")


CHECKPOINT_FOLDERS = ("Stable-diffusion", "checkpoints", "diffusers", "unet", "diffusion_models")
"""Below models/: A1111's folder, ComfyUI's, diffusers' own layout, and denoisers without their other parts."""


def make_catalog(options: LaunchOptions, folders: Folders, library: Library) -> tuple[Catalog, str | None]:
    """The catalog, and the name of the checkpoint on the command line. Raises `WebuiError` when that one cannot be used."""
    places = [folders.models / name for name in CHECKPOINT_FOLDERS]
    if options.ckpt_dir:
        places.append(options.ckpt_dir)
    if options.ckpt and not any(options.ckpt.is_relative_to(place) for place in places):
        places.append(options.ckpt.parent)
    catalog = Catalog(places, HashTable(library), folders.own / "checkpoints.json")
    if options.ckpt is None:
        return catalog, None
    home = next(place for place in places if options.ckpt.is_relative_to(place))
    return catalog, catalog.get(options.ckpt.relative_to(home).as_posix()).name


UPSCALER_FOLDERS = ("ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "DAT", "HAT", "ScuNET", "upscale_models")
"""A1111's, and ComfyUI's."""

FACE_FOLDERS = ("GFPGAN", "Codeformer", "RestoreFormer", "facerestore_models")


def make_files(options: LaunchOptions, folders: Folders, library: Library) -> NetworkFiles:
    """A1111's folders, whose embeddings lie beside models/, and those of the command line behind them."""
    models, more = folders.models, options.file_folders
    places: dict[FileKind, tuple[Path, ...]] = {
        "vae": (models / "VAE",), "lora": (models / "Lora", models / "LyCORIS"),
        "embedding": (models / "embeddings", models.parent / "embeddings"), "hypernetwork": (models / "hypernetworks",),
        "controlnet": (models / "ControlNet",), "upscaler": tuple(models / name for name in UPSCALER_FOLDERS),
        "face_restorer": tuple(models / name for name in FACE_FOLDERS), "face_detector": (models / "opencv", models / "facedetection"),
        "text_encoder": (models / "text_encoder", models / "text_encoders", models / "clip"),
    }
    whole: dict[FileKind, tuple[Path, ...]] = {kind: (*found, *more.get(kind, ())) for kind, found in places.items()}
    return NetworkFiles(whole, HashTable(library), HashTable(library, content_hashes))
