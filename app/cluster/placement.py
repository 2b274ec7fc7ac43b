"""Where in a cluster a trial is put: on the node with the most left, or on that with the least."""

from collections.abc import Iterable, Mapping

from ray._private.state import available_resources_per_node
from ray.air import ResourceRequest
from ray.air.execution import PlacementGroupResourceManager
from ray.util.placement_group import PlacementGroup, placement_group

Amounts = Mapping[str, float]
"""CPUs, GPUs and whatever else, by Ray's names."""


class _Aimed(ResourceRequest):
    """A request that equals another one, and wishes for a node."""

    def __init__(self, request: ResourceRequest, node: str) -> None:
        super().__init__(request.bundles, request.strategy)
        self.node = node

    def to_placement_group(self) -> PlacementGroup:
        """Its place on that node, or elsewhere where that has no room after all."""
        # With other strategies Ray does not heed the wish.
        group: PlacementGroup = placement_group(
            self.bundles, "STRICT_PACK", _soft_target_node_id=self.node
        )
        return group


class Packed(PlacementGroupResourceManager):
    """Has a trial of one worker put where the least is left that will do: whole nodes stay free.

    Workers of one trial are packed by Ray already.
    """

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask Ray for a trial's place."""
        bundles = resource_request.bundles
        if len(bundles) == 1:
            node = fullest(available_resources_per_node(), bundles[0])
            resource_request = resource_request if node is None else _Aimed(resource_request, node)
        super().request_resources(resource_request)


def fullest(nodes: Mapping[str, Amounts], asked: Amounts) -> str | None:
    """The node with the least left that has room; one without GPUs first, unless they are asked."""
    with_room = [node for node, left in nodes.items() if _holds(left, asked.items())]
    return min(
        with_room,
        key=lambda node: (nodes[node].get("GPU", 0.0), nodes[node].get("CPU", 0.0), node),
        default=None,
    )


def _holds(left: Amounts, asked: Iterable[tuple[str, float]]) -> bool:
    return all(left.get(name, 0.0) >= amount - 1e-9 for name, amount in asked)


PLACED_BY = {
    # Ray puts each trial where most is left.
    "spread": PlacementGroupResourceManager,
    "pack": Packed,
}
"""What gives Tune its trials' places, by the placement's name."""
