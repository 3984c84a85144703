"""ALBEF's published order of passes, rebuilt on the modules of a Step of recipe `albef`.

As salesforce/ALBEF `models/model_pretrain.py` (forward) and `models/xbert.py` (BertForMaskedLM)
order them: every text is padded to the longest of the batch; the true pairs are fused first; wrong
partners are drawn row by row, each waiting for the device, and their states are stacked, so that
keys and values of a picture are projected anew for each pair; hidden texts are encoded and fused by
themselves; the head over words answers at every position, the teacher's too. Nothing is copied from
there.

What is drawn (hidden words, partners) is what our step draws, and partners are drawn by the
student's vectors as ours are: the published code asks the student's against the teacher's, which
costs the same. Both are documented departures of the recipe, not of speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from sensorium.model import Model, State
from sensorium.objectives.matching import gumbel
from sensorium.step import Step
from sensorium.tokens import Batch
from sensorium.views import look

IGNORED = -100  # a label that asks nothing, as torch's cross-entropy has it


class Published:
    """One step's losses in the published order, over a Step's own modules and teacher.

    Args:
        step: of recipe `albef`, in a state that stays its own: queues are copied, the teacher and
            all weights are shared.
        packs: whether texts are packed as ours are; the published code pads.
        moves: whether the teacher takes its step.
    """

    def __init__(self, step: Step, packs: bool = False, moves: bool = True) -> None:
        assert step.teacher is not None, "ALBEF has a teacher"
        self.model, self.teacher, self.momentum = step.model, step.teacher, step.momentum
        self.contrast, self.match, self.words = (
            step.objectives[name] for name in ("contrastive", "matching", "masked_tokens")
        )
        self.packs, self.moves = packs, moves
        # The published queue holds vectors as columns.
        self.images = self.contrast.left.T.clone()
        self.texts = self.contrast.right.T.clone()
        self.next = 0

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The three losses, scalars with gradient; the teacher moves and the queue is written."""
        stacks = [model.encoders["text"].stack for model in (self.model, self.teacher)]
        before = [stack.packs for stack in stacks]
        for stack in stacks:
            stack.packs = self.packs
        try:
            return self._losses(batch)
        finally:
            for stack, packs in zip(stacks, before, strict=True):
                stack.packs = packs

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        image, text = self._encode(self.model, batch)
        image_vector = self.model.vector("image", image)
        text_vector = self.model.vector("text", text)
        scale, b = self.contrast.scale, len(batch)
        with torch.no_grad():
            if self.moves:
                self._follow()
            image_m, text_m = self._encode(self.teacher, batch)
            image_key = self.teacher.vector("image", image_m)
            text_key = self.teacher.vector("text", text_m)
            all_images = torch.cat([image_key.T, self.images.clone()], 1)
            all_texts = torch.cat([text_key.T, self.texts.clone()], 1)
            share = self.contrast.share(batch)
            own = torch.zeros(b, all_texts.shape[1], device=image_key.device)
            own.fill_diagonal_(1)
            to_text = share * F.softmax(scale * image_key @ all_texts, 1) + (1 - share) * own
            to_image = share * F.softmax(scale * text_key @ all_images, 1) + (1 - share) * own
        i2t, t2i = scale * image_vector @ all_texts, scale * text_vector @ all_images
        there = -(F.log_softmax(i2t, 1) * to_text).sum(1).mean()
        back = -(F.log_softmax(t2i, 1) * to_image).sum(1).mean()
        self._enqueue(image_key, text_key)

        true = self.model.fuse([image, text])
        wrong_images, wrong_texts = self._partners(image_vector, text_vector, batch)
        wrong = self.model.fuse(
            [
                joined(chosen(image, wrong_images), image),
                joined(text, chosen(text, wrong_texts)),
            ]
        )
        joint = torch.cat([self.model.joint(true), self.model.joint(wrong)])
        label = torch.cat([joint.new_zeros(b), joint.new_ones(2 * b)]).long()  # 0 is a match
        matching = F.cross_entropy(self.match.head(joint), label)
        return {
            "contrastive": (there + back) / 2,
            "matching": matching,
            "masked_tokens": self._hidden(batch, image, image_m),
        }

    def _encode(self, model: Model, batch: Batch) -> tuple[State, State]:
        states = []
        for modality, view in zip(("image", "text"), self.contrast.views, strict=True):
            encoder = model.encoders[modality]
            states.append(encoder.encode(encoder.embed(look(view, batch))))
        return states[0], states[1]

    @torch.no_grad()
    def _follow(self) -> None:
        for theirs, ours in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
            theirs.data = theirs.data * self.momentum + ours.data * (1.0 - self.momentum)

    @torch.no_grad()
    def _enqueue(self, images: torch.Tensor, texts: torch.Tensor) -> None:
        size, end = self.images.shape[1], self.next + len(images)
        assert size % len(images) == 0, "the published queue is a multiple of the batch"
        self.images[:, self.next : end] = images.T
        self.texts[:, self.next : end] = texts.T
        self.next = end % size

    @torch.no_grad()
    def _partners(
        self, images: torch.Tensor, texts: torch.Tensor, batch: Batch
    ) -> tuple[list[int], list[int]]:
        """A wrong image for each text and a wrong text for each image, drawn one by one."""
        temperature = self.match.spec.temperature
        weights = [F.softmax(texts @ images.T / temperature, 1)]
        weights.append(F.softmax(images @ texts.T / temperature, 1))
        drawn: list[list[int]] = []
        for at, weight in enumerate(weights):
            weight.fill_diagonal_(0)
            noise = gumbel(batch.draw, batch.draw, at)  # the largest sum is a draw by weight
            rows = range(len(weight))
            drawn.append([int((weight[row].log() + noise[row]).argmax().item()) for row in rows])
        return drawn[0], drawn[1]

    def _hidden(self, batch: Batch, image: State, image_m: State) -> torch.Tensor:
        """Masked words: encoded and fused by themselves, logits [b, t, V] of both models."""
        seen, share = look(self.words.view, batch), self.words.share(batch)
        labels = torch.full_like(seen.tokens.ids, IGNORED).flatten()
        labels[seen.places] = seen.truth

        def logits(model: Model, picture: State) -> torch.Tensor:
            encoder = model.encoders["text"]
            fused = model.fuse([picture, encoder.encode(encoder.embed(seen))])
            return model.logits("text", fused[1].tokens)

        with torch.no_grad():
            soft = F.softmax(logits(self.teacher, image_m), -1)
        found = logits(self.model, image)
        hard = F.cross_entropy(found.view(-1, found.shape[-1]), labels, ignore_index=IGNORED)
        distilled = -(F.log_softmax(found, -1) * soft).sum(-1)
        asked = (labels != IGNORED).view(distilled.shape)
        return (1 - share) * hard + share * distilled[asked].mean()


