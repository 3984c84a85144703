"""A frozen tower that was imported from another library's folder, named in a recipe's `prepare`.

It has no module of its own: it is another member of this shelf (`transformer`,
`vision_transformer`, ...) with the weights that `importing.py` keeps in the cache, and
`towers_imported.load` builds it. `sensorium pretrain --tower SOURCE` writes these options.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SUMMARY = "a frozen tower of another library's model, as `cache import` keeps it"


class Spec(BaseModel):
    """Which tower, and what must be known of it without its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["imported"] = "imported"
    name: str = Field(description="its folder in the cache")
    sha256: str = Field(description="of its weights, config and tokenizer: no other will do")
    width: int = Field(ge=1, description="values of its pooled state")
    order: Literal["full", "causal"] = Field("full", description="how it sees the modality")
    source: str = Field("", description="where it was imported from")
    licence: str = Field("not stated", description="of the weights")
