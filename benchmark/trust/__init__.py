"""What makes a number doubtful: alarms, probes, and the trust mark that they end in.

Comes in: the cells of a run (`benchmark.cells.CellResult`), done or not. Goes out: `Alarm`, `Probed` and `Trusted`, of
each a table of the run. Nothing here changes a number.

`looks` is what a worker asks of a network for alarms; `probe_kinds` what it asks of an attack for probes, and what each
probe is. `alarms` compares cells; `probes` gives a verdict for each probe, by `defense_probes` and `attack_probes`;
`marks` has the rules of the mark.
"""
