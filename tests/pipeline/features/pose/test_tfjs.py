"""TensorFlow.js graphs read and run by torch, against the same layers written down by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.features.pose.tfjs import Graph
from pipeline.features.runtime import Compiled


def text(word: str) -> dict[str, str]:
    return {"s": base64.b64encode(word.encode()).decode()}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def write(path: Path, nodes: list[dict], arrays: dict[str, np.ndarray]) -> None:
    """Write a graph with float16 weights, as converted networks have them."""
    listed, data = [], b""
    for name, array in arrays.items():
        entry = {"name": name, "shape": list(array.shape), "dtype": "int32"}
        if array.dtype == np.float16:
            half = {"dtype": "float16", "original_dtype": "float32"}
            entry |= {"dtype": "float32", "quantization": half}
        listed.append(entry)
        data += array.tobytes()
        nodes = [*nodes, {"name": name, "op": "Const"}]
    model = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": [path.with_suffix(".bin").name], "weights": listed}],
    }
    path.write_text(json.dumps(model), encoding="utf-8")
    path.with_suffix(".bin").write_bytes(data)


@pytest.fixture
def graph(tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    """A stride-2 SAME convolution, a depthwise one after padding, twice the size, a sum, a head."""
    rng = np.random.default_rng(0)
    arrays = {
        "k1": rng.normal(size=(3, 3, 3, 8)).astype(np.float16),
        "b1": rng.normal(size=8).astype(np.float16),
        "k2": rng.normal(size=(3, 3, 8, 1)).astype(np.float16),
        "half": np.float16([0.5]),
        "pads": np.int32([[0, 0], [1, 1], [1, 1], [0, 0]]),
        "size": np.int32([8, 6]),
    }
    fused = {"list": {"s": [text("BiasAdd")["s"], text("Relu6")["s"]]}}
    same, valid, two, one = text("SAME"), text("VALID"), ints(1, 2, 2, 1), ints(1, 1, 1, 1)
    centres = {"half_pixel_centers": {"b": True}}
    nodes = [
        {"name": "x", "op": "Placeholder"},
        {
            "name": "conv",
            "op": "_FusedConv2D",
            "input": ["x", "k1", "b1"],
            "attr": {"strides": two, "padding": same, "fused_ops": fused},
        },
        {"name": "pad", "op": "Pad", "input": ["conv", "pads"]},
        {
            "name": "deep",
            "op": "DepthwiseConv2dNative",
            "input": ["pad", "k2"],
            "attr": {"strides": one, "padding": valid},
        },
        {"name": "sum", "op": "AddV2", "input": ["deep", "conv"]},
        {
            "name": "pool",
            "op": "MaxPool",
            "input": ["sum"],
            "attr": {"ksize": two, "strides": two, "padding": valid},
        },
        {"name": "big", "op": "ResizeBilinear", "input": ["pool", "size"], "attr": centres},
        {"name": "less", "op": "Sub", "input": ["big", "half"]},
        {"name": "out", "op": "Sigmoid", "input": ["less"]},
        {"name": "unused", "op": "NonMaxSuppressionV9", "input": ["out"]},
    ]
    write(tmp_path / "net.json", nodes, arrays)
    return tmp_path / "net.json", arrays


def test_a_graph_gives_what_its_layers_give(graph):
    path, arrays = graph
    x = torch.rand(2, 3, 15, 12)
    with torch.inference_mode():
        out, conv = Graph(path, ["out", "conv"])(x)
    k1, k2 = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("k1", "k2"))
    b1 = torch.from_numpy(arrays["b1"].astype(np.float32))
    padded = F.pad(x, (0, 1, 1, 1))  # SAME: the odd one below and to the right
    first = F.conv2d(padded, k1.permute(3, 2, 0, 1), b1, 2).clamp(0, 6)
    deep = F.conv2d(F.pad(first, (1, 1, 1, 1)), k2.permute(2, 3, 0, 1), groups=8)
    pooled = F.max_pool2d(deep + first, 2)
    big = F.interpolate(pooled, scale_factor=2, mode="bilinear", align_corners=False)
    assert conv.shape == (2, 8, 8, 6) and out.shape == (2, 8, 8, 6)
    torch.testing.assert_close(conv, first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out, torch.sigmoid(big - 0.5), atol=1e-5, rtol=1e-5)


def test_a_picture_is_padded_by_the_convolution_after_it_unless_others_want_it_padded(graph):
    x = torch.rand(2, 3, 15, 12)
    plain, both = Graph(graph[0], ["out"]), Graph(graph[0], ["out", "conv", "pad"])
    assert "pad" not in [name for name, _, _ in plain.steps]
    with torch.inference_mode():
        out, conv, padded = both(x)
        torch.testing.assert_close(plain(x)[0], out, rtol=0, atol=0)
    torch.testing.assert_close(padded, F.pad(conv, (1, 1, 1, 1)), rtol=0, atol=0)


@pytest.mark.long
def test_a_graph_gives_the_same_through_openvino(graph):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    net = Graph(graph[0], ["out"]).eval()
    run = Compiled(net, "float32")
    for size in ((15, 12), (16, 10)):
        x = torch.randn(2, 3, *size)
        with torch.inference_mode():
            torch.testing.assert_close(run(x)[0], net(x)[0], rtol=1e-4, atol=1e-5)


def test_what_is_no_such_graph_is_refused_by_name(graph, tmp_path):
    path, _ = graph
    with pytest.raises(ValueError, match=r"net\.json: unused: operator NonMaxSuppressionV9"):
        Graph(path, ["unused"])
    with pytest.raises(ValueError, match="has no output 'face'"):
        Graph(path, ["face"])
    data = path.with_suffix(".bin").read_bytes()
    for other in (data[:-2], data + b"\0"):
        path.with_suffix(".bin").write_bytes(other)
        with pytest.raises(ValueError, match=rf"net\.bin: {len(other):,} bytes"):
            Graph(path, ["out"])
    for words in (b"<html>", b"\xff\xfe\0", b"[]"):
        (tmp_path / "page.json").write_bytes(words)
        with pytest.raises(ValueError, match=r"page\.json: no TensorFlow\.js graph model"):
            Graph(tmp_path / "page.json", ["out"])
