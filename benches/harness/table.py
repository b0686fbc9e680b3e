"""Printing: tables for people, lines of JSON for programs."""
import json


class Output:
    def __init__(self, json_path):
        self.json = open(json_path, "a") if json_path else None

    def line(self, **values):
        if self.json:
            self.json.write(json.dumps(values) + "\n")
            self.json.flush()

    def machine(self, facts):
        print("machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
        self.line(kind="machine", **facts)

    def result(self, result):
        rows = [result.row(name) for name, runs in result.runs.items() if any(runs)]
        rows.sort(key=lambda row: -row["rate"])
        print(f"\n## {result.case.title} (load {result.load:.1f})")
        print(f"{'':28} {result.case.unit:>9} {'best':>9} {'spread':>7} {'runs':>4}"
              f" {'x peer':>7} {'x ceiling':>9} {'cpu s':>7} {'machine':>8} {'us/job':>7}")
        for row in rows:
            print(f"{row['name']:28} {row['rate']:>9} {row['best']:>9} {row['spread']:>7.0%}"
                  f" {row['runs']:>4} {_cell(row['to_best_peer']):>7}"
                  f" {_cell(row['to_ceiling']):>9} {row['cpu_seconds']:>7.2f}"
                  f" {row['machine_cpu_seconds']:>8.2f} {_cell(row['cpu_us_per_job']):>7}",
                  flush=True)
            self.line(kind="row", **row)

    def goal(self, **values):
        self.line(kind="goal", **values)


def _cell(value):
    return "" if value is None else f"{value:.2f}"
