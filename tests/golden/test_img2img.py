"""What img2img begins with and how its result is put together, against A1111's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden.vectors import arrays, cases
from webui.engine.framing import Fit, frame_image, masked_box, widen_box
from webui.engine.masking import MaskUse, prepare
from webui.engine.rng import BatchNoise
from webui.engine.soft_inpainting import SoftMask, mask_at, percentile_filter, soft_kernel
from webui.engine.steps.composite import compose
from webui.engine.steps.source import begin
from webui.schema.img2img import MaskedContent, SoftInpainting

FITS: tuple[Fit | None, ...] = ("stretch", "cover", "fit", None)


def near(image: Image.Image, expected: np.ndarray, tolerance: int) -> None:
    """Every channel of every pixel."""
    pixels = np.asarray(image).astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected.astype(int)).max() <= tolerance


@pytest.mark.parametrize("case", cases("resize"), ids=lambda case: case["id"])
def test_resize(case):
    vectors = arrays("resize")
    found = frame_image(Image.fromarray(vectors[f"{case['id']}/in"]), tuple(case["dst_size"]), FITS[case["resize_mode"]])
    near(found, vectors[f"{case['id']}/out"], 2)


@pytest.mark.parametrize("case", cases("crop_regions"), ids=lambda case: case["id"])
def test_crop_region(case):
    mask = np.zeros(case["image_size"][::-1], np.uint8)
    for x0, y0, x1, y1 in case["mask_rects"]:
        mask[y0:y1, x0:x1] = 255
    image = Image.fromarray(mask)
    box = masked_box(image, case["padding"])
    assert (list(box) if box else None) == case["crop_region_v2"]
    assert (list(widen_box(box, tuple(case["processing_size"]), image.size)) if box else None) == case["expanded"]


CONTENTS: tuple[MaskedContent, ...] = ("fill", "original", "latent noise", "latent nothing")


def toy_encode(image: Image.Image) -> torch.Tensor:
    """The toy VAE of the vectors: means of 8 × 8 pixels, and grey."""
    pixels = torch.from_numpy(np.asarray(image).astype(np.float64) / 255).permute(2, 0, 1)[None]
    means = torch.nn.functional.avg_pool2d(pixels, 8)
    return torch.cat([2 * means - 1, means.mean(1, keepdim=True) - 0.5], 1).float()


def prepared(case):
    """The case as the engine takes it."""
    vectors, key = arrays("img2img"), case["id"]
    image = Image.fromarray(vectors[f"{key}/image"])
    use = mask = None
    if case["has_mask"]:
        mask = Image.fromarray(vectors[f"{key}/mask_in"])
        use = MaskUse(
            (case["mask_blur_x"], case["mask_blur_y"]), bool(case["inpainting_mask_invert"]), case["mask_round"],
            case["inpaint_full_res_padding"] if case["inpaint_full_res"] else None, case["inpainting_fill"] != 1,
        )
    made = prepare(image, mask, tuple(case["size"]), FITS[case["resize_mode"]], use)
    assert made is not None
    return made


@pytest.mark.parametrize("case", cases("img2img"), ids=lambda case: case["id"])
def test_preparation(case):
    vectors, key, width, height = arrays("img2img"), case["id"], *case["size"]
    made = prepared(case)
    assert (list(made.place) if made.place else None) == case["paste_to"]
    noise = lambda: BatchNoise((4, height // 8, width // 8), (case["seed"],), torch.device("cpu"), source="CPU").draw()  # noqa: E731
    start = begin(toy_encode, made, (width, height), rounded=case["mask_round"], content=CONTENTS[case["inpainting_fill"]], noise=noise)
    assert (start.latents - torch.from_numpy(vectors[f"{key}/init_latent"])).abs().max() <= 0.02
    if not case["has_mask"]:
        assert start.anew is None and made.overlay is None and f"{key}/nmask" not in vectors
        return
    expected = torch.from_numpy(vectors[f"{key}/nmask"])
    assert start.anew is not None and made.overlay_mask is not None and made.overlay is not None
    assert (start.anew[0, 0] - expected).abs().max() <= (0 if case["mask_round"] else 0.02)
    near(made.overlay_mask, vectors[f"{key}/mask_for_overlay"], 3)
    near(made.overlay.getchannel("A"), vectors[f"{key}/overlay"][..., 3], 3)
    shown = vectors[f"{key}/overlay"][..., 3:] > 8  # under a nearly transparent pixel colours mean nothing
    assert (np.abs(np.asarray(made.overlay).astype(int) - vectors[f"{key}/overlay"].astype(int)) * shown).max() <= 3


@pytest.mark.parametrize("case", [case for case in cases("img2img") if f"{case['id']}/composited" in arrays("img2img")], ids=lambda case: case["id"])
def test_composite(case):
    vectors, key = arrays("img2img"), case["id"]
    made = prepared(case)
    near(compose(Image.fromarray(vectors[f"{key}/result_in"]), made, made.overlay_mask).image, vectors[f"{key}/composited"], 3)


@pytest.mark.parametrize("case", [case for case in cases("soft_inpaint") if "kind" not in case], ids=lambda case: case["id"])
def test_soft_blend(case):
    picture, denoised, nmask, modified, blended = (
        torch.from_numpy(arrays("soft_inpaint")[f"{case['id']}/{name}"]) for name in ("init_latent", "denoised", "nmask", "modified_nmask", "blended")
    )
    soft = SoftInpainting(
        soft_power=case["mask_blend_power"], soft_scale=case["mask_blend_scale"], soft_detail=case["inpaint_detail_preservation"],
    )
    assert (mask_at(nmask, case["sigma"], soft) - modified).abs().max() <= 1e-5
    assert (SoftMask(picture, nmask, soft).blend(denoised, torch.tensor(case["sigma"])) - blended).abs().max() <= 1e-5


@pytest.mark.parametrize("case", [case for case in cases("soft_inpaint") if "kind" in case], ids=lambda case: case["id"])
def test_percentile_filter(case):
    vectors = arrays("soft_inpaint")
    kernel = soft_kernel(case["kernel_stddev_radius"], case["kernel_max_radius"])
    assert np.abs(kernel - vectors[f"{case['id']}/kernel"]).max() <= 1e-9
    window = case["percentile_min"], case["percentile_max"]
    found = percentile_filter(vectors[f"{case['id']}/image"], kernel, window, case["min_width"])
    assert np.abs(found - vectors[f"{case['id']}/filtered"]).max() <= 1e-5
