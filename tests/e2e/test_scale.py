"""The simulation of a week: its engine agrees with closed forms, it delivers every byte once, and docs/performance/scale.md has its tables."""

import json
import math
import os
import random
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

BENCH = os.path.join(sluice.ROOT, "tests", "bench")
sys.path.insert(0, BENCH)
import fluid
import scale_costs
import simulate_week

SCRIPT = os.path.join(BENCH, "simulate_week.py")


def queue(load, draw, capacity, rate_max, jobs, seed=1):
    """Poisson arrivals at one station with one resource: the station, and (work, time) of each job."""
    rng = random.Random(seed)
    world = fluid.World()
    station = fluid.Station(world, (capacity,))
    done = []

    def arrive(work):
        began = world.now
        station.add(fluid.Flow(station, work, (1,), lambda: done.append((work, world.now - began)), rate_max))
    when = 0.0
    for _ in range(jobs):
        when += rng.expovariate(load)
        world.at(when, lambda work=draw(rng): arrive(work))
    world.run()
    return station, done


def mean(values):
    values = list(values)
    return sum(values) / len(values)


class EngineTest(unittest.TestCase):
    """Mean service is 1 everywhere, so a queue's load is its rate of arrivals."""

    EXPONENTIAL = staticmethod(lambda rng: rng.expovariate(1))
    UNEVEN = staticmethod(lambda rng: rng.expovariate(0.2) if rng.random() < 0.1 else rng.expovariate(1.8))

    def test_a_shared_processor_has_the_mean_time_of_the_closed_form_whatever_the_work_looks_like(self):
        for name, draw in (("exponential", self.EXPONENTIAL), ("constant", lambda rng: 1.0), ("uneven", self.UNEVEN)):
            _, done = queue(0.5, draw, 1, math.inf, 10_000)
            took, expected = mean(time for _, time in done), mean(work for work, _ in done) / (1 - 0.5)
            self.assertLess(abs(took / expected - 1), 0.06, f"{name}: {took}, and M/G/1-PS has {expected}")

    def test_time_is_proportional_to_work_as_it_is_where_all_share(self):
        _, done = queue(0.5, self.EXPONENTIAL, 1, math.inf, 10_000)
        for low, high in ((0.2, 0.6), (1, 2), (2, 9)):
            slowdown = mean(time / work for work, time in done if low <= work < high)
            self.assertLess(abs(slowdown / 2 - 1), 0.06, f"work of {low} to {high}: {slowdown}, and M/M/1-PS has 2")

    def test_two_cores_of_which_a_job_uses_one_have_the_mean_time_of_two_servers(self):
        _, done = queue(1.2, self.EXPONENTIAL, 2, 1, 10_000)
        took, expected = mean(time for _, time in done), 1 / (1 - 0.6 ** 2)
        self.assertLess(abs(took / expected - 1), 0.06, f"{took}, and M/M/2 has {expected}")

    def test_littles_law_and_the_work_served_are_exact(self):
        station, done = queue(0.7, self.UNEVEN, 1, math.inf, 3_000)
        self.assertEqual(len(done), 3_000)
        self.assertAlmostEqual(station.flow_seconds / sum(time for _, time in done), 1, 9)
        self.assertAlmostEqual(station.total(0) / sum(work for work, _ in done), 1, 9)
        self.assertTrue(all(time >= work * (1 - 1e-6) for work, time in done))

    def rates(self, capacities, *flows):
        station = fluid.Station(fluid.World(), capacities)
        flows = [fluid.Flow(station, 1, needs, None, rate_max) for needs, rate_max in flows]
        fluid.fair_rates(flows, capacities)
        return [round(flow.rate, 9) for flow in flows]

    def test_what_one_leaves_the_others_take(self):
        self.assertEqual(self.rates((12,), ((1,), 2), ((1,), math.inf), ((1,), math.inf)), [2, 5, 5])

    def test_each_gets_the_same_share_of_what_it_needs_most(self):
        # The example of "Dominant Resource Fairness" (Ghodsi and others, 2011): 9 cores, 18 GB; 1 and 4 each, 3 and 1 each.
        self.assertEqual(self.rates((9, 18), ((1, 4), math.inf), ((3, 1), math.inf)), [3, 2])

    def test_who_needs_nothing_of_a_full_resource_goes_on(self):
        self.assertEqual(self.rates((1, 10), ((1, 0), math.inf), ((1, 0), math.inf), ((0, 1), math.inf)), [0.5, 0.5, 10])

    def test_a_failure_stops_all_and_has_done_again_what_it_undid(self):
        world = fluid.World()
        station = fluid.Station(world, (1,))
        ends = {}
        for name, step in (("pieces", 2.0), ("kept", 0.0)):
            station.add(fluid.Flow(station, 10, (1,), lambda name=name: ends.update({name: world.now}), step=step))
        world.at(6.0, lambda: station.fail(lambda flow: (flow.units - flow.left) % flow.step if flow.step else 0))  # 3 done of each
        world.at(106.0, station.restart)
        world.run()
        self.assertEqual({name: round(when, 6) for name, when in ends.items()}, {"kept": 120, "pieces": 121})
        self.assertAlmostEqual(station.total(0), 21)

    def test_work_without_duration_and_the_past_are_refused(self):
        world = fluid.World()
        station = fluid.Station(world, (1,))
        for units, needs, rate_max in ((-1, (1,), 1), (1, (-1,), 1), (1, (1,), 0), (1, (0,), math.inf), (math.nan, (1,), 1)):
            with self.assertRaises(ValueError, msg=(units, needs, rate_max)):
                fluid.Flow(station, units, needs, None, rate_max)
        with self.assertRaises(ValueError):
            world.at(-1.0, lambda: None)


