"""What a picture puts into a form: one picture of a run, what this server has, and what is said about the rest."""

from __future__ import annotations

import json

from tests.services.conftest import CHECKPOINT
from tests.services.test_metadata import KNOWN, LINE, png
from webui.schema.generation import Txt2Img
from webui.schema.metadata import Metadata
from webui.schema.settings import PictureSettings
from webui.schema.style import Style
from webui.services.infotext.files import read_metadata
from webui.services.infotext.restore import Known


def own(request: Txt2Img, index: int = 0, line: str = LINE, known: Known = KNOWN) -> Metadata:
    """What is read from a picture of ours."""
    return read_metadata(png({"parameters": line, "easel": json.dumps({"request": request.model_dump(mode="json"), "index": index})}), known)


def test_a_foreign_line_gives_only_the_fields_it_speaks_of() -> None:
    found = read_metadata(png({"parameters": LINE, "Title": "mine"}), KNOWN)
    assert found.values == {
        "prompt": "a cat", "negative_prompt": "dog", "steps": 20, "sampler": "Euler a", "scheduler": "Automatic", "cfg_scale": 7.0, "seed": 5,
        "width": 512, "height": 768, "checkpoint": CHECKPOINT.name, "enable_hr": False, "settings": {},
    }
    assert found.chunks == {"parameters": LINE, "Title": "mine"} and (found.width, found.height) == (32, 24)


def test_of_a_run_one_picture_is_pasted_with_its_own_seed() -> None:
    request = Txt2Img(prompt="x", seed=10, batch_count=2, batch_size=3, checkpoint=CHECKPOINT.name)
    found = own(request, 4)
    assert found.values["seed"] == 14 and not {"batch_count", "batch_size", "style_texts", "kind"} & found.values.keys()
    varied = own(request.revise(subseed=7, subseed_strength=0.5), 4)
    assert (varied.values["seed"], varied.values["subseed"]) == (10, 11)


def test_the_script_that_asked_is_left_out_and_other_extensions_come_by_path() -> None:
    ext = {"prompts_from_file": {"text": "x\ny"}, "other": {"strength": 0.5}}
    found = own(Txt2Img(script="prompts_from_file", ext=ext))
    assert found.values["script"] == "" and found.values["ext.other.strength"] == 0.5
    assert not [path for path in found.values if path.startswith("ext.prompts_from_file")]


def test_settings_of_that_time_become_overrides_only_where_the_server_differs() -> None:
    line = LINE.replace("Seed: 5,", "Seed: 5, Clip skip: 2, ENSD: 31337,")
    request = Txt2Img(settings={"samples_format": "webp", "no_such_setting": 1, "s_churn": 900})
    found = own(request, line=line)
    assert found.values["settings"] == {"samples_format": "webp", "CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337}
    assert any("no_such_setting" in text for text in found.comments) and any(text.startswith("s_churn") for text in found.comments)
    same = Known(**{**vars(KNOWN), "settings": PictureSettings(CLIP_stop_at_last_layers=2, eta_noise_seed_delta=31337)})
    assert own(Txt2Img(), line=line, known=same).values["settings"] == {}


def test_a_setting_changed_since_is_put_back_to_what_the_picture_had() -> None:
    now = Known(**{**vars(KNOWN), "settings": PictureSettings(CLIP_stop_at_last_layers=2)})
    assert own(Txt2Img(), known=now).values["settings"] == {"CLIP_stop_at_last_layers": 1}


def test_a_checkpoint_that_is_not_here_is_named_with_its_hash_and_not_pasted() -> None:
    found = own(Txt2Img(checkpoint="gone.safetensors"), line=LINE.replace("abababab00", "0123456789").replace("some model", "gone"))
    assert "checkpoint" not in found.values
    assert any("“gone” [0123456789] is not here" in text for text in found.comments)
    silent = own(Txt2Img(checkpoint="gone.safetensors"), line="")
    assert "checkpoint" not in silent.values and any("“gone” is not here" in text for text in silent.comments)


def test_a_checkpoint_under_another_name_is_found_by_its_hash() -> None:
    line = LINE.replace("abababab00", "ababababab").replace("some model", "old name")
    found = own(Txt2Img(checkpoint="old name.safetensors"), line=line)
    assert found.values["checkpoint"] == CHECKPOINT.name and found.comments == (f"The checkpoint old name.safetensors is here as {CHECKPOINT.name}.",)


def test_styles_that_changed_are_written_into_the_prompts_with_those_before_them() -> None:
    texts = (Style(name="A", prompt="one"), Style(name="B", prompt="two"), Style(name="C", prompt="{prompt}, three"))
    here = (Style(name="A", prompt="one"), Style(name="B", prompt="TWO"), Style(name="C", prompt="{prompt}, three"))
    request = Txt2Img(prompt="cat", styles=("A", "B", "C"), style_texts=texts)
    found = own(request, known=Known(**{**vars(KNOWN), "styles": here}))
    assert found.values["prompt"] == "cat, one, two" and found.values["styles"] == ["C"]
    assert any(text.endswith("A, B.") for text in found.comments)
    kept = own(request, known=Known(**{**vars(KNOWN), "styles": texts}))
    assert kept.values["prompt"] == "cat" and kept.values["styles"] == ["A", "B", "C"]


def test_nothing_to_read_gives_no_values() -> None:
    assert read_metadata(png({}), KNOWN).values == {}
    assert read_metadata(b"only a prompt", KNOWN).values["prompt"] == "only a prompt"
