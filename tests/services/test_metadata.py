"""What is read back: from files of ours and of other programs, whole and broken."""

from __future__ import annotations

import gzip
import io
import json
import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.services.conftest import CHECKPOINT
from webui.engine.plan import make_plan
from webui.engine.tables import SAMPLERS, SCHEDULES, UPSCALERS, register_tables
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.metadata import Metadata
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings
from webui.schema.style import Style
from webui.services import images
from webui.services.infotext import files, stealth
from webui.services.infotext.files import read_metadata
from webui.services.infotext.foreign import read_comfyui
from webui.services.infotext.reader import ReadOptions, split_infotext
from webui.services.infotext.restore import Known, find_sampler, refit
from webui.services.infotext.stealth import read_stealth
from webui.services.infotext.writer import write_infotext

KNOWN = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT,))
LINE = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model hash: abababab00, Model: some model"
REGISTRIES = Registries()
register_tables(REGISTRIES)


def png(chunks: dict[str, str], size: tuple[int, int] = (32, 24)) -> bytes:
    """A PNG with these texts."""
    info = PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def graph(**sampler: Any) -> dict[str, Any]:
    """ComfyUI's default graph."""
    inputs = {
        "seed": 42, "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1, "model": ["4", 0], "positive": ["6", 0],
        "negative": ["7", 0], "latent_image": ["5", 0],
    }
    return {
        "3": {"class_type": "KSampler", "inputs": inputs | sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/some model.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (red:1.2) house", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    }


def test_a_line_of_a1111_becomes_a_request() -> None:
    found = read_metadata(png({"parameters": LINE}), KNOWN)
    assert found.kind == "a1111" and found.text == LINE and found.fields["Seed"] == "5"
    assert found.request == Txt2Img(
        prompt="a cat", negative_prompt="dog", sampler="Euler a", seed=5, width=512, height=768, checkpoint=CHECKPOINT.name
    )
    assert found.comments == ("The checkpoint folder/some model.safetensors has the right name but another hash (ababababab, not abababab00).",)


@pytest.mark.parametrize("key", ["CFG Rescale phi", "CFG Rescale", "CFG Rescale φ", "CFG rescale"])
def test_cfg_rescale_under_every_name(key: str) -> None:
    found = read_metadata(f"{LINE}, {key}: 0.7".encode(), KNOWN)
    assert found.request is not None and found.request.cfg_rescale == 0.7 and not any("Not used" in comment for comment in found.comments)


def test_cfg_rescale_is_written_when_it_is_on() -> None:
    lines = [write_infotext(make_plan(Txt2Img(seed=1, cfg_rescale=phi), CHECKPOINT, REGISTRIES), 0, None) for phi in (0.0, 0.55)]
    assert "Rescale" not in lines[0] and ", CFG Rescale phi: 0.55, " in lines[1]


def test_everything_changed_is_commented() -> None:
    line = (
        "x\nSteps: 2000, Sampler: Foo Karras, Schedule type: Bar, CFG scale: 7, Seed: 1, Size: 100x9000, Model hash: 0123456789, Model: other, "
        "Lora hashes: \"a: 1\", VAE Encoder: TAESD, Version: v1.10.1"
    )
    found = read_metadata(line.encode(), KNOWN)
    assert found.request == Txt2Img(prompt="x", seed=1, width=96, height=8192)
    text = "\n".join(found.comments)
    for part in ("Steps", "“Foo Karras”", "“Bar”", "100 became 96", "9000 became 8192", "“other” [0123456789]", "Not used here: VAE Encoder."):
        assert part in text
    assert len(found.comments) == 7


@pytest.mark.parametrize(
    ("name", "scheduler", "expected"),
    [
        ("DPM++ 2M Karras", "Automatic", ("DPM++ 2M", "Automatic")),
        ("Euler a Karras", "Automatic", ("Euler a", "Karras")),
        ("k_euler", "karras", ("Euler", "Karras")),
        ("Euler", "Nothing", ("Euler", "Automatic")),
        ("euler", "Uniform", ("DPM++ 2M", "Uniform")),
    ],
)
def test_names_of_samplers(name: str, scheduler: str, expected: tuple[str, str]) -> None:
    assert find_sampler(name, scheduler, KNOWN) == expected


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("Version: v1.10.1", "a1111"),
        ("Version: f2.0.1v1.10.1-previous-665-gae278f79", "forge"),
        ("Version: neo", "forge"),
        ("App: SD.Next, Version: 0eb4a98, Pipeline: StableDiffusionPipeline", "sdnext"),
        ("Version: Easel-1.2.3", "easel"),
    ],
)
def test_who_wrote_a_line(ending: str, kind: str) -> None:
    found = read_metadata(f"{LINE}, {ending}".encode(), KNOWN)
    assert found.kind == kind and found.request and found.request.seed == 5
    assert "Downcast alphas_cumprod" not in found.fields


