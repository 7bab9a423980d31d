"""LM-Net's decoder as one module over any list of feature maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.cross_scale_fusion import CrossScaleFusion
from lmnet.blocks.fusion_decoder import FusionDecoder
from lmnet.blocks.gft import GlobalFeatureTransformer
from lmnet.blocks.lft import LocalFeatureTransformer
from lmnet.blocks.pyramid_pool import PyramidPool


class LMNetDecoder(nn.Module):
    """Turn an encoder's maps into one map at the size of the finest map that has channels.

    The bottom sees all maps, pooled to the size of the smallest and squeezed to ``width * 2^(n - 1)`` channels, through
    the GFT. Skip i is fused with its neighbours to ``width * 2^i`` channels and goes through an LFT; decoder steps lead
    from the bottom up. The same graph as ``zoo/mobilenetv4_lm.yaml``.

    Args:
        in_channels: channels of each map, each map half as large as the one before; maps of 0 channels are left out.
        width: channels of the finest skip.
        window: side of each LFT's window, see LocalFeatureTransformer.
        num_heads: heads of LFTs and GFT; must divide width.
        depth: multi-branch blocks in each decoder step.

    Shapes:
        a list of (N, C_i, H / 2^i, W / 2^i) -> (N, width, H / reduction, W / reduction).

    Raises:
        ValueError: fewer than two maps have channels, a gap is between them, or an option is out of range.
    """

    def __init__(
        self, in_channels: Sequence[int], *, width: int = 16, window: int = 7, num_heads: int = 8, depth: int = 1
    ) -> None:
        super().__init__()
        self.levels = [level for level, channels in enumerate(in_channels) if channels]
        if len(self.levels) < 2 or self.levels[-1] - self.levels[0] != len(self.levels) - 1:
            raise ValueError(
                f"lmnet decoder: two or more maps in a row must have channels, got in_channels={list(in_channels)}. "
                "Use an encoder_depth of 2 or more."
            )
        channels = [in_channels[level] for level in self.levels]
        count = len(channels)
        self.out_channels, self.reduction = width, 2 ** self.levels[0]
        bottom = width * 2 ** (count - 1)
        self.pool = PyramidPool(channels)
        self.squeeze = ConvNormAct(self.pool.out_channels, out_channels=bottom, kernel_size=1)
        self.gft = GlobalFeatureTransformer(bottom, num_heads=num_heads)
        self.fusions, self.lfts, self.steps = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self._sources = [list(range(max(0, skip - 1), skip + 2)) for skip in range(count - 1)]
        for skip, sources in enumerate(self._sources):
            skip_width, deep_width = width * 2**skip, width * 2 ** (skip + 1)
            scales = [2.0 ** (skip - source) for source in sources]
            fusion = CrossScaleFusion([channels[source] for source in sources], out_channels=skip_width, scales=scales)
            self.fusions.append(fusion)
            self.lfts.append(LocalFeatureTransformer(skip_width, window=window, num_heads=num_heads))
            self.steps.append(FusionDecoder([deep_width, skip_width], depth=depth))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the finest decoded map."""
        maps = [features[level] for level in self.levels]
        x = self.gft(self.squeeze(self.pool(*maps)))
        for skip in reversed(range(len(self.steps))):
            fused = self.fusions[skip](*(maps[source] for source in self._sources[skip]))
            x = self.steps[skip](x, self.lfts[skip](fused))
        return x
