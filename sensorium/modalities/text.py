"""Texts: str -> word-piece ids [1, tokens], between a first and a last special token.

Three tokenizers. `minilm` is the one of the MiniLM tower (BERT's word pieces, 30,522 entries, lower
case, English). `trained` learns a byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) on the
training texts, lower-cased as CLIP's (arXiv 2103.00020 section 2.4): no text in any language is
unknown to it, and equal texts give an equal tokenizer whatever their order. `imported` is that of
an imported model, which `tower` names.

A user's text is only ever text: "[SEP]" inside it is five characters, never a special token.
Entry [MASK] stands where a word is hidden (`edits/hide.py`); no text contains it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sensorium import towers, towers_imported
from sensorium.errors import DataError, RunError, clip
from sensorium.records import Blob, Record
from sensorium.records import Field as Where
from sensorium.tokens import Tokens

SUMMARY = "texts as word pieces: MiniLM's, an imported model's, or learned from the training texts"
FILE = "tokenizer.json"
PAD, FIRST, LAST, HIDE = "[PAD]", "[CLS]", "[SEP]", "[MASK]"
_BLANK = tuple("ĠĊĉč")  # space, line feed, tab, carriage return as GPT-2 writes these bytes
_UNUSED = re.compile(r"\[unused\d+\]")  # BERT's spare entries
MINILM_VOCABULARY = 30_522


class Spec(BaseModel):
    """How a text becomes ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["text"] = "text"
    tokenizer: Literal["minilm", "trained", "imported"] = Field(
        "trained", description="the MiniLM tower's, one trained on the training texts, or `tower`'s"
    )
    tower: str | None = Field(None, description="imported model whose tokenizer it is, by its name")
    length: int = Field(32, ge=3, le=512, description="most tokens of a text, both ends included")
    vocabulary: int = Field(
        8000, ge=300, le=200_000, description="most entries of a trained or imported tokenizer"
    )

    @model_validator(mode="after")
    def _names_its_tower(self):
        if (self.tokenizer == "imported") != (self.tower is not None):
            raise ValueError("tokenizer: imported and tower: NAME go together")
        return self