def test_easels_own_json_wins_and_other_versions_are_understood() -> None:
    request = Txt2Img(prompt="exact", seed=7, batch_size=2)
    values = request.model_dump(mode="json")
    found = read_metadata(png({"parameters": LINE, "easel": json.dumps({"version": "1", "request": values, "index": 1})}), KNOWN)
    assert (found.kind, found.request, found.index) == ("easel", request, 1)
    assert [text for text in found.comments if "another hash" not in text] == []
    newer = json.dumps({"request": values | {"flavour": "sweet"}, "index": 9})
    found = read_metadata(png({"easel": newer}), KNOWN)
    assert (found.request, found.index, found.comments) == (request, None, ("Another version of Easel wrote this; not used: flavour.",))
    broken = read_metadata(png({"parameters": LINE, "easel": json.dumps({"request": values | {"steps": -1}})}), KNOWN)
    assert broken.kind == "a1111" and broken.request and broken.request.prompt == "a cat"


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_exif_comments_of_both_byte_orders(form: str, order: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + LINE.replace("cat", "猫").encode(order)
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, form, exif=exif.tobytes())
    assert read_metadata(file.getvalue(), KNOWN).fields["Prompt"] == "a 猫"


def test_gif_comment() -> None:
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF", comment=LINE.encode())
    assert read_metadata(file.getvalue(), KNOWN).text == LINE


def test_comfyui_graph() -> None:
    found = read_metadata(png({"prompt": json.dumps(graph()), "workflow": "{}"}), KNOWN)
    assert found.kind == "comfyui" and found.request
    request = found.request
    assert (request.prompt, request.negative_prompt, request.seed, request.steps, request.cfg_scale) == ("a (red:1.2) house", "blurry", 42, 25, 6.5)
    assert (request.width, request.height, request.sampler, request.scheduler) == (640, 512, "DPM++ 2M", "Automatic")
    assert request.checkpoint == CHECKPOINT.name
    assert read_metadata(json.dumps(graph()).encode(), KNOWN).request == request  # the graph pasted as text


def test_comfyui_graph_with_links_lora_and_two_passes() -> None:
    nodes = graph(seed=["9", 0], positive=["10", 0], model=["11", 0])
    nodes |= {
        "9": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
        "10": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["7", 0]}},
        "11": {"class_type": "LoraLoader", "inputs": {"lora_name": "nice.safetensors", "model": ["4", 0], "clip": ["4", 1]}},
        "12": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1280, "height": 1024}},
        "1": {"class_type": "KSampler", "inputs": graph()["3"]["inputs"] | {"latent_image": ["12", 0], "seed": 1, "denoise": 0.5}},
    }
    found = read_comfyui(dict(sorted(nodes.items())))
    assert found
    prompt, _, fields, comments = found
    assert (prompt, fields["Seed"], fields["Model"]) == ("a (red:1.2) house", 1 if fields["Size"] == "1280x1024" else 77, "some model")
    assert any("2 samplers" in comment for comment in comments) and any("nice.safetensors" in comment for comment in comments)


def test_comfyui_loops_end_and_graphs_without_sampler_are_named() -> None:
    nodes = graph(model=["20", 0], seed=["21", 0], positive=["22", 0])
    nodes |= {"20": {"inputs": {"model": ["20", 0]}}, "21": {"inputs": {"value": ["21", 0]}}, "22": {"inputs": {"conditioning": ["22", 0]}}}
    found = read_comfyui(nodes)
    assert found and found[0] == "" and found[2]["Seed"] is None
    other = read_metadata(png({"prompt": "{}", "workflow": '{"nodes": []}'}), KNOWN)
    assert other.kind == "comfyui" and other.request is None and other.comments


