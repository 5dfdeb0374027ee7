"""Measures: cells in, numbers with an interval and their n out (docs/measures.md gives the meaning).

Comes in: cells (`benchmark.cells.Cell`), one for a measure of scope `clean` or `attack`, all of a group for `group`.
Goes out: a `MetricValue` per measure, or None where it is not defined.

`metric` is the contract, which plugins' measures keep as well; `clean`, `attack` and `group` have ours, by scope.
`benchmark.builtin` registers them by the names that users see.
"""
