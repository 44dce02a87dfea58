"""The one base class of everything that is passed around: a frozen pydantic value."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value. Unknown fields, NaN and infinity are refused; change it with `revise`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def revise(self, **changes: Any) -> Self:
        """A copy with `changes`, validated again as a whole. Raises `pydantic.ValidationError`."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate(values | changes)