def test_invokeai_new_and_old() -> None:
    new = {
        "positive_prompt": "a fox", "negative_prompt": "fog", "seed": 3, "steps": 30, "cfg_scale": 5, "scheduler": "dpmpp_2m_k", "width": 256,
        "height": 320, "model": {"name": "some model", "base": "sd-1"},
    }
    found = read_metadata(png({"invokeai_metadata": json.dumps(new)}), KNOWN)
    assert found.kind == "invokeai" and found.fields["Schedule type"] == "Karras" and found.request
    assert found.request.revise(settings={}) == Txt2Img(
        prompt="a fox", negative_prompt="fog", seed=3, steps=30, cfg_scale=5, width=256, height=320, checkpoint=CHECKPOINT.name
    )
    image = {"prompt": [{"prompt": "an owl", "weight": 1}], "seed": 4, "steps": 9, "cfg_scale": 7, "sampler": "k_euler_a", "width": 64, "height": 64}
    old = read_metadata(png({"sd-metadata": json.dumps({"model_weights": "some model", "image": image})}), KNOWN)
    assert old.request and (old.request.prompt, old.request.sampler, old.request.checkpoint) == ("an owl", "Euler a", CHECKPOINT.name)


NOVELAI = {"steps": 28, "sampler": "k_euler_ancestral", "seed": 11, "scale": 11, "uc": "lowres", "strength": 0.7}


def test_novelai_chunks() -> None:
    found = read_metadata(png({"Software": "NovelAI", "Description": "{a girl}", "Comment": json.dumps(NOVELAI)}, (64, 128)), KNOWN)
    assert found.kind == "novelai" and found.request
    assert found.request.revise(settings={}) == Txt2Img(
        prompt="{a girl}", negative_prompt="lowres", steps=28, seed=11, cfg_scale=11, sampler="Euler a", width=64, height=128
    )
    assert found.fields["ENSD"] == "31337" and found.fields["Clip skip"] == "2"


