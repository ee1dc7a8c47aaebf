"""Discrete events over resources that are shared: the engine of simulate_week.py.

A *station* has resources (cores, bytes a second of disk and of network), each with a capacity. A *flow* is a piece of work of so
many units at one station; each unit needs so much of each resource, and a flow may have a greatest rate of its own. All flows of a
station run at once. Their rates rise together, each measured by the share of the resource it needs most (dominant resource fairness),
until a resource is full or a flow is at its own greatest rate; the others rise on. With one resource and no such rates this is
processor sharing.

Nothing here is random: events of the same instant happen in the order in which they were made.
"""

import heapq
import math

DONE_SHARE = 1e-9  # of its units: a flow with less left is done, which absorbs the rounding of sums
INFINITE = math.inf


class Flow:
    """`units` of work, each needing `needs[r]` of resource r; at most `rate_max` units a second."""

    __slots__ = ("station", "units", "left", "needs", "dominant", "rate_max", "rate", "then", "kind", "step", "began", "repeated")

    def __init__(self, station, units, needs, then, rate_max=INFINITE, kind="", step=0.0):
        if not units >= 0 or not all(need >= 0 for need in needs) or not rate_max > 0:
            raise ValueError(f"a flow of {units} units, {needs} each, {rate_max} a second at most")
        self.station, self.units, self.left, self.needs = station, units, units, tuple(needs)
        self.dominant = max(need / capacity for need, capacity in zip(needs, station.capacities))
        if self.dominant == 0 and rate_max == INFINITE:
            raise ValueError("a flow that needs nothing has no duration")
        self.rate_max, self.then, self.kind, self.step = rate_max, then, kind, step
        self.rate = 0.0
        self.began = None
        self.repeated = 0.0  # units that were done once more after failures


def fair_rates(flows, capacities):
    """Sets each flow's rate; see above. Each turn of the loop settles all flows whose own greatest rate comes first, or all
    that use the resource which is full first: few turns, however many flows."""
    left = list(capacities)
    active = list(flows)
    while active:
        weights = [0.0] * len(left)
        for flow in active:
            if flow.dominant:
                for resource, need in enumerate(flow.needs):
                    if need:
                        weights[resource] += need / flow.dominant
        level, full = INFINITE, None
        for resource, weight in enumerate(weights):
            if weight and max(left[resource], 0.0) / weight < level:
                level, full = max(left[resource], 0.0) / weight, resource
        capped = [flow for flow in active if flow.rate_max * flow.dominant <= level]
        if capped:
            settled = set(map(id, capped))
            for flow in capped:
                flow.rate = flow.rate_max
        else:
            settled = {id(flow) for flow in active if flow.needs[full]}
            for flow in active:
                if flow.needs[full]:
                    flow.rate = level / flow.dominant
        for flow in active:
            if id(flow) in settled:
                for resource, need in enumerate(flow.needs):
                    left[resource] -= flow.rate * need
        active = [flow for flow in active if id(flow) not in settled]


class Station:
    """What shares resources: a node. Keeps what it served of each resource, in buckets of time."""

    def __init__(self, world, capacities, bucket_seconds=3600.0):
        self.world, self.capacities, self.bucket_seconds = world, tuple(capacities), bucket_seconds
        self.flows = []
        self.up = True
        self.now = world.now
        self.epoch = 0
        self.served = {}  # bucket -> amounts of each resource
        self.flow_seconds = 0.0  # the integral of the number of flows
        self.flows_max = 0
        world.stations.append(self)

    def add(self, flow):
        self.advance()
        flow.began = self.world.now
        self.flows.append(flow)
        self.flows_max = max(self.flows_max, len(self.flows))
        self.world.touched(self)

    def advance(self):
        """To the world's now: what was done since, by the rates that were settled."""
        seconds = self.world.now - self.now
        if seconds <= 0:
            return
        self.flow_seconds += seconds * len(self.flows)
        if self.up:
            use = [0.0] * len(self.capacities)
            for flow in self.flows:
                flow.left = max(flow.left - flow.rate * seconds, 0.0)
                for resource, need in enumerate(flow.needs):
                    use[resource] += flow.rate * need
            if any(use):
                self._note(use, self.now, self.world.now)
        self.now = self.world.now

    def _note(self, use, begin, end):
        while begin < end:
            bucket = int(begin // self.bucket_seconds)
            until = min(end, (bucket + 1) * self.bucket_seconds)
            amounts = self.served.setdefault(bucket, [0.0] * len(use))
            for resource, rate in enumerate(use):
                amounts[resource] += rate * (until - begin)
            begin = until

    def settle(self):
        """Ends what is done, gives the others their rates, and plans the next end."""
        self.advance()
        if not self.up:
            self.epoch += 1
            return
        ended = [flow for flow in self.flows if self._is_done(flow)]
        if ended:
            self.flows = [flow for flow in self.flows if not self._is_done(flow)]
        fair_rates(self.flows, self.capacities)
        self.epoch += 1
        soonest = min((flow.left / flow.rate for flow in self.flows if flow.rate > 0), default=None)
        if soonest is not None:
            epoch = self.epoch
            self.world.after(soonest, lambda: self.world.touched(self) if self.epoch == epoch else None)
        for flow in ended:
            flow.left = 0.0
            if flow.then:
                flow.then()

    def _is_done(self, flow):
        # A nanosecond's work counts as done too: times of a week are not finer than that as floating point numbers.
        return flow.left <= max(flow.units * DONE_SHARE, flow.rate * 1e-9)

    def fail(self, lose):
        """Everything stops. `lose(flow)` says how many of the units that were done are to be done again."""
        self.advance()
        self.up = False
        for flow in self.flows:
            again = min(max(lose(flow), 0.0), flow.units - flow.left)
            flow.left += again
            flow.repeated += again
        self.settle()

    def restart(self):
        self.advance()
        self.up = True
        self.world.touched(self)

    def total(self, resource):
        return sum(amounts[resource] for amounts in self.served.values())

    def busiest(self, resource, begin=0.0, end=INFINITE):
        """The share of its capacity that was used in the bucket in which most was, of those that begin in between."""
        most = max((amounts[resource] for bucket, amounts in self.served.items() if begin <= bucket * self.bucket_seconds < end),
                   default=0.0)
        return most / (self.capacities[resource] * self.bucket_seconds)


class World:
    """The clock and what is to happen."""

    def __init__(self):
        self.now = 0.0
        self.stations = []
        self._events = []
        self._made = 0
        self._touched = {}

    def at(self, when, call):
        if when < self.now:
            raise ValueError(f"{when} is before now, {self.now}")
        self._made += 1
        heapq.heappush(self._events, (when, self._made, call))

    def after(self, seconds, call):
        self.at(self.now + seconds, call)

    def touched(self, station):
        """Its rates are settled when all events of this instant have happened."""
        self._touched[id(station)] = station

    def run(self):
        while self._events or self._touched:
            if self._touched and (not self._events or self._events[0][0] > self.now):
                touched, self._touched = list(self._touched.values()), {}
                for station in touched:
                    station.settle()
                continue
            when, _, call = heapq.heappop(self._events)
            self.now = when
            call()
