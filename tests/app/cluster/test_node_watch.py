"""Nodes that join or leave while a run goes on, by Ray's table of nodes."""

from collections.abc import Mapping
from threading import Event
from typing import Any

from app.cluster.node_watch import NodeWatch
from app.run.store import StoreError


def node(number: int, *, is_alive: bool = True) -> dict[str, Any]:
    """A node as Ray lists it."""
    return {
        "NodeID": f"{number}" * 8,
        "Alive": is_alive,
        "NodeManagerAddress": f"10.0.0.{number}",
        "Resources": {"CPU": 2.0},
    }


class Watched:
    """A watch, and what it did."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem
        self.asked: list[Mapping[str, str]] = []
        self.said: list[str] = []
        self.lost: list[str] = []
        self.excluded: list[str] = []
        self.answered = Event()
        self.watch = NodeWatch(self.check, self.said.append, self.lost.append, self.exclude)

    def check(self, nodes: Mapping[str, str]) -> None:
        self.asked.append(nodes)
        try:
            if self.problem is not None:
                raise StoreError(self.problem)
        finally:
            self.answered.set()

    def exclude(self, excluded: Mapping[str, Any]) -> None:
        self.excluded.append(excluded["NodeManagerAddress"])

    def look_until_answered(self, *nodes: dict[str, Any]) -> None:
        self.watch.look(nodes)
        self.answered.wait(60)
        while self.watch._checks:
            self.watch.look(nodes)


def test_a_node_that_joins_is_asked_once_and_those_of_the_start_never() -> None:
    watched = Watched()
    watched.watch.look([node(1), node(2)])
    watched.look_until_answered(node(1), node(2), node(3))
    watched.watch.look([node(1), node(2), node(3)])
    assert watched.asked == [{"33333333": "10.0.0.3"}]
    assert watched.said == watched.lost == watched.excluded == []


def test_a_node_that_sees_another_place_is_named_at_once_and_at_the_end_and_kept_from_trials() -> (
    None
):
    watched = Watched("--runs: /a must be the same folder on all nodes")
    watched.watch.look([node(1)])
    watched.look_until_answered(node(1), node(3))
    sentence = (
        "node 10.0.0.3 (333333) joined and is kept from trials: --runs: /a must be the same folder"
        " on all nodes"
    )
    assert (watched.said, watched.excluded) == ([sentence], ["10.0.0.3"])
    watched.watch.finish()
    assert watched.said == [sentence] * 2


def test_a_node_that_is_lost_is_named_once() -> None:
    watched = Watched()
    watched.watch.look([node(1), node(2)])
    watched.watch.look([node(1), node(2, is_alive=False)])
    watched.watch.look([node(1)])
    assert watched.lost == ["10.0.0.2 (222222)"]