def hide(signature: bytes, content: bytes, channels: int) -> bytes:
    """A picture with the bits of signature, length and content in its lowest bits, down the columns."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 200, 4), dtype=np.uint8)
    bits = np.unpackbits(np.frombuffer(signature + (len(content) * 8).to_bytes(4, "big") + content, np.uint8))
    part = slice(3, 4) if channels == 1 else slice(0, 3)
    flat = pixels[..., part].transpose(1, 0, 2).reshape(-1)
    flat[: len(bits)] = flat[: len(bits)] & 0xFE | bits
    pixels[..., part] = flat.reshape(200, 40, channels).transpose(1, 0, 2)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA" if channels == 1 else None).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("signature", "channels", "packed"),
    [(b"stealth_pnginfo", 1, False), (b"stealth_pngcomp", 1, True), (b"stealth_rgbinfo", 3, False), (b"stealth_rgbcomp", 3, True)],
)
def test_text_hidden_in_pixels(signature: bytes, channels: int, packed: bool) -> None:
    content = gzip.compress(LINE.encode()) if packed else LINE.encode()
    assert read_metadata(hide(signature, content, channels), KNOWN).text == LINE


def test_novelai_json_hidden_in_alpha() -> None:
    data = json.dumps({"Software": "NovelAI", "Description": "hidden", "Comment": json.dumps(NOVELAI)})
    found = read_metadata(hide(b"stealth_pngcomp", gzip.compress(data.encode()), 1), KNOWN)
    assert found.kind == "novelai" and found.request and found.request.prompt == "hidden" and found.request.width == 200


def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MEMORY_LIMIT", 1000)
    found = read_metadata(png({"parameters": LINE}, (32, 32)), KNOWN)
    assert found.kind == "a1111"  # that stands in the head
    found = read_metadata(png({}, (32, 32)), KNOWN)
    assert found.kind == "none" and "32×32" in found.comments[0]
    monkeypatch.setattr(files, "BYTES_LIMIT", 10)
    with pytest.raises(RequestError):
        read_metadata(png({}), KNOWN)
    monkeypatch.setattr(stealth, "TEXT_LIMIT", 1000)
    with Image.open(io.BytesIO(hide(b"stealth_pngcomp", gzip.compress(b"a" * 100_000), 1))) as image:
        assert read_stealth(image) == "a" * 1000


@pytest.mark.parametrize("seed", range(40))
def test_cut_and_damaged_files_never_crash(seed: int) -> None:
    """Files of all kinds, cut off anywhere, with bytes turned at random."""
    chance = random.Random(seed)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + LINE.encode("utf-16-be")
    samples = [png({"parameters": LINE, "easel": "{", "prompt": json.dumps(graph())}), hide(b"stealth_pngcomp", gzip.compress(LINE.encode()), 1)]
    for form in ("JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.effect_noise((24, 24), 60).convert("RGB").save(file, form, exif=exif.tobytes())
        samples.append(file.getvalue())
    for sample in samples:
        content = bytearray(sample[: chance.randrange(len(sample) + 1)])
        for _ in range(chance.randrange(6)):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
        found = read_metadata(bytes(content), KNOWN)
        assert found.request is None or found.kind != "none"


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(str.encode)))
def test_any_bytes_are_answered(content: bytes) -> None:
    found = read_metadata(content, KNOWN)
    assert Metadata.model_validate_json(found.model_dump_json()) == found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.sampled_from(["3", "4", "euler"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["inputs", "positive", "negative", "latent_image", "model", "text", "width", "height", "seed", "steps", "3", "4", "image", "prompt",
         "positive_prompt", "scheduler", "Comment", "uc", "request", "ckpt_name"]), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["prompt", "invokeai_metadata", "sd-metadata", "easel", "Comment"]), json_values)
def test_any_json_is_answered(name: str, value: Any) -> None:
    found = read_metadata(png({name: json.dumps(value), "Software": "NovelAI"}), KNOWN)
    assert Metadata.model_validate_json(found.model_dump_json()) == found


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029"), max_size=60).map(str.strip)


@settings(max_examples=200, deadline=None)
@given(
    WORDS, WORDS, st.integers(1, 1000), st.integers(0, 2**53 - 1), st.floats(0, 100).map(lambda value: round(value, 2)),
    st.tuples(st.integers(8, 200), st.integers(8, 200)), st.sampled_from(SAMPLERS), st.sampled_from(SCHEDULES), WORDS,
)  # fmt: skip
def test_what_is_written_is_read_back(
    prompt: str, negative: str, steps: int, seed: int, cfg: float, size: tuple[int, int], sampler: Any, schedule: Any, model: str
) -> None:
    """parse ∘ write is the identity on what the line records. Prompts that begin like a key of the line are A1111's own blind spot."""
    assume(not prompt.startswith("Negative prompt:"))
    checkpoint = CHECKPOINT.revise(name=f"{model or 'm'}.safetensors")
    request = Txt2Img(
        prompt=prompt, negative_prompt=negative, steps=steps, seed=seed, cfg_scale=cfg, width=size[0] * 8, height=size[1] * 8, sampler=sampler.name,
        scheduler=schedule.label, checkpoint=checkpoint.name,
    )
    known = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(checkpoint,))
    plan = make_plan(request, checkpoint, REGISTRIES)
    found = read_metadata(write_infotext(plan, 0, checkpoint.sha256).encode(), known).request
    assert found
    recorded = "Automatic" if plan.schedule is None or plan.schedule.name == sampler.scheduler else plan.schedule.label
    assert found.revise(settings={}) == request.revise(scheduler=recorded)


