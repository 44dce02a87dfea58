"""Hires fix: the plan of two passes, and two passes really run on the tiny model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.test_plan import CHECKPOINT
from webui.backend.parts import ModelChoice
from webui.engine.cancel import CancelToken
from webui.engine.hires import cost_of
from webui.engine.pixels import to_pixels
from webui.engine.plan import Enlarge, Plan, make_plan, timing_of
from webui.engine.steps.postprocess import to_image
from webui.engine.steps.upscale import cut, enlarge_images, enlarge_latents, posterior_seed, upscale_image
from webui.engine.tables import UPSCALERS, register_tables
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.sampling import UpscalerSpec
from webui.schema.settings import PictureSettings
from webui.schema.style import Style

SPECS = {spec.name: spec for spec in UPSCALERS}


def plan_of(settings: PictureSettings | None = None, **changes: Any) -> Plan:
    """The plan of a hires request."""
    registries = Registries()
    register_tables(registries)
    request = Txt2Img(prompt="a cat", negative_prompt="dog", seed=1, enable_hr=True).revise(**changes)
    return make_plan(request, CHECKPOINT, registries, settings=settings)


# ---- the plan


def test_two_passes_of_one_plan() -> None:
    first, second = plan_of(steps=30, width=512, height=640, hr_second_pass_steps=12, hr_scale=1.5, denoising_strength=0.4).passes
    assert (first.steps, first.width, first.height, first.strength, first.enlarge) == (30, 512, 640, None, None)
    assert (second.steps, second.width, second.height, second.strength, second.exact_steps) == (12, 768, 960, 0.4, True)
    assert second.enlarge == Enlarge(SPECS["Latent"], 768, 960, (0, 0))
    assert (second.sampler, second.schedule, second.cfg) == (first.sampler, first.schedule, first.cfg)


def test_without_it_there_is_one_pass() -> None:
    plan = plan_of(enable_hr=False)
    assert len(plan.passes) == 1
    assert not any(key.startswith(("Hires", "Denoising")) for key, _ in plan.extras)


def test_the_second_pass_has_its_own_sampler_schedule_and_cfg() -> None:
    plan = plan_of(sampler="Euler", hr_sampler="DPM++ 2M", hr_cfg=4.0)
    first, second = plan.passes
    assert (first.sampler.name, second.sampler.name, first.schedule) == ("Euler", "DPM++ 2M", None)
    assert second.schedule is not None and second.schedule.label == "Karras"  # Automatic, with the second's own
    assert (first.cfg, second.cfg) == (7.0, 4.0)
    assert plan_of(hr_scheduler="Uniform").passes[1].schedule.label == "Uniform"  # pyright: ignore[reportOptionalMemberAccess]


def test_infotext_fields_stand_in_a1111s_order() -> None:
    extras = plan_of(
        sampler="Euler", scheduler="Uniform", hr_sampler="Euler a", hr_scheduler="Karras", hr_prompt="a big cat", hr_negative_prompt="x", hr_cfg=3.0,
        hr_second_pass_steps=9, hr_upscaler="Lanczos",
    ).extras
    assert extras == (
        ("Denoising strength", 0.7), ("Hires sampler", "Euler a"), ("Hires prompt", "a big cat"), ("Hires negative prompt", "x"),
        ("Hires schedule type", "Karras"), ("Hires CFG Scale", 3.0), ("Hires upscale", 2.0), ("Hires steps", 9), ("Hires upscaler", "Lanczos"),
    )
    assert plan_of(hr_prompt="a cat", hr_sampler="DPM++ 2M", hr_scheduler="Karras", hr_cfg=7.0).extras == (
        ("Denoising strength", 0.7), ("Hires upscale", 2.0), ("Hires upscaler", "Latent"),
    )


def test_options_of_the_second_sampler_are_written_once() -> None:
    extras = plan_of(PictureSettings(eta_ancestral=0.5, eta_noise_seed_delta=3), sampler="Euler", hr_sampler="Euler a").extras
    assert ("Eta", 0.5) in extras
    assert "ENSD" not in dict(extras)  # that is of the first sampler
    assert len(dict(extras)) == len(extras)


def test_styles_go_into_the_prompts_of_both_passes() -> None:
    style = Style(name="S", prompt="photo of {prompt}", negative_prompt="bad")
    batch = plan_of(styles=("S",), style_texts=(style,), hr_prompt="a big cat", batch_size=2).batches[0]
    assert (batch.hires_prompts, batch.hires_negative_prompts) == (("photo of a big cat",) * 2, ("dog, bad",) * 2)


def test_times_in_prompts_are_counted_on_from_the_first_pass() -> None:
    plan = plan_of(steps=20, sampler="Heun", hr_sampler="Euler", hr_second_pass_steps=10)
    first, second = (timing_of(part, PictureSettings()) for part in plan.passes)
    assert (first.calls, first.hires_calls) == (40, None)
    assert (second.calls, second.hires_calls) == (40, 10)


def test_cost_counts_pixels() -> None:
    request = Txt2Img(steps=20, width=512, height=512, enable_hr=True, hr_second_pass_steps=10)
    assert cost_of(request) == 20 + 10 * 4
    assert cost_of(request.revise(enable_hr=False)) == 20
    assert cost_of(request.revise(firstpass_image=ImageRef(sha256="0" * 64, width=512, height=512))) == 40


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hr_upscaler": "Latnt"}, "hr_upscaler"), ({"hr_sampler": "Eulr"}, "hr_sampler"), ({"hr_scheduler": "karras"}, "hr_scheduler"),
        ({"denoising_strength": 0}, "denoising_strength"), ({"denoising_strength": 0.01, "sampler": "DDIM"}, "denoising_strength"),
        ({"width": 4096, "hr_scale": 4}, "hr_scale"), ({"hr_resize_x": 16}, "hr_resize_x"), ({"hr_resize_y": 8192, "width": 1024}, "hr_resize_y"),
        ({"firstpass_image": ImageRef(sha256="0" * 64, width=64, height=64)}, "firstpass_image"),
        ({"firstpass_image": ImageRef(sha256="0" * 64, width=512, height=512), "enable_hr": False}, "firstpass_image"),
    ],
    ids=str,
)
def test_what_is_impossible_is_said_at_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        plan_of(**change)
    assert caught.value.field == field
    assert caught.value.hint


def test_switched_off_nothing_of_it_is_looked_at() -> None:
    plan = plan_of(enable_hr=False, hr_upscaler="gone", denoising_strength=0, hr_resize_x=8)
    assert len(plan.passes) == 1


# ---- between the passes


@pytest.mark.parametrize("name", [spec.name for spec in UPSCALERS if spec.latent_mode])
def test_latents_are_interpolated_as_a1111_does(name: str) -> None:
    spec = SPECS[name]
    latents = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    mode, antialias = {"Latent": ("bilinear", False), "Latent (antialiased)": ("bilinear", True), "Latent (bicubic)": ("bicubic", False)}.get(
        name, ("bicubic", True) if "bicubic" in name else ("nearest-exact" if "exact" in name else "nearest", False)
    )
    expected = torch.nn.functional.interpolate(latents, size=(12, 9), mode=mode, antialias=antialias)
    assert torch.equal(enlarge_latents(latents, Enlarge(spec, 72, 100, (0, 0))), expected)  # 100 // 8 is 12


def test_what_sticks_out_is_cut_the_odd_cell_right_and_below() -> None:
    cells = torch.arange(7 * 6, dtype=torch.float32).reshape(1, 1, 7, 6)
    assert torch.equal(cut(cells, (3, 2)), cells[:, :, 1:6, 1:4])
    assert torch.equal(cut(cells, (0, 0)), cells)


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8), "RGB")


@pytest.mark.parametrize("name", ["None", "Lanczos", "Nearest"])
@pytest.mark.parametrize("size", [(80, 48), (61, 37), (40, 24), (20, 12), (120, 24)])
def test_pictures_come_to_exactly_the_size(name: str, size: tuple[int, int]) -> None:
    assert upscale_image(picture(), Enlarge(SPECS[name], *size, (0, 0))).size == size


def test_upscalers_do_what_they_are_called() -> None:
    doubled = upscale_image(picture(), Enlarge(SPECS["Nearest"], 80, 48, (0, 0)))
    assert np.array_equal(np.asarray(doubled), np.asarray(picture()).repeat(2, 0).repeat(2, 1))
    lanczos, none = (upscale_image(picture(), Enlarge(SPECS[name], 80, 48, (0, 0))) for name in ("Lanczos", "None"))
    assert lanczos.tobytes() == none.tobytes() != doubled.tobytes()


def double(image: Image.Image, scale: float) -> Image.Image:
    """An upscaler with a factor of its own, as a network has."""
    CALLS.append(scale)
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST)


CALLS: list[float] = []


def test_an_upscaler_of_an_extension_is_run_until_it_is_enough() -> None:
    CALLS.clear()
    spec = UpscalerSpec(name="2x", function=f"{__name__}:double")
    assert upscale_image(picture(), Enlarge(spec, 120, 72, (0, 0))).size == (120, 72)
    assert len(CALLS) == 2  # twice 2x for 3x, then smaller again
    assert upscale_image(picture(), Enlarge(spec, 400, 240, (0, 0))).size == (400, 240)
    assert len(CALLS) == 5  # never more than three times


def test_pixels_come_back_as_they_were() -> None:
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3), "RGB")
    back = np.asarray(to_image(to_pixels(levels))).astype(int)
    assert np.abs(back - np.asarray(levels)).max() <= 1  # A1111's own arithmetic loses a level here and there


# ---- two passes on the tiny model


HIRES: dict[str, Any] = {"enable_hr": True, "hr_scale": 2.0, "hr_second_pass_steps": 3}


@pytest.mark.parametrize("upscaler", list(SPECS))
def test_every_upscaler_gives_a_picture_of_the_second_size(generate, upscaler: str) -> None:
    first, again = (generate(**HIRES, hr_upscaler=upscaler)[0] for _ in range(2))
    assert first.image.size == (128, 128)
    assert first.image.tobytes() == again.image.tobytes()
    assert not first.partial


def test_upscalers_differ(generate) -> None:
    pictures = {generate(**HIRES, hr_upscaler=name)[0].image.tobytes() for name in SPECS}
    assert len(pictures) == len(SPECS) - 3  # None is Lanczos; doubled, antialiasing a bilinear does nothing, and both nearest are one


@pytest.mark.parametrize(
    "change",
    [{"denoising_strength": 0.3}, {"hr_second_pass_steps": 5}, {"hr_prompt": "a blue dog"}, {"hr_negative_prompt": "red"}, {"hr_cfg": 2.0},
     {"hr_sampler": "Euler a"}, {"hr_scheduler": "Uniform"}, {"seed": 8}, {"prompt": "a tree"}],
    ids=str,
)
def test_what_is_asked_for_shows(generate, pixels, change: dict[str, Any]) -> None:
    base, changed = (pixels(generate(**HIRES | {"denoising_strength": 0.8} | one)[0]) for one in ({}, change))
    assert np.abs(base - changed).mean() > 0.2


def test_the_parts_of_the_second_prompt_are_those_of_the_second_pass(generate) -> None:
    """1.5 is the middle of the second pass, so the first one is as without it, and the same as the whole text in the first prompt."""
    whole = generate(**HIRES, prompt="a red house [and a tree:1.5]")[0]
    own = generate(**HIRES, hr_prompt="a red house [and a tree:1.5]")[0]
    plain = generate(**HIRES)[0]
    assert whole.image.tobytes() == own.image.tobytes() != plain.image.tobytes()


def test_a_little_strength_keeps_the_picture(generate, pixels) -> None:
    """Whatever the second pass is asked for, at a small strength it hardly shows."""
    distance = {}
    for strength in (0.01, 0.9):
        one, other = (generate(**HIRES, hr_prompt=text, denoising_strength=strength)[0] for text in ("", "a blue dog in the snow"))
        distance[strength] = np.abs(pixels(one) - pixels(other)).mean()
    assert distance[0.01] < distance[0.9] * 0.2


@pytest.mark.parametrize(("upscaler", "source"), [("Latent", "GPU"), ("Lanczos", "NV")])
def test_a_batch_gives_the_pictures_of_its_seeds(generate, pixels, upscaler: str, source: str) -> None:
    """With the noise of torch A1111's draw from the autoencoder's distribution depends on the batch's last seed, so there Lanczos is unlike."""
    tools = RunTools(settings=PictureSettings(randn_source=source))
    batch = generate(tools, **HIRES, seed=40, batch_size=2, hr_upscaler=upscaler, sampler="Euler a")
    for one in batch:
        single = generate(tools, **HIRES, seed=one.seed, hr_upscaler=upscaler, sampler="Euler a")[0]
        assert (np.abs(pixels(one) - pixels(single)) <= 2).mean() >= 0.999