def chosen(state: State, rows: Sequence[int]) -> State:
    """Rows of a State one by one, stacked anew."""
    at = torch.tensor(rows, device=state.real.device)
    return State(
        tokens=torch.stack([state.tokens[row] for row in rows]),
        real=torch.stack([state.real[row] for row in rows]),
        order=state.order[at],
        position=state.position[at] if len(state.position) > 1 else state.position,
    )


def joined(first: State, second: State) -> State:
    """The rows of one State, then those of another of the same length."""
    shared = len(first.position) == 1
    return State(
        tokens=torch.cat([first.tokens, second.tokens]),
        real=torch.cat([first.real, second.real]),
        order=torch.cat([first.order, second.order]),
        position=first.position if shared else torch.cat([first.position, second.position]),
    )


class GivenStates(nn.Module):
    """Stands where an encoder stands: its states are given, and gradients arrive at them.

    Args:
        state: what the encoder gave.
    """

    def __init__(self, state: State, trained: bool = True) -> None:
        super().__init__()
        assert state.pooled is not None
        self.width = state.tokens.shape[2]
        self.tokens = nn.Parameter(state.tokens.detach().clone(), requires_grad=trained)
        self.state = replace(state, tokens=self.tokens.detach(), pooled=None)

    def embed(self, seen: object) -> State:
        """A state without content."""
        return self.state

    def encode(self, state: State) -> State:
        """The given state; its pooled state is the first token."""
        return replace(self.state, tokens=self.tokens, pooled=self.tokens[:, 0])
