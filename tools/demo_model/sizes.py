"""The sizes of the demo model's three modules. Float16, the whole file stays below 40 MB."""

from __future__ import annotations

from webui.backend.families.sd_config import SdConfig, TextConfig, UNetConfig, VaeConfig

DEMO = SdConfig(
    unet=UNetConfig(channels=(32, 64, 128, 192), attention=(False, False, True, True), layers=1, heads=2, context=128, groups=8),
    vae=VaeConfig(channels=(24, 40, 64, 96), layers=1, groups=4, scaling=1.0),
    text_encoder=TextConfig(width=128, inner=512, layers=3, heads=4),
)
"""The model that is trained; the autoencoder's scaling is measured afterwards and replaces the 1."""

SMOKE = SdConfig(
    unet=UNetConfig(channels=(16, 32, 32), attention=(False, False, True), layers=1, heads=2, context=32, groups=8),
    vae=VaeConfig(channels=(24, 24, 24, 24), layers=1, groups=4, scaling=1.0),
    text_encoder=TextConfig(width=32, inner=64, layers=1, heads=2),
)
"""A toy of the same layout, for the smoke mode and the tests."""
