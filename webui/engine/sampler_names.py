"""Sampler and schedule names as they stand in old infotexts and foreign requests ("DPM++ 2M Karras"), read the way A1111 reads them. Needs no
torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from webui.engine.tables import SAMPLERS, SCHEDULES
from webui.schema.sampling import ScheduleSpec

SAME_SAMPLER, SAME_SCHEDULE = "Use same sampler", "Use same scheduler"


class Names(NamedTuple):
    """A sampler's name and a schedule's label, as the lists have them."""

    sampler: str
    scheduler: str


def sampler_and_schedule(sampler: str | None, scheduler: str | None, *, convert_automatic: bool = True) -> Names:
    """What A1111 runs for these names: a schedule at the end of the sampler's name counts, unknown names mean the first of the list.

    With `convert_automatic` a schedule that is the sampler's own becomes "Automatic".
    """
    automatic = SCHEDULES[0]
    found = next((entry for entry in SCHEDULES if scheduler in (entry.label, entry.name)), automatic)
    name = sampler or SAMPLERS[0].name
    for entry in SCHEDULES:
        ending = next((option for option in _written(entry) if name.endswith(f" {option}")), None)
        if ending:
            found, name = entry, name[: -len(ending) - 1]
    spec = next((entry for entry in SAMPLERS if entry.name == name), SAMPLERS[0])
    return Names(spec.name, automatic.label if convert_automatic and spec.scheduler == found.name else found.label)


def names_of_infotext(fields: Mapping[str, str]) -> Names:
    """Sampler and schedule that an infotext's fields mean."""
    return sampler_and_schedule(fields.get("Sampler"), fields.get("Schedule type"))


def hires_names_of_infotext(fields: Mapping[str, str]) -> Names:
    """The same for its second pass; `Use same sampler`, `Use same scheduler` for what is written as in the first pass."""
    own, own_schedule = fields.get("Hires sampler", SAME_SAMPLER), fields.get("Hires schedule type", SAME_SCHEDULE)
    names = sampler_and_schedule(
        fields.get("Sampler") if own == SAME_SAMPLER else own, fields.get("Schedule type") if own_schedule == SAME_SCHEDULE else own_schedule,
    )
    return Names(
        SAME_SAMPLER if names.sampler == fields.get("Sampler") else names.sampler,
        SAME_SCHEDULE if names.scheduler == fields.get("Schedule type") else names.scheduler,
    )


def _written(entry: ScheduleSpec) -> tuple[str, ...]:
    return (entry.label, entry.name, *entry.aliases)
