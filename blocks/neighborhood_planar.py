"""Neighbourhood attention in plain PyTorch operations, without gathering the windows: exact, in little memory.

Along each side of the map the queries fall into three runs: at the low border all share the first window, in the
middle the windows slide along, at the high border all share the last one. For queries of one run down and one run
across, every window is one strided view of the keys, so scores and sums are a few elementwise operations on a view.
Rows are taken in chunks that stay in cache; the backward pass computes the weights again instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1 << 19  # elements of the largest temporary


class Span(NamedTuple):
    """A run of queries along one side of the map whose windows move alike."""

    query: int  # first query
    length: int  # queries in the run
    key: int  # where the first query's window starts
    slides: bool  # each next query's window starts one further; else all start at `key`


def spans(length: int, window: int) -> list[Span]:
    """Return the runs of queries along a side of ``length``; ``window`` must not be larger."""
    before = window // 2
    after = window - 1 - before
    runs = [
        Span(0, before, 0, False),
        Span(before, length - after - before, 0, True),
        Span(length - after, after, length - window, False),
    ]
    return [run for run in runs if run.length]


class Scratch:
    """Buffers that are used again: fresh large ones cost more in page faults than the arithmetic on them."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.buffers: dict[str, Tensor] = {}
        self.bordered_for: tuple[bool, bool, torch.Size] | None = None

    def take(self, name: str, *shape: int) -> Tensor:
        """Return an uninitialised tensor of ``shape`` in the buffer ``name``."""
        size = torch.Size(shape).numel()
        if name not in self.buffers or self.buffers[name].numel() < size:
            self.buffers[name] = self.like.new_empty(size)
        return self.buffers[name][:size].view(shape)


