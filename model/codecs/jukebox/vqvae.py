"""The modules of the VQ-VAE: one encoder, decoder and codebook per level.

They compute the function of Dhariwal et al. 2020 (section 4), and have the keys of the released
checkpoint. Signals are (B, C, 1, T) in channels-last memory. On a CPU, a 1 x K convolution is then
about twice as fast as a one-dimensional one. Weights keep their (out, in, K) shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.jukebox.bottleneck import Codebook
from model.codecs.jukebox.hparams import JUKEBOX_5B, HParams


class Conv(nn.Conv1d):
    """A convolution along time.

    With kernel 1 the dilation has no effect, but torch uses its fast CPU path only with a dilation
    (or several threads).
    """

    padding: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        dilation = 2 if self.kernel_size[0] == 1 and x.device.type == "cpu" else self.dilation[0]
        out = F.conv2d(
            x,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, self.stride[0]),
            padding=(0, self.padding[0]),
            dilation=(1, dilation),
        )
        return out.contiguous(memory_format=torch.channels_last)


class Inlet(nn.Conv1d):
    """A convolution with one input channel, as a matrix product with the signal's frames."""

    padding: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        pad = self.padding[0]
        frames = F.pad(x, (pad, pad)).unfold(3, self.kernel_size[0], self.stride[0])
        return F.linear(frames[:, 0], self.weight.squeeze(1), self.bias).permute(0, 3, 1, 2)


class Outlet(nn.Conv1d):
    """A convolution with kernel 3 and one output channel, as the sum of the taps' products."""

    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        before, here, after = F.linear(x.permute(0, 2, 3, 1), self.weight[0].T).unbind(3)
        out = here + F.pad(before[..., :-1], (1, 0)) + F.pad(after[..., 1:], (0, 1))
        return (out + self.bias).unsqueeze(1)


class TConv(nn.ConvTranspose1d):
    """Transposed convolution of kernel 4, stride 2, padding 1, as one convolution of kernel 2.

    Between two input positions there are an odd output (taps 2 and 0 of its neighbours) and an even
    output (taps 3 and 1). Both are computed as channels of one position, so in channels-last memory
    they are already interleaved. The first and the last value of the row are dropped.
    """

    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one output size only
        tap = self.weight.transpose(0, 1).unbind(2)
        odd, even = torch.stack((tap[2], tap[0]), 2), torch.stack((tap[3], tap[1]), 2)
        weight, bias = torch.cat((odd, even)).unsqueeze(2), self.bias.repeat(2)
        pairs = F.conv2d(x, weight, bias, padding=(0, 1)).permute(0, 2, 3, 1)
        return pairs.reshape(len(x), 1, -1, self.out_channels)[:, :, 1:-1].permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """x + Conv1[ReLU(Conv3 dilated[ReLU(x)])]."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReLU(),
            Conv(width, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            Conv(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, 1, T) to the same shape."""
        _, dilated, _, last = self.model
        return last(dilated(x.relu()).relu_()).add_(x)


class ResNet(nn.Module):
    """A stack of residual blocks, one for each dilation: (B, C, 1, T) to the same shape."""

    def __init__(self, width: int, dilations: Iterable[int]) -> None:
        super().__init__()
        self.model = nn.Sequential(*(ResBlock(width, dilation) for dilation in dilations))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class EncoderBlock(nn.Module):
    """Halves the rate `downs` times and projects: (B, channels, 1, T) to (B, emb_width, 1, T')."""

    def __init__(self, channels: int, downs: int, index: int, hparams: HParams) -> None:
        super().__init__()
        width, dilations = hparams.width_of(index), hparams.dilations(index)
        halvings = (
            nn.Sequential(
                (Inlet if channels == 1 and i == 0 else Conv)(
                    width if i else channels, width, 4, stride=2, padding=1
                ),
                ResNet(width, dilations),
            )
            for i in range(downs)
        )
        self.model = nn.Sequential(*halvings, Conv(width, hparams.emb_width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class DecoderBlock(nn.Module):
    """Projects and doubles the rate `downs` times: (B, emb_width, 1, T) to (…, T * 2**downs)."""

    def __init__(self, downs: int, index: int, hparams: HParams) -> None:
        super().__init__()
        width, emb_width = hparams.width_of(index), hparams.emb_width
        dilations = hparams.dilations(index)[::-1]
        doublings = (
            nn.Sequential(
                ResNet(width, dilations),
                TConv(width, width if i < downs - 1 else emb_width, 4, stride=2, padding=1),
            )
            for i in range(downs)
        )
        self.model = nn.Sequential(Conv(emb_width, width, 3, padding=1), *doublings)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Encoder(nn.Module):
    """The encoder of level `index`: the blocks of all levels up to this one."""

    def __init__(self, index: int, hparams: HParams) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleList(
            EncoderBlock(hparams.emb_width if j else 1, hparams.downs[j], index, hparams)
            for j in range(index + 1)
        )

    def forward(self, audio: Tensor) -> Tensor:
        """Map audio (B, N) to latents (B, C, N // hop)."""
        x = audio[:, None, None, :]
        for block in self.level_blocks:
            x = block(x)
        return x.squeeze(2)

    @property
    def last(self) -> Conv:
        """The last convolution, whose output are the latents."""
        block = self.level_blocks[-1]
        assert isinstance(block, EncoderBlock)
        last = block.model[-1]
        assert isinstance(last, Conv)
        return last


class Decoder(nn.Module):
    """The decoder of level `index`: the blocks of all levels from this one down to the audio."""

    def __init__(self, index: int, hparams: HParams) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleList(
            DecoderBlock(hparams.downs[j], index, hparams) for j in range(index + 1)
        )
        self.out = Outlet(hparams.emb_width, 1, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (B, C, L) to audio (B, L * hop), not clipped to [-1, 1]."""
        x = latents.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for block in reversed(self.level_blocks):
            x = block(x)
        return self.out(x)[:, 0, 0]


class Bottleneck(nn.Module):
    """The codebooks (K, C) of the levels, by JukeBox's level number."""

    def __init__(self, levels: Sequence[int], hparams: HParams) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleDict(
            {str(index): Codebook(hparams.l_bins, hparams.emb_width) for index in levels}
        )


class VQVAE(nn.Module):
    """A VQ-VAE with some or all `levels` (JukeBox's numbers; 0 is the bottom level).

    With all levels of the 5b, its state_dict has the 669 keys of the released checkpoint, in order.
    Levels share no weights, so a subset computes the same as the complete VQ-VAE.
    """

    def __init__(self, hparams: HParams = JUKEBOX_5B, levels: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        self.hparams, self.levels = hparams, tuple(sorted(levels))
        self.encoders = nn.ModuleDict({str(l): Encoder(l, hparams) for l in self.levels})
        self.decoders = nn.ModuleDict({str(l): Decoder(l, hparams) for l in self.levels})
        self.bottleneck = Bottleneck(self.levels, hparams)

    def encoder(self, index: int) -> Encoder:
        """Return a level's encoder, audio (B, N) to latents (B, C, L); KeyError if missing."""
        return cast(Encoder, self.encoders[str(index)])

    def decoder(self, index: int) -> Decoder:
        """Return a level's decoder, latents (B, C, L) to audio (B, N); KeyError if missing."""
        return cast(Decoder, self.decoders[str(index)])

    def codebook(self, index: int) -> Codebook:
        """Return a level's codebook (K, C); KeyError if missing."""
        return cast(Codebook, self.bottleneck.level_blocks[str(index)])
