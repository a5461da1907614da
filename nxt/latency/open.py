"""Opens a runtime; only the one that is asked for is imported, since a device may have no other."""

from __future__ import annotations

from importlib.util import find_spec

from nxt.errors import RunError
from nxt.latency.runtime import RUNTIMES, Asked, Runtime


def open_runtime(asked: Asked, threads: int = 0) -> Runtime:
    """Opens a runtime.

    Args:
        asked: How latencies are to be taken.
        threads: CPU threads; 0: as many as the runtime takes by itself.

    Raises:
        RunError: if its packages are missing.
        DeviceError: if there is no such device.
    """
    if missing := [name for name in RUNTIMES[asked.runtime] if find_spec(name) is None]:
        other = next(name for name in RUNTIMES if name != asked.runtime)
        raise RunError(
            f"`runtime` {asked.runtime} needs {' and '.join(missing)}: install it, or give `runtime` {other}"
        )
    if asked.runtime == "torch":
        from nxt.latency.torch_runtime import TorchRuntime

        return TorchRuntime(asked, threads)
    from nxt.latency.onnx_runtime import OnnxRuntime

    return OnnxRuntime(asked, threads)
