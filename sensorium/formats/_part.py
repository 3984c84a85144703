"""What a format tells: the parts of a model in our terms, each with its table of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sensorium.formats._names import Names, below

# What a picture is normalised with where no preprocessor_config.json says it.
HALF = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
OPENAI = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Tower:
    """One encoder of a model.

    Attributes:
        modality: `image` or `text`.
        encoder: options of a member of the shelf `encoders`, `use` included.
        options: options of the modality, `use` included.
        names: our encoder's weights -> theirs.
        prefixes: what may stand before their names; the first that fits is taken.
        left_out: patterns of weights that are not read, with the reason; they match a whole name or
            what follows the prefix.
        order: in which order the modality is seen.
        ends: names of the entries before and after a text, where tokenizer_config.json is silent.
        colours: mean and standard deviation where preprocessor_config.json is silent.
        inside: the module of the reference that is this tower; where it has none, itself.
        pooled: what of theirs our pooled state equals: their own, or the first or mean state.
    """

    modality: str
    encoder: dict[str, Any]
    options: dict[str, Any]
    names: Names
    prefixes: tuple[str, ...] = ("",)
    left_out: Mapping[str, str] = field(default_factory=dict)
    order: str = "full"
    ends: tuple[str, str] = ("[CLS]", "[SEP]")
    colours: Mapping[str, Any] = field(default_factory=lambda: HALF)
    inside: str = ""
    pooled: str = "theirs"


@dataclass(frozen=True)
class Whole:
    """A whole model: the recipe that builds it in our terms.

    Attributes:
        recipe: plain data of a `Recipe` beside modalities and encoders, which are the towers'.
        towers: modality -> its tower, in the order of the recipe; a tower's names stand below
            `model.encoders.<modality>.` and `prefixes[modality]`.
        prefixes: modality -> what stands before the tower's names in the file.
        names: the weights of the Step beside the towers' -> theirs.
        reference: the class of transformers that the whole is compared with.
        left_out: as in `Tower`.
        new: patterns of our weights that the file has nothing for; they keep initial values.
        notes: what differs from the original, beside what preprocessing tells.
    """

    recipe: dict[str, Any]
    towers: dict[str, Tower]
    prefixes: dict[str, str]
    names: Names
    reference: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all_names(self) -> Names:
        """The table of the whole Step."""
        table = dict(self.names)
        for modality, tower in self.towers.items():
            ours = f"model.encoders.{modality}."
            table |= below(ours, self.prefixes[modality], tower.names)
        return table