def test_sizes_of_their_own_are_met(generate) -> None:
    assert generate(enable_hr=True, hr_second_pass_steps=1, hr_resize_x=128, hr_resize_y=72)[0].image.size == (128, 72)
    assert generate(enable_hr=True, hr_second_pass_steps=1, hr_scale=1.33, hr_upscaler="Lanczos")[0].image.size == (80, 80)


@pytest.mark.parametrize("sampler", ["DDIM", "UniPC", "DPM++ SDE", "DPM adaptive", "LCM"])
def test_other_faces_and_noises(generate, sampler: str) -> None:
    assert generate(**HIRES, sampler=sampler)[0].image.size == (128, 128)


def test_steps_of_both_passes_are_told(generate) -> None:
    told: list[Step] = []
    generate(RunTools(report=told.append), **HIRES)
    assert {step.steps for step in told} == {7}
    sampled = [step.step for step in told if step.phase == "sampling"]
    assert sampled == sorted(sampled) and sampled[-1] == 7
    shares = [step.share or 0.0 for step in told]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert next(step.share for step in told if step.phase == "upscaling") == pytest.approx(4 / (4 + 3 * 4))


def stopping_at(step: int, phase: str = "sampling", skip: bool = False) -> RunTools:
    """Tools of a person who stops at a step."""
    token = CancelToken()

    def report(told: Step) -> None:
        if told.phase == phase and told.step == step:
            (token.skip if skip else token.interrupt)()

    return RunTools(token, report)


