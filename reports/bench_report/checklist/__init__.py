"""The checklist of Carlini et al. (2019, On Evaluating Adversarial Robustness, arXiv:1902.06705, section 4), per run.

Comes in: the facts of a run. Goes out: `page.Checklist`, which templates show, and its twin in Markdown. Each item is
answered by what the run's tables and manifest hold (`evidence`), and by nothing else: what no run can show is said to
be so. The items and what answers each are in `severe`, `pitfalls` and `special`, as in the paper's three lists;
the words of the answers are made there, the numbers are those of the report.
"""