class Region:
    """The queries of one run of rows and one run of columns, with views of them, of their windows and for their sums.

    Maps are planar: (D, B, H, W) with D = head size and B = batch * heads. kh and kw are the window's sides.
    """

    def __init__(self, sides: tuple[int, int], rows: Span, columns: Span, scratch: Scratch) -> None:
        self.sides, self.rows, self.columns, self.scratch = sides, rows, columns, scratch

    def queries(self, x: Tensor) -> Tensor:
        """View (D, B, H, W) as the region's pixels, (D, B, R, X)."""
        (top, height, *_), (left, width, *_) = self.rows, self.columns
        return x[:, :, top : top + height, left : left + width]

    def windows(self, x: Tensor) -> Tensor:
        """View (D, B, H, W) as the window of each of the region's pixels, (D, B, kh, kw, R, X)."""
        depth, batch, height, width = x.stride()
        shape = (x.shape[0], x.shape[1], *self.sides, self.rows.length, self.columns.length)
        strides = (depth, batch, height, width, height * self.rows.slides, width * self.columns.slides)
        start = x.storage_offset() + self.rows.key * height + self.columns.key * width
        return x.as_strided(shape, strides, start)

    def compare(self, pixels: Tensor, keys: Tensor, name: str) -> Tensor:
        """Return the products of each pixel with its window, summed over D: (B, kh, kw, R, X) in buffer ``name``."""
        pixels, windows = self.queries(pixels)[:, :, None, None], self.windows(keys)
        total = self.scratch.take(name, *windows.shape[1:])
        if len(windows) <= 2:
            torch.mul(pixels[0], windows[0], out=total)
            return total.addcmul_(pixels[1], windows[1]) if len(windows) == 2 else total
        return torch.sum(torch.mul(pixels, windows, out=self.scratch.take("terms", *windows.shape)), dim=0, out=total)

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the softmax over each window, (B, kh, kw, R, X)."""
        scores = self.compare(query, key, "scores")
        weights = self.scratch.take("weights", *scores.shape)
        torch.softmax(scores.flatten(1, 2), dim=1, out=weights.flatten(1, 2))
        return weights

    def collect(self, weights: Tensor, values: Tensor, out: Tensor) -> None:
        """Write to the region's pixels of ``out`` the sums over their windows of weights * values."""
        windows = self.windows(values)
        terms = torch.mul(weights, windows, out=self.scratch.take("terms", *windows.shape))
        torch.sum(terms.flatten(2, 3), dim=2, out=self.queries(out))

    def spread(self, weights: Tensor, pixels: Tensor, total: Tensor) -> None:
        """Add to every key's place in ``total`` the weights * pixels of all the region's windows that it is in.

        The products are written into a zero-bordered buffer. Reading it with the offset in the window subtracted from
        the place brings the terms of one key on top of each other.
        """
        pixels = self.queries(pixels)[:, :, None, None]
        terms, by_key = self._bordered(len(pixels), weights.shape)
        torch.mul(weights, pixels, out=terms)
        height, width = by_key.shape[4:]
        top, left = self.rows.key, self.columns.key
        total[:, :, top : top + height, left : left + width] += by_key.sum((2, 3))

    def backward(
        self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, q_grad: Tensor, k_grad: Tensor, v_grad: Tensor
    ) -> None:
        """Write the gradient of the scaled query, and add those of key and value, of the region's pixels."""
        weights = self.weights(query, key)
        self.spread(weights, grad, v_grad)
        slope = self.compare(grad, value, "slope")
        mean = torch.mul(weights, slope, out=self.scratch.take("scores", *slope.shape)).flatten(1, 2).sum(1)
        slope.sub_(mean[:, None, None]).mul_(weights)
        self.collect(slope, key, q_grad)
        self.spread(slope, query, k_grad)

    def _bordered(self, depth: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return two views of one buffer: (D, B, kh, kw, R, X) by query, and (D, B, ., ., rows, columns) by key."""
        batch, kh, kw, height, width = shape
        down, across = self.rows.slides, self.columns.slides
        tall, wide = height + (kh - 1) * down, width + (kw - 1) * across
        border = (kh - 1) * down * wide + (kw - 1) * across
        # Steps of one offset in the window; the odd terms let the two summed axes merge into one.
        aside = tall * wide + (across and not down)
        below = kw * aside + (wide - kw if down and across else 0)
        block = kh * below
        buffer = self.scratch.take("bordered", border + depth * batch * block)
        if self.scratch.bordered_for != (down, across, shape):
            self.scratch.bordered_for = (down, across, shape)
            buffer.zero_()  # what lies between the terms stays zero: only terms are ever written
        outer = (batch * block, block)
        terms = buffer.as_strided((depth, *shape), (*outer, below, aside, wide, 1), border)
        summed_down, place_down = ((kh, below - wide), (tall, wide)) if down else ((height, wide), (kh, below))
        summed_across, place_across = ((kw, aside - 1), (wide, 1)) if across else ((width, 1), (kw, aside))
        axes = (summed_down, summed_across, place_down, place_across)
        sizes, strides = (depth, batch, *(axis[0] for axis in axes)), (*outer, *(axis[1] for axis in axes))
        return terms, buffer.as_strided(sizes, strides, border)


def regions(maps: Tensor, sides: tuple[int, int], rows: list[Span], columns: list[Span]) -> Iterator[Region]:
    """Split the map into regions, each small enough for the cache."""
    scratch = Scratch(maps)
    depth, batch = maps.shape[:2]
    for across in columns:
        row = depth * batch * sides[0] * sides[1] * across.length
        step = max(1, CHUNK // row)
        for down in rows:
            for first in range(0, down.length, step):
                key = down.key + first * down.slides
                chunk = Span(down.query + first, min(step, down.length - first), key, down.slides)
                yield Region(sides, chunk, across, scratch)


class Panel(NamedTuple):
    """A part of the map that is worked on as one: its middle columns, or a border strip turned on its side.

    A strip is only a few columns wide; on its side the long way is the one that operations run along.
    """

    queries: slice  # columns
    keys: slice  # columns
    turned: bool
    sides: tuple[int, int]
    rows: list[Span]
    columns: list[Span]

    def cut(self, x: Tensor, columns: slice) -> Tensor:
        """Return these columns of (D, B, H, W): a copy when turned, else the whole map itself."""
        return x[..., columns].transpose(2, 3).contiguous() if self.turned else x


def panels(height: int, width: int, window: int) -> list[Panel]:
    """Split a map into its middle and its border strips."""
    kh, kw = min(window, height), min(window, width)
    rows = spans(height, kh)
    found = []
    for run in spans(width, kw):
        queries, keys = slice(run.query, run.query + run.length), slice(run.key, run.key + kw)
        if run.slides:
            found.append(Panel(queries, keys, False, (kh, kw), rows, [run]))
        else:
            found.append(Panel(queries, keys, True, (kw, kh), [Span(0, run.length, 0, False)], rows))
    return found


def to_planar(x: Tensor, scale: float = 1.0) -> Tensor:
    """Copy (N, H, W, heads, D) to (D, N * heads, H, W), at least in float32."""
    n, height, width, heads, depth = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    planar = x.new_empty((depth, n, heads, height, width), dtype=dtype)
    view = planar.permute(1, 3, 4, 2, 0)
    if scale == 1.0:
        view.copy_(x)
    else:
        torch.mul(x.to(dtype), scale, out=view)
    return planar.flatten(1, 2)


def from_planar(planar: Tensor, like: Tensor) -> Tensor:
    """Copy (D, N * heads, H, W) to a contiguous (N, H, W, heads, D) with the shape and type of ``like``."""
    n, height, width, heads, depth = like.shape
    out = like.new_empty(like.shape)
    return out.copy_(planar.view(depth, n, heads, height, width).permute(1, 3, 4, 2, 0))


def planar_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention, (N, H, W, heads, D); without a gradient of its own."""
    q, k, v = to_planar(query, scale), to_planar(key), to_planar(value)
    out = torch.empty_like(q)
    for panel in panels(query.shape[1], query.shape[2], window):
        part_q, part_out = panel.cut(q, panel.queries), panel.cut(out, panel.queries)
        part_k, part_v = panel.cut(k, panel.keys), panel.cut(v, panel.keys)
        for region in regions(part_q, panel.sides, panel.rows, panel.columns):
            region.collect(region.weights(part_q, part_k), part_v, part_out)
        if panel.turned:
            out[..., panel.queries] = part_out.transpose(2, 3)
    return from_planar(out, query)


def planar_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value for the gradient of the attention."""
    g, q, k, v = to_planar(grad), to_planar(query, scale), to_planar(key), to_planar(value)
    q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for panel in panels(query.shape[1], query.shape[2], window):
        part_g, part_q = panel.cut(g, panel.queries), panel.cut(q, panel.queries)
        part_k, part_v = panel.cut(k, panel.keys), panel.cut(v, panel.keys)
        sums = q_grad, k_grad, v_grad
        if panel.turned:
            sums = torch.empty_like(part_q), torch.zeros_like(part_k), torch.zeros_like(part_v)
        for region in regions(part_q, panel.sides, panel.rows, panel.columns):
            region.backward(part_g, part_q, part_k, part_v, *sums)
        if panel.turned:
            q_grad[..., panel.queries] = sums[0].transpose(2, 3)
            k_grad[..., panel.keys] += sums[1].transpose(2, 3)
            v_grad[..., panel.keys] += sums[2].transpose(2, 3)
    del g, q, k, v, part_g, part_q, part_k, part_v, region  # the copies below would be the peak of memory
    return from_planar(q_grad.mul_(scale), query), from_planar(k_grad, key), from_planar(v_grad, value)
