"""Where model files are looked for."""

from __future__ import annotations

from pathlib import Path

from webui.schema.launch import LaunchOptions
from webui.services.assembly import make_files, make_folders, open_library


def test_folders_of_the_command_line_come_behind_those_of_the_models_folder(tmp_path: Path) -> None:
    own, further = tmp_path / "models" / "VAE", tmp_path / "a1111" / "vaes"
    for folder, names in ((own, ("plain", "both")), (further, ("soft", "both"))):
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.safetensors").write_bytes(folder.name.encode())
    options = LaunchOptions(data_dir=tmp_path, models_dir=tmp_path / "models", outputs_dir=tmp_path / "outputs", file_folders={"vae": (further,)})
    folders = make_folders(options)
    folders.create()
    library = open_library(folders)
    try:
        found = {entry.name: Path(entry.path).parent for entry in make_files(options, folders, library).files("vae")}
    finally:
        library.close()
    assert found == {"plain": own, "both": own, "soft": further}
