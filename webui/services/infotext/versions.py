"""Which A1111 wrote a line, and what its older versions did differently (a1111-contract §6). Other programs' versions give no rules."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any, NamedTuple

_VERSION = re.compile(
    r"\s*v?(?P<release>\d+(?:\.\d+)*)(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?(?:-(?P<commits>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d*))?"
    r"(?:\+[a-z0-9.]+)?\s*",
    re.IGNORECASE,
)


@total_ordering
class Version(NamedTuple):
    """A version of A1111: release numbers, stage (−1 before the release, 0 the release, 1 after it), commits since."""

    release: tuple[int, ...]
    stage: int = 0
    commits: int = 0

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        length = max(len(self.release), len(other[0]))
        return self._padded(self.release, length) + self[1:] < self._padded(other[0], length) + tuple(other[1:])

    @staticmethod
    def _padded(release: tuple[int, ...], length: int) -> tuple[Any, ...]:
        return (release + (0,) * (length - len(release)),)


V1_6_0 = Version((1, 6, 0))
V1_7_0_225 = Version((1, 7, 0), 1, 225)
V1_8_0 = Version((1, 8, 0))
V1_8_0_139 = Version((1, 8, 0), 1, 139)


def parse_version(text: object) -> Version | None:
    """The version in `v1.7.0-224-gabcdef12`, `1.8.0-RC`, …; None when it is not one of A1111's (`Easel-…`, `f2.0…`, `neo`)."""
    text = str(text)
    described = re.match(r"([^-]+-[^-]+)-", text)  # git describe: tag, commits since, hash
    match = _VERSION.fullmatch(described.group(1) if described else text)
    if match is None:
        return None
    release = tuple(int(part) for part in match["release"].split("."))
    if match["pre"]:
        return Version(release, -1)
    if match["commits"] or match["post"] is not None:
        return Version(release, 1, int(match["commits"] or match["post"] or 0))
    return Version(release)


def add_old_ways(fields: dict[str, Any]) -> None:
    """Add the switches that make a picture of an older A1111 come out as it did there."""
    version = parse_version(fields["Version"]) if "Version" in fields else None
    if version is None or fields.get("App", "") == "SD.Next":
        return
    if version < V1_6_0 and "[" in fields.get("Prompt", ""):
        fields["Old prompt editing timelines"] = True
    if version < V1_6_0 and fields.get("Sampler", "") in ("DDIM", "PLMS"):
        fields["Pad conds v0"] = True
    if version < V1_7_0_225:
        fields["Downcast alphas_cumprod"] = True
    if version < V1_8_0 and fields.get("Refiner"):
        fields["Refiner switch by sampling steps"] = True
