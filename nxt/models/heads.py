"""stub"""

from typing import Any

from torch import nn

from nxt.models.network import Network


class HeadedNetwork(nn.Module):
    backbone_network: Network
    spec: Any
    head: str
    num_classes: int


def build_with_head(*a: Any, **k: Any) -> HeadedNetwork: ...


BACKBONE = "backbone_network."
