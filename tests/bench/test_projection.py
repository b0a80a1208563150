import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.bench.projection import (
    Machine,
    Step,
    all_reduce_seconds,
    calibrate,
    efficiency,
    exchange_seconds,
    expected_maximum,
    negotiation_seconds,
    project,
    ring_seconds,
    spread_for,
    step_seconds,
    straggler_factor,
)
from gan3d.config.systems import Link, System, load_system
from gan3d.errors import ConfigError, UsageError

SYSTEMS = Path(__file__).parents[2] / "configs" / "systems"
LINK = Link(latency_us=2.0, bandwidth_gb_s=10.0, source="a test")
NO_LATENCY = Link(latency_us=0.0, bandwidth_gb_s=10.0, source="a test")
SHARED = Link(latency_us=0.5, bandwidth_gb_s=5.0, source="a test")
MACHINE = Machine(ranks_per_node=4, intra_node=SHARED, inter_node=LINK)
STEP = Step(
    compute_seconds=2.0,
    spread=0.01,
    exchanges=4,
    gradient_bytes=8e6,
    fusion_bytes=128 * 2**20,
    cycle_seconds=1e-3,
)


def alone(ranks_per_node=1):
    return replace(MACHINE, ranks_per_node=ranks_per_node)


def test_a_single_rank_pays_nothing():
    assert ring_seconds(1e6, 1, LINK) == 0.0
    assert exchange_seconds(STEP, alone(), 1) == 0.0
    assert straggler_factor(STEP, 1) == 1.0
    assert step_seconds(STEP, alone(), 1) == STEP.compute_seconds
    assert efficiency(STEP, MACHINE, 1) == 1.0


@given(ranks=st.integers(1, 2000))
def test_latency_grows_linearly_with_the_ranks(ranks):
    assert ring_seconds(0.0, ranks, LINK) == pytest.approx((ranks - 1) * ring_seconds(0.0, 2, LINK))
    assert ring_seconds(0.0, 2, LINK) == pytest.approx(2 * 2e-6)


@given(size=st.floats(1.0, 1e12))
def test_the_bytes_pass_every_rank_twice_when_ranks_are_many(size):
    assert ring_seconds(size, 10**6, NO_LATENCY) == pytest.approx(2 * size / 10e9, rel=1e-5)
    assert ring_seconds(size, 2, NO_LATENCY) == pytest.approx(size / 10e9)


@given(nodes=st.integers(2, 500), ranks=st.integers(1, 16), size=st.floats(0.0, 1e9))
def test_rings_by_node_are_taken_where_one_through_all_ranks_is_slower(nodes, ranks, size):
    machine = alone(ranks)
    slowest = Link(latency_us=2.0, bandwidth_gb_s=5.0 if ranks > 1 else 10.0, source="a test")
    flat = ring_seconds(size, nodes * ranks, slowest)
    by_node = ring_seconds(size, ranks, SHARED) + ring_seconds(size, nodes, LINK)
    assert all_reduce_seconds(size, machine, nodes) == pytest.approx(min(flat, by_node))


def test_negotiation_takes_half_a_cycle_and_a_message_for_each_doubling_of_the_ranks():
    assert negotiation_seconds(1e-3, alone(), 128) == pytest.approx(0.5e-3 + 7 * 2e-6)
    assert negotiation_seconds(1e-3, alone(), 129) == pytest.approx(0.5e-3 + 8 * 2e-6)
    assert negotiation_seconds(1e-3, MACHINE, 1) == pytest.approx(0.5e-3 + 2 * 0.5e-6)


def test_gradients_beyond_the_fusion_threshold_travel_in_several_buffers():
    def exchanged(fusion_bytes):
        step = replace(STEP, exchanges=1, gradient_bytes=1e6, fusion_bytes=fusion_bytes)
        return exchange_seconds(step, alone(), 2)

    # Two messages between two ranks for each buffer more; the bytes stay the same.
    assert exchanged(1e6 / 2) - exchanged(1e6) == pytest.approx(2 * 2e-6)
    assert exchanged(1e6 / 10) - exchanged(1e6) == pytest.approx(9 * 2 * 2e-6)


