"""Charts: what Vega draws of a run's curves and tables, and the facts that it draws."""
