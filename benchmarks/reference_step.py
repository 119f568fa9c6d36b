"""One training step in the order of the authors' code, by plain one-dimensional convolutions.

Written from a description of what that code does (docs/reference/model.md, "Where paper and code
differ"), not from its text. Beside the losses that train, it encodes the ground truth with all
three encoders, quantises the prediction with all three codebooks, decodes the prediction for wave
and mel losses that have no gradient, decodes the ground truth for nothing, judges real and fake in
passes of their own, and lets the generator's backward pass run into the discriminators' weights.
"""

from __future__ import annotations

import copy

import torch
from codec import plain as plain_codec
from codec import published_decode, published_quantise
from torch import Tensor, nn
from torch.nn import functional as F

from model.audio import mel_loss, wave_loss
from model.codecs.jukebox.hparams import level_index
from model.data.source import Batch
from model.families.d2m_gan.discriminators import arrange
from model.families.d2m_gan.layers import Conv, pad_time
from model.families.d2m_gan.paper import Slide
from model.training.state import State

WEIGHTS = {"adversarial": 1.0, "feature": 3 * 4 / 5, "codebook": 8.0, "latent": 5.0,
           "wave": 40.0, "mel": 15.0}  # fmt: skip


class PlainConv(nn.Module):
    """A `Conv` as one `conv1d`, whose weight norm is computed at each call."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.conv, self.span, self.stride = conv.conv, conv.span, conv.stride

    def forward(self, x: Tensor) -> Tensor:
        need = (-(-x.shape[-1] // self.stride) - 1) * self.stride + self.span - x.shape[-1]
        left = max(self.span - self.stride, 0) // 2
        x, c = pad_time(x, left, max(need - left, 0)), self.conv
        return F.conv1d(x, c.weight, c.bias, c.stride, 0, c.dilation, c.groups)


class PlainSlide(nn.Module):
    """A `Slide` as one `conv1d`."""

    def __init__(self, slide: Slide) -> None:
        super().__init__()
        self.conv, self.reflect = slide.conv, slide.reflect

    def forward(self, x: Tensor) -> Tensor:
        if self.reflect:
            x = F.pad(x, (self.reflect, self.reflect), mode="reflect")
        return F.conv1d(x, self.conv.weight, self.conv.bias, self.conv.stride, self.conv.padding)


def plain(network: nn.Module) -> nn.Module:
    """Return the network by plain convolutions, on the same parameters."""
    shared = [*network.parameters(), *network.buffers()]
    network = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv):
                parent.add_module(name, PlainConv(child))
            elif isinstance(child, Slide):
                parent.add_module(name, PlainSlide(child))
    return network


class ReferenceStep:
    """Trains the networks of a state of `arch: paper`; `codec` must hold all three levels."""

    def __init__(self, state: State) -> None:
        self.state, self.vqvae = state, state.codec.model
        config = state.config
        betas = (config.betas[0], config.betas[1])
        self.generator, self.scorer = (
            plain(state.model.network),
            plain(state.model.adversary.network),
        )
        self.adam = torch.optim.Adam(self.generator.parameters(), config.lr_generator, betas)
        self.judge_adam = torch.optim.Adam(self.scorer.parameters(), config.lr_discriminator, betas)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step and return its losses, unweighted."""
        model, index = self.vqvae, level_index(self.state.config.level)
        with torch.no_grad():
            latents = plain_codec(model.encoder(index), batch.audio[:, None])
            others = [i for i in model.levels if i != index]
            for i in others:
                published_quantise(
                    plain_codec(model.encoder(i), batch.audio[:, None]), model.codebook(i).k
                )
            codes = published_quantise(latents, model.codebook(index).k)
            real = model.codebook(index).lookup(codes)
        fake = self.generator(batch.inputs, codes.shape[1])
        with torch.no_grad():
            guessed = {
                i: published_quantise(fake.detach(), model.codebook(i).k) for i in model.levels
            }
            audio = published_decode(model, guessed[index], index)
            published_decode(model, codes, index)

        on_fake = self._judge(fake.detach())
        on_real = self._judge(latents)
        hinge = sum(
            F.relu(1 - a[-1]).mean() + F.relu(1 + b[-1]).mean()
            for a, b in zip(on_real, on_fake, strict=True)
        )
        self.judge_adam.zero_grad()
        hinge.backward()
        self.judge_adam.step()

        again = self._judge(fake)
        losses = {
            "adversarial": -sum(layers[-1].mean() for layers in again),
            "feature": sum(
                F.l1_loss(ours, theirs.detach()) / len(again)
                for layers, targets in zip(again, on_real, strict=True)
                for ours, theirs in zip(layers[:-1], targets[:-1], strict=True)
            ),
            "codebook": F.l1_loss(fake, real),
            "latent": F.l1_loss(fake, latents),
            "wave": wave_loss(audio, batch.audio),
            "mel": mel_loss(audio, batch.audio, self.state.model.log_mel),
        }
        total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
        self.adam.zero_grad()
        total.backward()
        self.adam.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def _judge(self, latents: Tensor) -> list[list[Tensor]]:
        return self.scorer(arrange(latents, self.state.config.reshape))
