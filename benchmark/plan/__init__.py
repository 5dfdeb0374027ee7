"""From a suite to a plan: which cells there are, and which tasks answer them.

Comes in: a `Suite` and the plugins. Goes out: a `Plan` (`plan`), cells in the order of the suite and `Task`s by
content key (`task`), in an order in which they could run. Nothing is computed, all that could be wrong is looked at.

`planner` goes through the cells. `checks` looks at data, weights, packages and networks first; `components` makes the
plugins of a suite and what keys hold of them, and `asked` puts questions to them. `graph` adds tasks, each once;
`attackers` says what is attacked by which knowledge, `probing` what the suite's probes ask.
"""