def test_interrupt_in_the_second_pass_keeps_what_there_is(generate) -> None:
    (one,) = generate(stopping_at(6), **HIRES)
    assert one.partial and one.image.size == (128, 128)


def test_interrupt_in_the_first_pass_ends_before_the_second(generate) -> None:
    (one,) = generate(stopping_at(2), **HIRES)
    assert one.partial and one.image.size == (64, 64)


def test_interrupt_between_the_passes_keeps_the_first(generate) -> None:
    (one,) = generate(stopping_at(4, "upscaling"), **HIRES)
    assert one.partial and one.image.size == (64, 64)
    assert one.image.tobytes() == generate()[0].image.tobytes()


def test_skip_in_the_second_pass_goes_on_with_the_next_batch(generate) -> None:
    pictures = generate(stopping_at(5, skip=True), **HIRES, batch_count=2)
    assert [one.index for one in pictures] == [0, 1] and all(one.partial for one in pictures)


def test_a_copy_of_the_first_pass_is_made_when_asked(generate) -> None:
    tools = RunTools(settings=PictureSettings(save_images_before_highres_fix=True))
    plain = generate()[0].image.tobytes()
    for upscaler in ("Latent", "Lanczos"):
        one = generate(tools, **HIRES, hr_upscaler=upscaler)[0]
        assert [(beside.ending, beside.image.tobytes()) for beside in one.companions] == [("before-highres-fix", plain)]
        assert one.image.tobytes() == generate(**HIRES, hr_upscaler=upscaler)[0].image.tobytes()
    assert generate(**HIRES, hr_upscaler="Lanczos")[0].companions == ()