@pytest.mark.parametrize(
    ("draws", "known"),
    # 1/sqrt(pi) and 3/(2 sqrt(pi)); the others: Harter, Biometrika 48 (1961), table 1.
    [
        (1, 0.0),
        (2, 1 / math.sqrt(math.pi)),
        (3, 1.5 / math.sqrt(math.pi)),
        (10, 1.53875),
        (100, 2.50759),
    ],
)
def test_the_expected_maximum_of_normal_draws_is_the_known_one(draws, known):
    assert expected_maximum(draws) == pytest.approx(known, abs=1e-5)


@given(draws=st.integers(2, 10**6))
def test_the_expected_maximum_stays_below_its_limit(draws):
    assert expected_maximum(draws - 1) < expected_maximum(draws) < math.sqrt(2 * math.log(draws))


@pytest.mark.parametrize("ranks", [2, 16, 512])
def test_waiting_for_the_slowest_agrees_with_simulated_steps(ranks):
    step = replace(STEP, spread=0.05)
    rng = np.random.default_rng(ranks)
    parts = 1.0 + step.spread * math.sqrt(step.exchanges) * rng.standard_normal(
        (10**6 // ranks, step.exchanges, ranks)
    )
    # Parts that vary independently add up to steps that vary by the spread.
    assert parts.mean(axis=1).std() == pytest.approx(step.spread, rel=0.01)
    simulated = parts.max(axis=2).mean()
    assert straggler_factor(step, ranks) - 1.0 == pytest.approx(simulated - 1.0, rel=0.01)


@given(ranks=st.integers(1, 10**5))
def test_without_spread_nobody_waits(ranks):
    assert straggler_factor(replace(STEP, spread=0.0), ranks) == 1.0


@given(nodes=st.integers(1, 300), spread=st.floats(0.0, 0.2), seconds=st.floats(0.1, 10.0))
def test_a_calibrated_step_lasts_as_long_as_was_published(nodes, spread, seconds):
    step = calibrate(replace(STEP, spread=spread), MACHINE, nodes, seconds)
    assert step_seconds(step, MACHINE, nodes) == pytest.approx(seconds)


def test_a_throughput_that_the_network_rules_out_is_refused():
    with pytest.raises(UsageError, match="shorter than its exchanges"):
        calibrate(STEP, MACHINE, 128, 1e-4)


@given(nodes=st.integers(2, 300), spread=st.floats(0.001, 0.1))
def test_the_spread_that_gives_an_efficiency_is_found(nodes, spread):
    reached = efficiency(replace(STEP, spread=spread), MACHINE, nodes)
    assert spread_for(reached, STEP, MACHINE, nodes) == pytest.approx(spread, rel=1e-6)


def test_an_efficiency_beyond_the_network_needs_no_spread():
    assert spread_for(1.0, STEP, MACHINE, 128) is None


@pytest.mark.parametrize("name", ["stampede2", "piz-daint"])
def test_shipped_systems_are_projected_beside_what_is_published(name):
    system = load_system(SYSTEMS / f"{name}.yaml")
    projection = project(system, STEP)
    efficiencies = [point["efficiency"] for point in projection["projected"]]
    assert efficiencies[0] == 1.0
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert [point["nodes"] for point in projection["projected"]] == system.nodes
    assert [line["spread"] for line in projection["sensitivity"]] == [0.0, 0.005, 0.01, 0.02]
    by_spread = [line["efficiency"][-1] for line in projection["sensitivity"]]
    assert by_spread == sorted(by_spread, reverse=True)
    [point] = projection["published"]
    assert 0.5 < point["projected_efficiency"] < 1.0


def test_the_projected_throughput_of_stampede2_is_the_published_one():
    projection = project(load_system(SYSTEMS / "stampede2.yaml"), STEP)
    [point] = [point for point in projection["projected"] if point["nodes"] == 128]
    assert point["ranks"] == 512
    assert point["showers_per_second"] == pytest.approx(180_000 / 120)


def test_a_spread_of_the_system_itself_wins_over_the_measured_one():
    given_spread = {"value": 0.003, "source": "a test"}
    system = load_system(SYSTEMS / "stampede2.yaml").model_dump() | {"spread": given_spread}
    projection = project(System.model_validate(system), STEP)
    assert projection["parameters"]["spread"] == 0.003
    assert projection["parameters"]["spread_source"] == "a test"


def test_a_number_without_a_source_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        (SYSTEMS / "piz-daint.yaml").read_text().replace('  source: "not used', '  sauce: "')
    )
    with pytest.raises(ConfigError, match=r"intra_node.sauce: unknown key; did you mean"):
        load_system(path)
