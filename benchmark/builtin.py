"""The plugin that registers what comes with the host itself: its measures and the local executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.contracts import resolve
from benchmark.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from benchmark.metrics.metric import Metric

VERSION = "1"


MEASURES = {
    "clean_accuracy": "clean:CleanAccuracy",
    "base_clean_accuracy": "clean:BaseCleanAccuracy",
    "joint_clean_accuracy": "clean:JointCleanAccuracy",
    "clean_fpr": "clean:CleanFpr",
    "feature_separation": "clean:FeatureSeparation",
    "robust_accuracy": "attack:RobustAccuracy",
    "base_robust_accuracy": "attack:BaseRobustAccuracy",
    "robust_accuracy_worst_repeat": "attack:RobustAccuracyWorstRepeat",
    "attack_success_rate": "attack:AttackSuccessRate",
    "base_attack_success_rate": "attack:BaseAttackSuccessRate",
    "auroc": "attack:Auroc",
    "auroc_all": "attack:AurocAll",
    "tpr": "attack:Tpr",
    "fpr": "attack:Fpr",
    "tpr_at_5fpr": "attack:TprAt5Fpr",
    "fpr_at_95tpr": "attack:FprAt95Tpr",
    "joint_robust_accuracy": "attack:JointRobustAccuracy",
    "success_at_5fpr": "attack:SuccessAt5Fpr",
    "success_at_50fpr": "attack:SuccessAt50Fpr",
    "implied_robust_accuracy": "attack:ImpliedRobustAccuracy",
    "perturbation_mean": "attack:PerturbationMean",
    "perturbation_max": "attack:PerturbationMax",
    "median_minimal_distance": "attack:MedianMinimalDistance",
    "budget_violations": "attack:BudgetViolations",
    "worst_case_robust_accuracy": "group:WorstCaseRobustAccuracy",
    "worst_case_joint_robust_accuracy": "group:WorstCaseJointRobustAccuracy",
    "worst_case_base_robust_accuracy": "group:WorstCaseBaseRobustAccuracy",
    "worst_case_implied_robust_accuracy": "group:WorstCaseImpliedRobustAccuracy",
    "worst_case_auroc": "group:WorstCaseAuroc",
    "worst_case_tpr": "group:WorstCaseTpr",
    "worst_case_fpr": "group:WorstCaseFpr",
    "worst_case_tpr_at_5fpr": "group:WorstCaseTprAt5Fpr",
    "worst_case_fpr_at_95tpr": "group:WorstCaseFprAt95Tpr",
    "worst_case_success_at_5fpr": "group:WorstCaseSuccessAt5Fpr",
    "worst_case_success_at_50fpr": "group:WorstCaseSuccessAt50Fpr",
}
"""The measures of this package: name → class, below `benchmark.metrics`; the class says all that there is to say."""


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the measures of docs/measures.md."""
    for name, target in MEASURES.items():
        register(name, f"benchmark.metrics.{target}", options="benchmark.options:Options", version=VERSION)


def measures() -> dict[str, type[Metric]]:
    """Return the measures of this package by name."""
    return {name: resolve(f"benchmark.metrics.{target}") for name, target in MEASURES.items()}


@hookimpl
def register_executors(register: Register) -> None:
    """Register `local`."""
    register(
        "local",
        "benchmark.executors.local:LocalExecutor",
        options="benchmark.executors:ExecutorOptions",
        version=VERSION,
        summary="Worker processes on this machine, one per device.",
    )