class Modality:
    """Reads texts and cuts them into ids.

    Attributes:
        vocabulary: entries of the tokenizer; before `fit` or `load`, the most it may have.
        length: most tokens of a text.
    """

    name = "text"
    target = False
    suffixes = (".txt",)

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.length = spec.length
        self.vocabulary = MINILM_VOCABULARY if spec.tokenizer == "minilm" else spec.vocabulary
        self._loaded: Tokenizer | None = None
        self._ends = (0, 0)

    def fit(self, records: Sequence[Record], field: Where) -> None:
        """Learns the tokenizer from the training records (`trained` only).

        Args:
            field: where the texts are; several where variants (a translation) have their own.

        Raises:
            DataError: no record has a text.
        """
        if self.spec.tokenizer == "trained":
            names = (field,) if isinstance(field, str) else field
            texts = [text for name in names for text in self._texts(records, name)]
            self._use(_trained(texts, self.spec.vocabulary, names[0]))

    def _texts(self, records: Sequence[Record], field: str) -> Iterator[str]:
        for record in records:
            value = record.fields.get(field)
            for item in value if isinstance(value, list) else [value]:
                try:
                    yield self.read(item, field)
                except DataError:
                    continue  # absent or unreadable: reported where the record itself is read

    def state(self) -> dict[str, bytes]:
        """Files that a run must keep to read the same way again: the tokenizer."""
        return {FILE: self._tokenizer.to_str().encode()}

    def load(self, folder: Path) -> None:
        """Reads back what `state` gave.

        Raises:
            RunError: the file is missing or damaged.
        """
        file = folder / FILE
        try:
            tokenizer = Tokenizer.from_str(file.read_bytes().decode())
        except OSError as error:
            raise RunError(file=file, expected="a tokenizer", found=str(error.strerror)) from None
        except Exception as error:  # the library has no error class of its own
            raise RunError(file=file, expected="a tokenizer", found=clip(str(error))) from None
        self._use(tokenizer)

    def _use(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # those in a user's text are plain text
        first, last = tokenizer.token_to_id(FIRST), tokenizer.token_to_id(LAST)
        if first is None or last is None:
            raise RunError(FILE, expected=f"the entries {FIRST} and {LAST}", found="neither or one")
        self._loaded, self._ends = tokenizer, (first, last)
        self.vocabulary = tokenizer.get_vocab_size()
        for table in ("special", "starts"):  # those of another tokenizer
            self.__dict__.pop(table, None)

    def __getstate__(self) -> dict[str, object]:
        # The library's own pickling forgets `encode_special_tokens`; loader workers must not.
        loaded = None if self._loaded is None else self._loaded.to_str()
        return {**self.__dict__, "_loaded": loaded}

    def __setstate__(self, state: dict[str, object]) -> None:
        loaded = state.pop("_loaded")
        self.__dict__.update(state, _loaded=None)
        if isinstance(loaded, str):
            self._use(Tokenizer.from_str(loaded))

    @property
    def _tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            if self.spec.tokenizer == "trained":
                raise RuntimeError("text: fit or load comes before tokens")
            if self.spec.tower is not None:
                self._use(Tokenizer.from_str(towers_imported.tokenizer(self.spec.tower)))
            else:
                self._use(Tokenizer.from_str(towers.tokenizer_file().read_text("utf-8")))
        assert self._loaded is not None
        return self._loaded

    @property
    def first(self) -> int:
        """The id before every text."""
        return self._both_ends[0]

    @property
    def last(self) -> int:
        """The id after every text; a generated text ends with it."""
        return self._both_ends[1]

    @property
    def hide_id(self) -> int:
        """The id that stands where a word is hidden.

        Raises:
            RunError: the tokenizer was trained without such an entry.
        """
        found = self._tokenizer.token_to_id(HIDE)
        if found is None:
            raise RunError(
                file=FILE,
                expected=f"an entry {HIDE}, which stands where a word is hidden",
                found="a tokenizer that was trained without it, by an older version",
                see="sensorium pretrain makes a run whose tokenizer has it",
            )
        return found

    @functools.cached_property
    def special(self) -> frozenset[int]:
        """Ids that no word has: they are never hidden, never drawn and never generated."""
        added = self._tokenizer.get_added_tokens_decoder()
        spare = {at for entry, at in self._entries.items() if _UNUSED.fullmatch(entry)}
        return frozenset(at for at, token in added.items() if token.special) | spare

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Whether an entry begins a word, bool [vocabulary]; the others go on with the one before.

        Byte-level pieces begin a word where they begin with a blank: a comma belongs to the word
        before it, and a text written without blanks is one word. MiniLM's go on with "##"; an
        imported tokenizer that writes it otherwise has a word in each piece.
        """
        table = np.zeros(self.vocabulary, bool)
        for entry, at in self._entries.items():
            if self.spec.tokenizer == "trained":
                table[at] = entry.startswith(_BLANK)
            else:
                table[at] = not entry.startswith("##")
        table[list(self.special)] = True
        return table

    @property
    def _both_ends(self) -> tuple[int, int]:
        _ = self._tokenizer  # a tower's is loaded when it is first asked for
        return self._ends

    @property
    def _entries(self) -> dict[str, int]:
        return self._tokenizer.get_vocab()

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special ones left out. Texts come back lower-cased, as they were read.

        Args:
            ids: numbers or an int64 tensor [t]; bytes that are no UTF-8 become U+FFFD.
        """
        words = [at for at in map(int, ids) if at not in self.special]
        text = self._tokenizer.decode(words, skip_special_tokens=False).strip()
        # MiniLM's tokenizer cuts "it's" in three, and its decoder joins pieces and commas alone.
        return text.replace(" ' ", "'") if self.spec.tokenizer == "minilm" else text

    def read(self, value: object, name: str) -> str:
        """One field's text, stripped of surrounding space.

        Args:
            value: a text, a number, or a `Blob` of UTF-8.
            name: what errors call it.

        Raises:
            DataError: no text, an empty one, or bytes that are not UTF-8.
        """
        return plain(value, name)

    def tokens(self, text: str, rng: np.random.Generator | None) -> Tokens:
        """Ids of one text, int64 [1, t], t at most `length`: first, word pieces, last.

        Args:
            text: as `read` gives it.
            rng: unused; texts are not augmented.
        """
        return self.batch([text])

    def batch(self, texts: Sequence[str]) -> Tokens:
        """Ids of n texts at once, int64 [n, t], padded to the longest."""
        rows = self._pieces(texts)
        first, last = self._both_ends
        counts = np.array([min(len(row), self.length - 2) for row in rows])
        t = int(counts.max()) + 2
        ids = np.zeros((len(rows), t), np.int64)
        for at, (row, count) in enumerate(zip(rows, counts, strict=True)):
            ids[at, 1 : 1 + count] = row[:count]
            ids[at, 1 + count] = last
        ids[:, 0] = first
        return Tokens(
            modality="text",
            ids=torch.from_numpy(ids),
            real=torch.from_numpy(np.arange(t) < counts[:, None] + 2),
            position=torch.arange(t)[None, :, None],
        )

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) == 1:  # one text needs no thread pool, which does not survive a fork
            return [self._tokenizer.encode(texts[0], add_special_tokens=False).ids]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def plain(value: object, name: str, kind: str = "text") -> str:
    """A value's text, stripped of surrounding space; `kind` is what errors say was expected.

    Else arguments and errors as `Modality.read`.
    """
    if isinstance(value, Blob):
        name = value.name
        try:
            value = value.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(file=name, expected="UTF-8 text", found=str(error)) from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, list):
        raise DataError(name, expected=f"one {kind}", found=f"a list of {len(value)}")
    if not isinstance(value, str):
        found = "nothing" if value is None else clip(value)
        raise DataError(name, expected=f"a {kind}", found=found)
    text = value.strip()
    if not text:
        raise DataError(name, expected=f"a {kind}", found="an empty one")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, e.g. from JSON "\ud83d"
        raise DataError(name, expected="valid Unicode", found=clip(text)) from None
    return text


def _trained(texts: list[str], vocabulary: int, field: str) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` entries; padding is entry 0."""
    if not texts:
        raise DataError(field=field, expected="at least one text to train on", found="none")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, FIRST, LAST, HIDE],
        # All 256 bytes, so that nothing is unknown.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
