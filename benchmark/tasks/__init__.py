"""What a worker does: one task after the other, from a plain specification to a published artifact.

Comes in: a `Task` of the plan and the artifacts that it needs, in the store. Goes out: its artifact, and what it cost.

`worker` has the table of kinds, and lets nothing that plugins do in one task reach another. `workshop` makes what tasks
work with, `splits` and `victims` what plugins are handed. The work, by kind: `fitting` (train, artifact, assess, fit),
`images` (craft, predict, observe), `judging` (judge, threshold), `looking` (look, separate), `examining` (examine, by
`recording`), `verifying` (verify). `checks` and `verdicts` hold answers against the contract; `elsewhere` asks another
process for the same.
"""
