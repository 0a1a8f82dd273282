"""The harness of the benchmarks: what it counts, and what it refuses to."""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import _harness
from benchmarks._harness import Benchmark, Side, UnequalResultsError, digest_arrays


class Clock:
    """A clock that only the timed work moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.order: list[str] = []
        monkeypatch.setattr(_harness.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(_harness.time, "process_time", lambda: 2 * self.now)

    def work(self, label: str, *seconds: float) -> Callable[[], str]:
        """Return work that takes the given times in turn; the last one for ever."""
        left = list(seconds)

        def run() -> str:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.order.append(label)
            return label

        return run

    def side(self, label: str, *seconds: float, **arrays: Any) -> Side:
        pixels = {name: np.asarray(value) for name, value in (arrays or {"image": [1.0, 2.0]}).items()}
        return Side(label, self.work(label, *seconds), lambda _: pixels)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def read_json(bench: Benchmark, path: Path) -> dict[str, Any]:
    bench.finish()
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_a_figure_follows_from_the_raw_timings(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    bench = Benchmark("Title.", ["--json", str(path)])
    ours = clock.side("ours", 50.0, 1.0, 2.0, 9.0)
    peer = clock.side("peer", 70.0, 3.0, 8.0, 4.0)
    (figure,) = bench.compare("cut", ours, [peer], repeats=3)
    # The warm-up, of 50 and 70 seconds, is in none of them.
    assert (figure.seconds_ours, figure.seconds_peer, figure.ratio) == (2.0, 4.0, 2.0)
    values = read_json(bench, path)
    assert values["cut_vs_peer_seconds_ours"] == [1.0, 2.0, 9.0]
    assert values["cut_vs_peer_seconds_peer"] == [3.0, 8.0, 4.0]
    assert values["cut_vs_peer_cpu_seconds_peer"] == [6.0, 16.0, 8.0]
    assert values["cut_vs_peer_repeats"] == 3
    assert values["cut_vs_peer_ratio"] == statistics.median([3, 8, 4]) / statistics.median([1, 2, 9])
    assert values["cut_vs_peer_digest_ours"] == values["cut_vs_peer_digest_peer"]


def test_named_figures_are_made_of_processor_time(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    bench = Benchmark("Title.", ["--json", str(path)])
    # Waiting takes wall time alone: of each two seconds of the peer one.
    cpu = iter([0.0, 1.0, 0.0, 3.0] * 2)
    monkeypatch.setattr(_harness.time, "process_time", lambda: next(cpu))
    (figure,) = bench.compare("cut", clock.side("ours", 2.0), [clock.side("peer", 10.0)], repeats=1)
    assert (figure.cpu_ratio, figure.ratio) in {(3.0, 5.0), (1 / 3, 5.0)}
    bench.name_figure("speedup", figure.cpu_ratio, figure.ratio)
    bench.name_figure("rounds", 4)
    values = read_json(bench, path)
    assert (values["speedup"], values["speedup_wall"], values["rounds"]) == (figure.cpu_ratio, 5.0, 4)
    assert "rounds_wall" not in values
    assert "rounds = 4" in capsys.readouterr().out


def test_an_absent_peer_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Benchmark("Title.", [])
    capsys.readouterr()
    assert bench.has("json")
    assert not bench.has("no_such_module")
    assert not bench.has("no_such_module")
    assert capsys.readouterr().out == "no_such_module is not installed\n"


def test_the_json_file_is_flat(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    bench = Benchmark("Title.", ["--quick", "--json", str(path)])
    bench.note(rows=7, layout="GZIP_2")
    bench.compare("cut", clock.side("ours", 1.0), [clock.side("peer", 2.0)], repeats=2)
    values = read_json(bench, path)
    assert values["quick"] is True
    assert values["cores"] == os.cpu_count()
    assert values["version_numpy"] == np.__version__
    assert values["version_lsst-images"] == importlib.metadata.version("lsst-images")
    assert (values["rows"], values["layout"]) == (7, "GZIP_2")
    for value in values.values():
        assert isinstance(value, str | int | float) or all(isinstance(item, float) for item in value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["figures.json"]


def test_the_sides_take_turns(clock: Clock) -> None:
    bench = Benchmark("Title.", [])
    sides = [clock.side(label, 1.0) for label in ("ours", "a", "b")]
    bench.compare("cut", sides[0], sides[1:], repeats=3)
    rounds = [clock.order[i : i + 3] for i in range(0, len(clock.order), 3)]
    assert len(rounds) == 4  # the warm-up and three
    assert all(sorted(order) == ["a", "b", "ours"] for order in rounds)
    assert {order[0] for order in rounds[1:]} == {"a", "b", "ours"}


def test_preparation_runs_each_time_and_is_not_counted(clock: Clock) -> None:
    calls = []

    def prepare() -> None:
        clock.now += 1000.0
        calls.append(clock.now)

    ours = Side("ours", clock.work("ours", 1.0), lambda _: {"image": np.zeros(1)}, prepare)
    (figure,) = Benchmark("Title.", []).compare(
        "cut", ours, [clock.side("peer", 5.0, image=np.zeros(1))], repeats=4
    )
    assert len(calls) == 5
    assert figure.seconds_ours == 1.0


def test_unequal_results_give_no_figure(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    bench = Benchmark("Title.", ["--json", str(path)])
    ours = clock.side("ours", 1.0, image=[1.0, 2.0, 3.0], mask=[0, 1])
    peer = clock.side("peer", 1.0, image=[1.0, 2.5, 3.0], mask=[0, 1])
    with pytest.raises(
        UnequalResultsError, match=r"cut: peer computed something else than ours.*image: 1 of 3"
    ):
        bench.compare("cut", ours, [peer], repeats=2)
    assert not path.exists()


def test_results_of_other_shape_are_unequal(clock: Clock) -> None:
    ours, peer = clock.side("ours", 1.0, image=np.zeros(4)), clock.side("peer", 1.0, image=np.zeros((2, 2)))
    with pytest.raises(UnequalResultsError, match=r"float64 \(4,\) against float64 \(2, 2\)"):
        Benchmark("Title.", []).compare("cut", ours, [peer], repeats=1)


def test_a_later_run_that_differs_is_noticed(clock: Clock) -> None:
    results = iter([1.0, 1.0, 2.0])
    peer = Side("peer", clock.work("peer", 1.0), lambda _: {"image": np.array([next(results)])})
    with pytest.raises(UnequalResultsError, match=r"cut: peer computed something else"):
        Benchmark("Title.", []).compare("cut", clock.side("ours", 1.0, image=[1.0]), [peer], repeats=3)


def test_a_peer_that_computes_less_is_compared_in_what_it_has(clock: Clock) -> None:
    ours = clock.side("ours", 1.0, image=[1.0], mask=[3])
    full, less = clock.side("full", 1.0, image=[1.0], mask=[3]), clock.side("less", 1.0, image=[1.0])
    assert len(Benchmark("Title.", []).compare("cut", ours, [full, less], repeats=1)) == 2
    with pytest.raises(UnequalResultsError, match=r"other gives \['spectrum'\], we \['image', 'mask'\]"):
        Benchmark("Title.", []).compare("cut", ours, [clock.side("other", 1.0, spectrum=[1.0])], repeats=1)


def test_labels_and_names_are_given_once(clock: Clock) -> None:
    bench = Benchmark("Title.", [])
    with pytest.raises(ValueError, match=r"Labels must differ; got \['a', 'a'\]"):
        bench.compare("cut", clock.side("a", 1.0), [clock.side("a", 1.0)], repeats=1)
    bench.note(rows=1)
    with pytest.raises(ValueError, match="rows = 1 is recorded already; got 2"):
        bench.note(rows=2)


def test_the_table_names_the_machine_and_the_medians(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Benchmark("Title.\n\nMore.", [], versions=("no-such-distribution",))
    bench.compare("cut", clock.side("ours", 0.5), [clock.side("peer", 2.0)], repeats=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Title."
    assert f"cores {os.cpu_count()}" in lines[1]
    assert f"numpy {np.__version__}" in lines[1]
    assert "no-such-distribution absent" in lines[1]
    assert lines[-1].split() == ["cut", "peer", "500.0", "2000.0", "4.00", "4.00", "3"]


def test_a_digest_tells_values_types_shapes_and_names_apart() -> None:
    base = {"image": np.array([[1.0, np.nan], [0.0, 2.0]], dtype=np.float32)}
    digest = digest_arrays(base)
    # The byte order, the sign of a NaN and the memory layout are no difference.
    assert digest_arrays({"image": base["image"].astype(">f4")}) == digest
    assert digest_arrays({"image": np.copysign(base["image"], np.float32([[1, -1], [1, 1]]))}) == digest
    assert digest_arrays({"image": np.asfortranarray(base["image"])}) == digest
    others = [
        {"image": base["image"].astype(np.float64)},
        {"image": base["image"].ravel()},
        {"pixels": base["image"]},
        {"image": base["image"] + np.float32(1e-6)},
        {"image": base["image"], "mask": np.zeros(1)},
    ]
    assert len({digest, *(digest_arrays(other) for other in others)}) == 6
