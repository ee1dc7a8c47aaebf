"""The picture of simulate_week.py: an SVG that needs nothing else."""

import html
import math

WIDTH, LEFT, RIGHT, TOP = 1080, 76, 20, 86
GAP = 34
TIMES_HEIGHT, USE_HEIGHT, BETWEEN = 300, 120, 74
COLOURS = {"completed": "#1769aa", "ended": "#c2410c", "cpu": "#1769aa", "disk": "#6d28d9", "network": "#15803d"}
DASHES = {"p50": "", "p90": "7 3", "p99": "2 3"}
MARKS = ((0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36000, "10 h"),
         (360000, "100 h"))


class Panel:
    def __init__(self, out, left, top, width, height, nodes):
        self.out, self.left, self.top, self.width, self.height, self.nodes = out, left, top, width, height, nodes

    def x(self, count):
        place = self.nodes.index(count)
        return self.left + self.width * (place + 0.5) / len(self.nodes)

    def frame(self, marks, y, labels):
        for value, label in marks:
            self.out.append(f'<line x1="{self.left}" x2="{self.left + self.width}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
                            'stroke="#ddd"/>')
            if labels:
                self.out.append(text(self.left - 7, y(value) + 4, label, "end"))
        bottom = self.top + self.height
        self.out.append(f'<line x1="{self.left}" x2="{self.left + self.width}" y1="{bottom}" y2="{bottom}" stroke="#888"/>')
        self.out += [text(self.x(count), bottom + 16, str(count), "middle") for count in self.nodes]

    def line(self, points, colour, dash=""):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"'
                        + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")
        self.out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]


def text(x, y, words, anchor="start", weight="normal", colour="#333"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
            f"{html.escape(words)}</text>")


def key(out, x, y, entries):
    for words, colour, dash, width in entries:
        out.append(f'<line x1="{x}" x2="{x + 30}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"'
                   + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")
        out.append(text(x + 36, y, words))
        x += width


def draw(results, titles):
    scenarios = [name for name in titles if any(result["scenario"] == name for result in results)]
    nodes = sorted({result["nodes"] for result in results})
    width = (WIDTH - LEFT - RIGHT - GAP * (len(scenarios) - 1)) / len(scenarios)
    second = TOP + TIMES_HEIGHT + BETWEEN
    height = second + USE_HEIGHT + 48
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" role="img">',
           "<title>A week of exports: times and use by number of nodes</title>", '<rect width="100%" height="100%" fill="#fff"/>']
    key(out, LEFT, 24, [("kick-off to Completed", COLOURS["completed"], "", 190), ("kick-off to last byte", COLOURS["ended"], "", 190),
                        ("p50", "#555", DASHES["p50"], 80), ("p90", "#555", DASHES["p90"], 80), ("p99", "#555", DASHES["p99"], 80)])
    values = [result[end]["all"][share] for result in results for end in ("completed", "ended") for share in DASHES]
    low = max((value for value, _ in MARKS if value <= min(values)), default=MARKS[0][0])
    high = min((value for value, _ in MARKS if value >= max(values)), default=MARKS[-1][0])
    marks = [(value, label) for value, label in MARKS if low <= value <= high]

    def time_y(value):
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return TOP + TIMES_HEIGHT * (1 - share)

    def use_y(value):
        return second + USE_HEIGHT * (1 - value)
    for number, scenario in enumerate(scenarios):
        rows = sorted((result for result in results if result["scenario"] == scenario), key=lambda result: result["nodes"])
        left = LEFT + number * (width + GAP)
        out.append(text(left + width / 2, TOP - 16, titles[scenario], "middle", "bold"))
        panel = Panel(out, left, TOP, width, TIMES_HEIGHT, nodes)
        panel.frame(marks, time_y, number == 0)
        for end in ("completed", "ended"):
            for share, dash in DASHES.items():
                panel.line([(panel.x(row["nodes"]), time_y(row[end]["all"][share])) for row in rows], COLOURS[end], dash)
        panel = Panel(out, left, second, width, USE_HEIGHT, nodes)
        panel.frame(((0, "0 %"), (0.5, "50 %"), (1, "100 %")), use_y, number == 0)
        for resource in ("cpu", "disk", "network"):
            panel.line([(panel.x(row["nodes"]), use_y(row["busiest"][resource])) for row in rows], COLOURS[resource])
        out.append(text(left + width / 2, height - 12, "nodes", "middle"))
    out.append(text(LEFT, second - 20, "Used in the busiest hour of Monday, on the busiest node:"))
    key(out, LEFT + 380, second - 20, [(name, COLOURS[name], "", 110) for name in ("cpu", "disk", "network")])
    out.append("</svg>\n")
    return "\n".join(out)