RECORDED = st.fixed_dictionaries({}, optional={
    "CLIP_stop_at_last_layers": st.integers(1, 12), "eta_noise_seed_delta": st.integers(0, 2**40),
    "randn_source": st.sampled_from(["GPU", "CPU", "NV"]),
    "eta_ancestral": st.sampled_from([0.0, 0.3, 1.0]), "eta_ddim": st.sampled_from([0.0, 0.5]), "s_churn": st.sampled_from([0.0, 3.5]),
    "s_tmin": st.sampled_from([0.0, 0.1]), "s_tmax": st.sampled_from([0.0, 12.0]), "s_noise": st.sampled_from([1.0, 1.005]),
    "sigma_min": st.sampled_from([0.0, 0.1]), "sigma_max": st.sampled_from([0.0, 10.0]), "rho": st.sampled_from([0.0, 5.0, 7.0]),
    "beta_dist_alpha": st.sampled_from([0.6, 1.5]), "always_discard_next_to_last_sigma": st.booleans(), "sgm_noise_multiplier": st.booleans(),
    "sd_noise_schedule": st.sampled_from(["Default", "Zero Terminal SNR"]), "s_min_uncond": st.sampled_from([0.0, 2.5]),
    "s_min_uncond_all": st.booleans(), "skip_early_cond": st.sampled_from([0.0, 0.2]), "emphasis": st.sampled_from(["Original", "No norm", "None"]),
    "pad_cond_uncond": st.booleans(), "use_old_scheduling": st.booleans(),
})  # fmt: skip
"""Settings that a line records when they matter."""


@settings(max_examples=200, deadline=None)
@given(
    RECORDED, st.integers(0, 2**53 - 9), st.integers(0, 2**53 - 9), st.sampled_from([0.0, 0.05, 1.0]), st.sampled_from([(0, 0), (512, 384), (0, 8)]),
    st.sampled_from(SAMPLERS), st.sampled_from(SCHEDULES),
)  # fmt: skip
def test_a_line_read_and_written_again_is_the_same_line(
    chosen: dict[str, Any], seed: int, subseed: int, strength: float, resize: tuple[int, int], sampler: Any, schedule: Any
) -> None:
    """Settings, variation and resize too: everything the line records comes back, so the second line is the first, letter by letter."""
    request = Txt2Img(
        prompt="a (cat:1.2)", seed=seed, subseed=subseed, subseed_strength=strength, seed_resize_from_w=resize[0], seed_resize_from_h=resize[1],
        sampler=sampler.name, scheduler=schedule.label, checkpoint=CHECKPOINT.name, settings=chosen,
    )
    line = _line(request)
    found = read_metadata(line.encode(), KNOWN)
    assert found.request and _line(found.request) == line
    assert found.comments == ()


def _line(request: Txt2Img) -> str:
    own = PictureSettings().revise(**request.settings)
    return write_infotext(make_plan(request, CHECKPOINT, REGISTRIES, settings=own), 0, CHECKPOINT.sha256, own)


def test_styles_go_out_and_come_back() -> None:
    style = Style(name="Good", prompt="masterpiece", negative_prompt="bad, {prompt}")
    request = Txt2Img(prompt="a cat", negative_prompt="dog", seed=1, styles=("Good",), style_texts=(style,))
    line = write_infotext(make_plan(request, CHECKPOINT, REGISTRIES), 0, None)
    assert line.startswith("a cat, masterpiece\nNegative prompt: bad, dog\n")
    found = read_metadata(line.encode(), Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT,), styles=(style,))).request
    assert found and (found.prompt, found.negative_prompt, found.styles) == ("a cat", "dog", ("Good",))


@pytest.mark.parametrize(
    "change",
    [
        {}, {"hr_scale": 1.5, "hr_second_pass_steps": 7, "denoising_strength": 0.35}, {"hr_resize_x": 768}, {"hr_resize_x": 768, "hr_resize_y": 1024},
        {"hr_upscaler": "Lanczos", "hr_prompt": "a big cat, (sharp:1.2)", "hr_negative_prompt": "blurry: very"}, {"hr_cfg": 4.5},
        {"sampler": "Euler", "hr_sampler": "DPM++ 2M"}, {"hr_sampler": "Euler a", "hr_scheduler": "Uniform"}, {"hr_scheduler": "Exponential"},
        {"enable_hr": False, "hr_scale": 2.0},
    ],
    ids=str,
)
def test_a_second_pass_comes_back_from_the_line(change: dict[str, Any]) -> None:
    request = Txt2Img(prompt="a cat", negative_prompt="dog", seed=5, checkpoint=CHECKPOINT.name, enable_hr=True).revise(**change)
    line = write_infotext(make_plan(request, CHECKPOINT, REGISTRIES), 0, CHECKPOINT.sha256)
    known = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT,), upscalers=UPSCALERS)
    found = read_metadata(line.encode(), known)
    assert found.request == request
    assert found.comments == ()


