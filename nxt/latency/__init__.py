"""Measures the latencies of a space's parts on a device, and writes them as a table that `nxt.arch.latency` reads.

Needs torch, or onnx and onnxruntime; neither Ray nor Optuna, so that it runs on devices that only infer.
"""