class WeekTest(unittest.TestCase):
    def options(self, *arguments):
        options = simulate_week.arguments().parse_args(arguments)
        options.nodes = [int(count) for count in options.nodes.split(",")]
        return options

    def run_of(self, *arguments, costs=None):
        options = self.options("--acos", "60", *arguments)
        return simulate_week.Run(costs or scale_costs.Costs(), options.scenario[0], options.nodes[0], options)

    def test_the_same_seed_gives_the_same_output_and_another_another(self):
        one, two = (sluice.run(sys.executable, SCRIPT, "--smoke", "--json").stdout for _ in range(2))
        self.assertEqual(one, two)
        results = json.loads(one)
        self.assertEqual([(result["scenario"], result["nodes"]) for result in results],
                         [(scenario, count) for scenario in ("today", "everyone", "again") for count in (1, 3)])
        for result in results:
            for end in ("completed", "ended"):
                times = list(result[end]["all"].values())
                self.assertEqual(times, sorted(times))
                self.assertGreater(times[0], 0)
        self.assertNotEqual(one, sluice.run(sys.executable, SCRIPT, "--smoke", "--json", "--seed", "2").stdout)

    def test_it_finds_a_byte_too_much_and_a_line_too_fast(self):
        # Run.check() compares what was asked for with what was served at the end of every run; here is what it is for.
        for spoil, words in ((lambda run: run.asked[0].__setitem__(simulate_week.NETWORK, 1.0), "asked, served"),
                             (lambda run: setattr(run.exports[3], "delivered", 0.0), "delivered"),
                             (lambda run: setattr(run.exports[3].aco, "line", 1.0), "faster than its line"),
                             (lambda run: setattr(run.exports[3], "completed", -1.0), "began")):
            run = self.run_of("--scenario", "today", "--nodes", "2")
            run.go()
            spoil(run)
            with self.assertRaisesRegex(AssertionError, words):
                run.check()

    def test_many_failures_cost_time_and_no_bytes(self):
        calm = self.run_of("--scenario", "again", "--nodes", "2").go()
        failing = self.run_of("--scenario", "again", "--nodes", "2", costs=scale_costs.Costs({"failures": 500})).go()
        self.assertGreater(failing["failures"], 500)
        self.assertEqual(failing["sent"], calm["sent"])
        self.assertGreater(failing["ended"]["all"]["p99"], calm["ended"]["all"]["p99"])

    def test_alone_on_a_node_an_export_takes_what_its_costs_add_up_to(self):
        costs = scale_costs.Costs({"failures": 1e-9, "line_max": 12.6e6})
        run = self.run_of("--scenario", "today", "--nodes", "500", "--acos", "1", costs=costs)
        run.go()
        for export in run.exports:
            people, stored = export.aco.people, export.stored
            write = max(stored * (1 + costs.export_read) / costs.disk,
                        (stored * costs.splice_cpu + export.segments * costs.seek_cpu) / min(export.files, costs.cores))
            expected = costs.kickoff_wait + people * costs.walk_cpu + write + costs.commit_wait
            self.assertAlmostEqual((export.completed - export.began) / expected, 1, 5)
            download = export.ended - export.completed - export.sent / export.aco.line
            self.assertTrue(-1e-6 <= download <= costs.poll_pause + 1e-6, download)

    def test_a_node_more_takes_acos_from_all_and_moves_no_other(self):
        acos = simulate_week.make_acos(scale_costs.Costs(), 500, random.Random(1))
        simulate_week.place(acos, 8, "rendezvous")
        before = {aco.name: aco.node for aco in acos}
        simulate_week.place(acos, 9, "rendezvous")
        moved = [aco for aco in acos if aco.node != before[aco.name]]
        self.assertTrue(all(aco.node == 8 for aco in moved))
        self.assertTrue(30 <= len(moved) <= 85, len(moved))
        simulate_week.place(acos, 9, "size")
        people = [sum(aco.people for aco in acos if aco.node == node) for node in range(9)]
        self.assertLess(max(people) / mean(people), 1.02)

    def test_costs_can_be_replaced_and_wrong_ones_are_refused(self):
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "costs.json")
        for text, words in (('{"import_cpu": 1e-9, "disk": {"value": 2e9, "source": "ours"}}', None), ('{"imprt": 1}', "imprt is no cost"),
                            ('{"disk": 0}', "no positive number"), ('{"disk": true}', "no positive number"), ("[]", "an object"),
                            ('{"disk": {"values": 1}}', "a number, or an object"), ("{", "Expecting")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = sluice.run(sys.executable, SCRIPT, "--smoke", "--costs", path, check=False)
            if words:
                self.assertEqual(done.returncode, 2, text)
                self.assertIn(words, done.stderr)
            else:
                self.assertIn("| `disk` | 2e9 | byte/s | assumed", done.stdout.replace("read and written, together | ", ""))


class PageTest(unittest.TestCase):
    AGAIN = "docs/performance/scale.md is older than its program: run tests/bench/simulate_week.py --update"

    @classmethod
    def setUpClass(cls):
        with open(simulate_week.PAGE, encoding="utf-8") as file:
            cls.page = file.read()

    def test_its_tables_are_those_of_the_program(self):
        costs = scale_costs.Costs()
        for table in (scale_costs.costs_table(costs), scale_costs.export_table(costs), scale_costs.medicare_table(costs)):
            self.assertIn("\n".join(table), self.page, self.AGAIN)

    def test_a_row_of_the_week_is_what_the_simulation_gives(self):
        options = simulate_week.arguments().parse_args(["--scenario", "today"])
        options.nodes = [4]
        row = simulate_week.week_table(simulate_week.simulate(options, scale_costs.Costs()))[-1]
        self.assertIn(row, self.page, self.AGAIN)

    def test_every_measured_cost_names_where_it_was_measured(self):
        for name, (_, _, kind, what, source) in scale_costs.Costs().rows.items():
            self.assertIn(kind, ("measured", "published", "assumed"), name)
            self.assertTrue(what, name)
            if kind != "assumed":
                self.assertTrue(source, name)

    def test_its_plot_is_whole_and_needs_nothing_else(self):
        with open(simulate_week.PICTURE, encoding="utf-8") as file:
            picture = file.read()
        root = ElementTree.fromstring(picture)
        self.assertEqual(len(root.findall("{http://www.w3.org/2000/svg}polyline")), 3 * (2 * 3 + 3))
        self.assertNotIn("href", picture)


if __name__ == "__main__":
    unittest.main()