OTHER = CHECKPOINT.revise(name="other.safetensors", sha256="b" * 64)


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        ({"enable_refiner": True, "refiner_checkpoint": OTHER.name, "refiner_switch_at": 0.65}, {}),
        ({"enable_refiner": True, "refiner_checkpoint": OTHER.name}, {"refiner_switch_by_sample_steps": True}),
        ({"enable_refiner": True, "refiner_checkpoint": OTHER.name, "enable_hr": True}, {"hires_fix_refiner_pass": "both passes"}),
        ({"enable_hr": True, "hr_checkpoint_name": OTHER.name}, {}),
    ],
    ids=str,
)
def test_further_checkpoints_come_back_from_the_line(change: dict[str, Any], settings: dict[str, Any]) -> None:
    request = Txt2Img(prompt="a cat", seed=5, checkpoint=CHECKPOINT.name).revise(**change)
    plan = make_plan(request, CHECKPOINT, REGISTRIES, settings=PictureSettings(**settings), find=lambda name, field: OTHER)
    line = write_infotext(plan, 0, CHECKPOINT.sha256)
    known = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT, OTHER), upscalers=UPSCALERS)
    found = read_metadata(line.encode(), known)
    assert found.request == request.revise(settings=settings)
    assert found.comments == ()
    renamed = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT, OTHER.revise(name="new.ckpt")), upscalers=UPSCALERS)
    again = read_metadata(line.encode(), renamed).request
    assert again is not None and "new.ckpt" in (again.refiner_checkpoint, again.hr_checkpoint_name)


def test_a_further_checkpoint_that_is_not_here_is_named() -> None:
    extra = "Denoising strength: 0.4, Hires upscale: 2, Hires checkpoint: gone [0123456789], Refiner: lost, Refiner switch at: 0.6"
    found = read_metadata(f"{LINE}, {extra}".encode(), KNOWN)
    assert found.request is not None and not found.request.enable_refiner and found.request.hr_checkpoint_name == ""
    for words in ("“gone [0123456789]” of the second pass is not here", "“lost” of the refiner is not here"):
        assert any(words in comment for comment in found.comments)
    own = Txt2Img(
        checkpoint=CHECKPOINT.name, enable_refiner=True, refiner_checkpoint="sub/lost.safetensors", enable_hr=True, hr_checkpoint_name="x.ckpt",
    )
    fitted, comments = refit(own, {}, KNOWN)
    assert (fitted.enable_refiner, fitted.hr_checkpoint_name, len(comments)) == (False, "", 2)


def test_sizes_of_the_oldest_hires_fix_come_back() -> None:
    settings = PictureSettings(use_old_hires_fix_width_height=True)
    request = Txt2Img(prompt="a cat", seed=5, width=1024, height=768, enable_hr=True)
    line = write_infotext(make_plan(request, CHECKPOINT, REGISTRIES, settings=settings), 0, None, settings)
    assert "Size: 640x448" in line and "Hires resize: 1024x768" in line
    found = read_metadata(line.encode(), Known(reading=ReadOptions(use_old_hires_fix_width_height=True))).request
    assert found is not None and (found.width, found.height, found.enable_hr) == (1024, 768, True)


def test_a_denoising_strength_alone_is_that_of_img2img() -> None:
    found = read_metadata(f"{LINE}, Denoising strength: 0.4".encode(), KNOWN).request
    assert isinstance(found, Img2Img) and (found.denoising_strength, found.mode, found.image) == (0.4, "img2img", None)


