"""A1111's infotext both ways, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.vectors import cases
from webui.engine.tables import SAMPLERS
from webui.schema.style import Style
from webui.services.infotext.line import Facts, build_infotext, quote, unquote
from webui.services.infotext.reader import ReadOptions, parse_infotext

STYLES = (
    Style(name="Good", prompt="masterpiece, best quality", negative_prompt="lowres"),
    Style(name="Wrap", prompt="photo of {prompt}, 35mm", negative_prompt="blurry, {prompt}"),
    Style(name="NegOnly", negative_prompt="bad hands"),
)
"""The styles file that the vectors were made with."""


def ids(name: str) -> list[Any]:
    """The cases as parameters, each a test of its own."""
    return [pytest.param(case, id=case["id"]) for case in cases(name)]


@pytest.mark.parametrize("case", ids("infotext_quote"))
def test_quote(case: dict[str, Any]) -> None:
    assert quote(case["value"]) == case["text"]
    if isinstance(case["value"], str):
        assert unquote(case["quoted"]) == case["unquoted"]


@pytest.mark.parametrize("case", ids("infotext_parse"))
def test_parse(case: dict[str, Any]) -> None:
    assert case["error"] is None
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in case["options"].items()}
    assert parse_infotext(case["text"], STYLES if case["styles_file"] else (), ReadOptions(**given)) == case["expected"]


@pytest.mark.parametrize("case", ids("infotext_build"))
def test_build_and_parse_back(case: dict[str, Any]) -> None:
    text = built(case)
    assert text == case["expected"]
    assert parse_infotext(text) == case["parsed_back"]


def built(case: dict[str, Any]) -> str:
    """The line for a case: A1111's arguments and options put as facts."""
    args, options, model, attributes = case["args"], case["options"], case["model"], case["attributes"]
    index = 0 if case["use_main_prompt"] else case["index"]
    prompt = args["prompt"][index] if isinstance(args["prompt"], list) else args["prompt"]
    sampler = next((spec for spec in SAMPLERS if spec.name == args["sampler_name"]), None)
    on = {name: options.get(f"add_{name}_to_info", True) for name in ("model_hash", "model_name", "vae_hash", "vae_name")}
    versioned = options.get("add_version_to_infotext", True) and options.get("_version", "") is not None
    facts = Facts(
        steps=args["steps"], sampler=args["sampler_name"], scheduler=args["scheduler"], cfg_scale=args.get("cfg_scale", 7),
        size=(args["width"], args["height"]), seeds=case["all_seeds"],
        face_restoration=options.get("face_restoration_model", "CodeFormer") if args.get("restore_faces") else None,
        model=model["name"] if on["model_name"] else None, model_hash=model["hash"] if on["model_hash"] else None,
        vae=model["vae"] if on["vae_name"] else None, vae_hash=model["vae_hash"] if on["vae_hash"] else None,
        variation_seeds=case["all_subseeds"], variation_strength=args.get("subseed_strength", 0),
        seed_resize_from=(args.get("seed_resize_from_w", -1), args.get("seed_resize_from_h", -1)),
        conditional_mask_weight=options.get("inpainting_mask_weight", 1.0) if attributes.get("is_using_inpainting_conditioning") else None,
        clip_skip=options.get("CLIP_stop_at_last_layers", 1), ensd=options.get("eta_noise_seed_delta", 0),
        ensd_matters=bool(sampler and sampler.uses_ensd) and args.get("eta", 1.0) != 0,
        token_merging_ratio=options.get("token_merging_ratio", 0.0),
        token_merging_ratio_hr=options.get("token_merging_ratio_hr") if attributes.get("enable_hr") else None,
        init_image_hash=attributes.get("init_img_hash"), rng=options.get("randn_source", "GPU"), tiling=args.get("tiling", False),
        version="v1.10.1" if versioned else None,
        user=attributes.get("user") if options.get("add_user_name_to_info") else None,
    )
    return build_infotext(prompt, args["negative_prompt"], facts.fields() | case["extra_generation_params"], index)
