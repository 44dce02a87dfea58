"""Plans: pure, so tested without torch."""

from __future__ import annotations

import dataclasses

import pytest

from webui.engine.plan import make_plan
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings
from webui.schema.style import Style

CHECKPOINT = Checkpoint(name="a.safetensors", path="/a", size=1, mtime=1, family="sd1")


@pytest.fixture
def registries() -> Registries:
    made = Registries()
    register_tables(made)
    return made


def test_batches_and_seeds(registries: Registries) -> None:
    plan = make_plan(Txt2Img(prompt="p", negative_prompt="n", seed=10, batch_count=2, batch_size=3), CHECKPOINT, registries)
    assert plan.seeds == (10, 11, 12, 13, 14, 15)
    assert [(batch.first, batch.seeds) for batch in plan.batches] == [(0, (10, 11, 12)), (3, (13, 14, 15))]
    assert plan.batches[1].prompts == ("p",) * 3
    assert plan.batches[1].negative_prompts == ("n",) * 3


def test_one_pass_of_the_request(registries: Registries) -> None:
    plan = make_plan(Txt2Img(seed=1, steps=9, cfg_scale=4.5, width=72, height=64), CHECKPOINT, registries)
    (only,) = plan.passes
    assert (only.steps, only.cfg, only.width, only.height, only.sampler.name) == (9, 4.5, 72, 64, "DPM++ 2M")


def test_random_seed_is_resolved_once(registries: Registries) -> None:
    plan = make_plan(Txt2Img(seed=-1, batch_count=2), CHECKPOINT, registries, random_seed=lambda: 123)
    assert plan.seeds == (123, 124)
    assert plan.request.seed == 123


def test_variations_share_the_seed(registries: Registries) -> None:
    """With a variation strength all pictures have one seed, and variation seeds that count up; without, a variation seed means nothing."""
    plan = make_plan(Txt2Img(seed=10, subseed=-1, subseed_strength=0.2, batch_size=2), CHECKPOINT, registries, random_seed=lambda: 77)
    assert (plan.seeds, plan.subseeds, plan.request.subseed) == ((10, 10), (77, 78), 77)
    assert plan.batches[0].subseeds == (77, 78)
    assert plan.extras == (("Variation seed", (77, 78)), ("Variation seed strength", 0.2))
    plain = make_plan(Txt2Img(seed=10, subseed=5), CHECKPOINT, registries)
    assert (plain.subseeds, plain.extras) == ((), ())


def test_extras_say_what_differs(registries: Registries) -> None:
    settings = PictureSettings(randn_source="NV", eta_noise_seed_delta=31337, eta_ancestral=0.5, s_churn=3.0, sgm_noise_multiplier=True)
    request = Txt2Img(seed=1, sampler="Euler a", seed_resize_from_w=512, seed_resize_from_h=384)
    assert make_plan(request, CHECKPOINT, registries, settings=settings).extras == (
        ("Seed resize from", "512x384"), ("ENSD", 31337), ("RNG", "NV"), ("SGM noise multiplier", True), ("Eta", 0.5),
    )


@pytest.mark.parametrize(
    ("sampler", "scheduler", "label"),
    [("DPM++ 2M", "Automatic", "Karras"), ("Euler", "Automatic", None), ("Euler", "Karras", "Karras"), ("DPM++ 2M", "Uniform", "Uniform"),
     ("DDIM", "Karras", None)],
)
def test_schedule_used(registries: Registries, sampler: str, scheduler: str, label: str | None) -> None:
    plan = make_plan(Txt2Img(sampler=sampler, scheduler=scheduler), CHECKPOINT, registries)
    assert plan.schedule_label == label
    assert plan.passes[0].schedule == plan.schedule


@pytest.mark.parametrize(
    ("change", "field", "near"),
    [
        ({"sampler": "Euler A"}, "sampler", "“Euler a”"), ({"sampler": "k_euler"}, "sampler", "Euler"),
        ({"scheduler": "karras"}, "scheduler", "“Karras”"),
    ],
    ids=["case", "alias", "short name"],
)
def test_names_are_strict(registries: Registries, change: dict, field: str, near: str) -> None:
    with pytest.raises(RequestError) as caught:
        make_plan(Txt2Img(**change), CHECKPOINT, registries)
    assert caught.value.field == field
    assert near in (caught.value.hint or "")


def test_a_plan_cannot_be_changed(registries: Registries) -> None:
    plan = make_plan(Txt2Img(seed=1), CHECKPOINT, registries)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seeds = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_styles_go_into_the_prompts_of_every_batch(registries: Registries) -> None:
    style = Style(name="Good", prompt="photo of {prompt}", negative_prompt="bad")
    request = Txt2Img(prompt="a cat", seed=1, batch_count=2, batch_size=2, styles=("Good",), style_texts=(style,))
    plan = make_plan(request, CHECKPOINT, registries)
    assert all(batch.prompts == ("photo of a cat",) * 2 and batch.negative_prompts == ("bad",) * 2 for batch in plan.batches)
    assert plan.request.prompt == "a cat"