def test_a_line_of_inpainting_is_read_whole() -> None:
    tail = (
        "Denoising strength: 0.4, Soft inpainting enabled: True, Soft inpainting schedule bias: 2, Soft inpainting difference contrast: 3, "
        "Mask mode: Inpaint not masked, Mask blur: 9, Inpaint area: Only masked, Masked area padding: 48, Masked content: latent noise, "
        "Noise multiplier: 0.9, Conditional mask weight: 0.5, Resize mode: Resize and fill, Init image hash: abc"
    )
    found = read_metadata(f"{LINE}, {tail}".encode(), KNOWN)
    request = found.request
    assert isinstance(request, Img2Img) and request.mode == "inpaint" and request.inpainting_mask_invert and request.inpaint_full_res
    assert (request.mask_blur, request.inpaint_full_res_padding, request.inpainting_fill) == (9, 48, "latent noise")
    assert (request.soft_inpainting, request.soft_power, request.soft_contrast, request.resize_mode) == (True, 2.0, 3.0, "Resize and fill")
    assert request.settings == {"initial_noise_multiplier": 0.9, "inpainting_mask_weight": 0.5}
    assert not any("Not used" in comment for comment in found.comments)
    assert found.values["mask_blur"] == 9 and found.values["mode"] == "inpaint" and found.values["enable_hr"] is False


def test_an_upscaler_that_is_not_here_is_named() -> None:
    known = Known(samplers=SAMPLERS, schedulers=SCHEDULES, checkpoints=(CHECKPOINT,), upscalers=UPSCALERS)
    found = read_metadata(f"{LINE}, Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: 4x-Ultra".encode(), known)
    assert found.request is not None and (found.request.enable_hr, found.request.hr_upscaler) == (True, "Lanczos")
    assert any("4x-Ultra" in comment for comment in found.comments)


def test_distilled_cfg_is_written_for_those_who_are_told_it_and_read_back() -> None:
    dev = CHECKPOINT.revise(family="flux", variant="dev", prediction="flow")
    request = Txt2Img(seed=1, sampler="Euler", distilled_cfg_scale=2.5)
    lines = [write_infotext(make_plan(request, one, REGISTRIES), 0, None) for one in (dev, dev.revise(variant="schnell"), CHECKPOINT)]
    assert [", Distilled CFG Scale: 2.5, " in line for line in lines] == [True, False, False]
    found = read_metadata(lines[0].encode(), KNOWN)
    assert found.request is not None and found.request.distilled_cfg_scale == 2.5 and not any("Not used" in comment for comment in found.comments)


def test_distilled_cfg_of_the_second_pass_is_written_where_it_differs_and_read_back() -> None:
    dev = CHECKPOINT.revise(family="flux", variant="dev", prediction="flow")

    def line_of(checkpoint: Checkpoint, further: Checkpoint | None = None, **fields: Any) -> str:
        name = further.name if further else ""
        request = Txt2Img(seed=1, sampler="Euler", enable_hr=True, hr_upscaler="Lanczos", hr_checkpoint_name=name, distilled_cfg_scale=2.5, **fields)
        return write_infotext(make_plan(request, checkpoint, REGISTRIES, find=lambda *named: further or checkpoint), 0, None)

    lines = [line_of(dev, hr_distilled_cfg=4.5), line_of(dev), line_of(dev, hr_distilled_cfg=2.5), line_of(CHECKPOINT, hr_distilled_cfg=4.5)]
    assert [", Hires Distilled CFG Scale: 4.5, " in line for line in lines] == [True, False, False, False]
    assert not any("Hires Distilled" in line for line in lines[1:])
    assert ", Hires Distilled CFG Scale: 2.5, " in line_of(CHECKPOINT, dev), "only the second is told it, and nothing else in the line says what"
    read = [read_metadata(line.encode(), KNOWN).request for line in lines[:2]]
    assert [found.hr_distilled_cfg for found in read if isinstance(found, Txt2Img)] == [4.5, 0.0]


@pytest.mark.parametrize("line", ["a " * 200_000, "ab, " * 200_000, " " * 400_000 + ":", "a-/" * 100_000, 'ab: "' * 100_000, "ab:" * 200_000])
def test_a_very_long_line_is_read_at_once(line: str) -> None:
    began = time.process_time()
    assert read_metadata(png({"parameters": line}), KNOWN).chunks["parameters"] == line
    assert time.process_time() - began < 5


def test_words_before_a_key_are_no_part_of_it() -> None:
    found = split_infotext("a cat\nsome words, x: 1, -ab: 2, Steps: 20, no pair, Size: 512x768, Sampler: \"a, b\"")
    assert found == ("a cat", "", {"ab": "2", "Steps": "20", "Size-1": "512", "Size-2": "768", "Sampler": "a, b"})
