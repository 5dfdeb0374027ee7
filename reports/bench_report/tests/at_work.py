"""A run for pages at work in a browser, and what a reader does there."""

from __future__ import annotations

ATTACKS = ("fgsm", "pgd-linf", "pgd-l2")


def table_of(page, model="mlp", knowledge="gray-box"):
    return page.locator(f'table[data-table="robust"][data-model="{model}"][data-knowledge="{knowledge}"]')


DETECTED = "cells/pgd-linf-mahalanobis-*.html"