def test_a_finished_picture_stands_for_the_first_pass(generate, pixels) -> None:
    """With Lanczos the second pass begins at the same pixels whether they were just made or come from a file, but for a level A1111 loses."""
    nobody_drew = PictureSettings(randn_source="NV")
    plain = RunTools(settings=nobody_drew)
    whole, small = generate(plain, **HIRES, hr_upscaler="Lanczos")[0], generate(plain)[0]
    told: list[Step] = []
    tools = RunTools(report=told.append, open_image=lambda ref: small.image, settings=nobody_drew)
    ref = ImageRef(sha256="0" * 64, width=64, height=64)
    again = generate(tools, **HIRES, hr_upscaler="Lanczos", firstpass_image=ref)[0]
    assert again.image.size == (128, 128)
    assert np.abs(pixels(whole) - pixels(again)).mean() < 3
    assert {step.steps for step in told} == {3}
    latent = generate(dataclasses.replace(tools, report=lambda step: None), **HIRES, firstpass_image=ref, batch_size=2)
    assert [one.image.size for one in latent] == [(128, 128)] * 2
    assert latent[0].image.tobytes() != latent[1].image.tobytes()


@torch.inference_mode()
def test_pictures_are_read_with_the_draw_that_a1111_makes(runtime, generate) -> None:
    """One after the other from torch's generator, as LDM does it after a first pass that left it at the last seed."""
    images = [Image.effect_noise((64, 64), 60 + number).convert("RGB") for number in range(2)]
    to = Enlarge(SPECS["Lanczos"], 100, 96, (0, 2))
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as components, torch.random.fork_rng():
        torch.manual_seed(11)
        noises = [torch.randn(1, 4, 12, 12) for _ in images]
        large = [to_pixels(upscale_image(image, to))[None] for image in images]
        wanted = [components.autoencoder.encode(image, noise) for image, noise in zip(large, noises, strict=True)]
        drawn = enlarge_images(components, images, to, posterior_seed((10, 11), "GPU"))
        assert torch.equal(drawn, cut(torch.cat(wanted), to.cut))
        assert not torch.allclose(drawn, enlarge_images(components, images, to, posterior_seed((10, 11), "NV")))


def test_without_a_store_there_is_no_picture_to_begin_with(generate) -> None:
    with pytest.raises(RequestError) as caught:
        generate(**HIRES, firstpass_image=ImageRef(sha256="0" * 64, width=64, height=64))
    assert caught.value.field == "firstpass_image"
