"""What plugins are handed stays as it was: the state of the process, networks and other objects that are shared.

Comes in: a block in which a plugin works (`process.isolated`), or an object that it is handed (`objects.Lent`). Goes
out: the same as before, or an `IsolationError` that says what was changed and what to do instead. `settings` lists what
belongs to the state of the process; `bystander` is a process that knows nothing of what plugins left behind here.

docs/decisions/006-isolation.md says what is copied, what is compared, and why.
"""
