"""The recipe `clip` equals transformers' CLIPModel with copied random weights, and its size."""

import pytest
import torch
from reference import copy_clip_text, copy_clip_vision, pixels, randomise, same_gradients
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from sensorium.building import build, parameters
from sensorium.fusion.none import Fusion
from sensorium.fusion.none import Spec as FusionSpec
from sensorium.model import Model
from sensorium.nodes import Encode, Given, Read
from sensorium.objectives.contrastive import Objective, Spec
from sensorium.recipe import load
from sensorium.records import Source
from sensorium.step import Step
from sensorium.tokens import Batch, Tokens
from sensorium.views import View

COLOURS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
N, SIDE, PATCH, T, END = 6, 32, 8, 9, 98


@pytest.fixture
def clip():
    text = CLIPTextConfig(
        vocab_size=99, hidden_size=48, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=T, eos_token_id=END, projection_dim=24,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=PATCH, projection_dim=24,
    )  # fmt: skip
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24
    )
    model = CLIPModel(config).eval()
    randomise(model)
    return model


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 4, 6, 2, 9, 5])
    real = torch.arange(T) < lengths[:, None]
    ids = torch.randint(1, 90, (N, T), generator=rng)
    ids[torch.arange(N), lengths - 1] = END
    ids = torch.where(real, ids, 0)
    values = torch.randint(0, 256, (N, 16, 3 * PATCH**2), generator=rng).to(torch.uint8)
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(4))[None]
    return Batch(
        keys=tuple(map(str, range(N))),
        sources=(Source("memory"),) * N,
        tokens={
            ("text", 0): Tokens(
                "text", real=real, position=torch.arange(T)[None, :, None], ids=ids
            ),
            ("image", 0): Tokens(
                "image", real=torch.ones(N, 16, dtype=torch.bool), position=grid, values=values
            ),
        },
        present={name: torch.ones(N, dtype=torch.bool) for name in ("image", "text")},
    )


def ours(clip):
    text, text_pairs = copy_clip_text(clip.text_model)
    image, image_pairs = copy_clip_vision(clip.vision_model, **COLOURS)
    model = Model({"image": image, "text": text}, Fusion(FusionSpec(), {}), 24)
    pairs = [*text_pairs, *image_pairs]
    for name, theirs in (("image", clip.visual_projection), ("text", clip.text_projection)):
        pairs.append((model.projections[name].weight, [theirs.weight], ""))
    objective = Objective(
        Spec(largest_scale=1e9),
        Given({"image": View("image"), "text": View("text", order="causal")}),
    )
    with torch.no_grad():
        for name in ("image", "text"):
            model.projections[name].weight.copy_(
                {"image": clip.visual_projection, "text": clip.text_projection}[name].weight
            )
        objective.log_scale.copy_(clip.logit_scale.reshape(1))
    return Step(model, {"contrastive": objective}), pairs


def test_embeddings_logits_loss_and_gradients(clip, batch):
    step, pairs = ours(clip)
    text = batch.tokens["text", 0]
    theirs = clip(
        input_ids=text.ids,
        attention_mask=text.real.long(),
        pixel_values=pixels(
            batch.tokens["image", 0].values, PATCH, step.model.encoders["image"].spec
        ),
        return_loss=True,
    )
    outcome = step(batch)
    total, losses = outcome.total, outcome.losses
    image = step.vectors(Read(Encode(View("image"))), batch)
    words = step.vectors(Read(Encode(View("text", order="causal"))), batch)
    torch.testing.assert_close(image, theirs.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(words, theirs.text_embeds, atol=1e-5, rtol=0)
    logits = step.objectives["contrastive"].scale.detach() * image @ words.T
    torch.testing.assert_close(logits, theirs.logits_per_image, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(total, theirs.loss, atol=1e-5, rtol=0)
    assert losses["contrastive"].count.item() == N
    total.backward()
    theirs.loss.backward()
    same_gradients(pairs)
    scale = step.objectives["contrastive"].log_scale.grad
    torch.testing.assert_close(scale[0], clip.logit_scale.grad, atol=1e-5, rtol=0)


def test_published_size_is_clip_vit_b_32():
    """151.3 M: Radford et al. 2021; transformers counts 151,277,313."""
    with torch.device("meta"):
        counts = parameters(build(load("clip")))
        theirs = CLIPModel(CLIPConfig())
    assert counts["all"] == sum(p.numel() for p in theirs.parameters()) == 151_277_313


def test_the_recipe_is_what_the_parity_test_tests():
    """The options copied from CLIPModel's configuration are those the recipe states."""
    from reference import clip_text_spec, clip_vision_spec

    config, recipe = CLIPConfig(), load("clip")
    text = clip_text_spec(config.text_config)
    image = clip_vision_spec(config.vision_config, **COLOURS)
    for spec, stated in ((text, recipe.encoders["text"]), (image, recipe.encoders["image"])):
        assert type(spec)(**stated) == spec
    assert recipe.order == {"text": "causal"}
    assert recipe.space == config.projection_dim
    assert recipe.modalities["text"]["length"] == config.text_config.max_position_embeddings
    assert recipe.modalities["image"]["size"] == config.vision_config.image_size
