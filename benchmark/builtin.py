"""The plugin that registers what comes with the host itself: its measures and the local executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.contracts import resolve
from benchmark.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from benchmark.metrics.metric import Metric

VERSION = "1"


MEASURES = (
    ("clean_accuracy", "clean:CleanAccuracy", "Share of clean images that the defended system labels rightly."),
    ("base_clean_accuracy", "clean:BaseCleanAccuracy", "Clean accuracy of the deployed classifier alone."),
    ("joint_clean_accuracy", "clean:JointCleanAccuracy", "Share of clean images labelled rightly and not flagged."),
    ("clean_fpr", "clean:CleanFpr", "Share of clean images flagged."),
    (
        "feature_separation",
        "clean:FeatureSeparation",
        "Distance between class centres over that within classes, in the network's last hidden states.",
    ),
    (
        "robust_accuracy",
        "attack:RobustAccuracy",
        "Share of attacked images that the defended system labels rightly.",
    ),
    ("base_robust_accuracy", "attack:BaseRobustAccuracy", "Robust accuracy of the deployed classifier alone."),
    (
        "robust_accuracy_worst_repeat",
        "attack:RobustAccuracyWorstRepeat",
        "Share of attacked images labelled rightly in every repeat of a randomised defense.",
    ),
    ("attack_success_rate", "attack:AttackSuccessRate", "Share of initially correct images that end wrong."),
    (
        "base_attack_success_rate",
        "attack:BaseAttackSuccessRate",
        "Attack success rate on the deployed classifier alone.",
    ),
    (
        "auroc",
        "attack:Auroc",
        "Area under the ROC curve: successful adversarial images against their clean versions.",
    ),
    ("auroc_all", "attack:AurocAll", "AUROC with failed attacks counted as adversarial too."),
    ("tpr", "attack:Tpr", "Share of successful adversarial images flagged at the threshold."),
    ("fpr", "attack:Fpr", "Share of the clean versions of successfully attacked images flagged at the threshold."),
    ("tpr_at_5fpr", "attack:TprAt5Fpr", "True-positive rate where 5 % of the clean versions are flagged."),
    (
        "fpr_at_95tpr",
        "attack:FprAt95Tpr",
        "False-positive rate where 95 % of successful adversarial images are flagged.",
    ),
    (
        "joint_robust_accuracy",
        "attack:JointRobustAccuracy",
        "Share of attacked images labelled rightly or flagged.",
    ),
    (
        "success_at_5fpr",
        "attack:SuccessAt5Fpr",
        "Share of initially correct images that end wrong and unflagged at 5 % false positives.",
    ),
    (
        "success_at_50fpr",
        "attack:SuccessAt50Fpr",
        "Share of initially correct images that end wrong and unflagged at 50 % false positives.",
    ),
    (
        "implied_robust_accuracy",
        "attack:ImpliedRobustAccuracy",
        "Robust accuracy at half the budget of the classifier that the detector's claim implies.",
    ),
    (
        "perturbation_mean",
        "attack:PerturbationMean",
        "Mean perturbation of all attacked images, in the attack's norm.",
    ),
    (
        "perturbation_max",
        "attack:PerturbationMax",
        "Largest perturbation of all attacked images, in the attack's norm.",
    ),
    (
        "median_minimal_distance",
        "attack:MedianMinimalDistance",
        "Distance within which an attack without a budget turns half of the initially right images wrong.",
    ),
    ("budget_violations", "attack:BudgetViolations", "Number of attacked images beyond the attack's budget."),
    (
        "worst_case_robust_accuracy",
        "group:WorstCaseRobustAccuracy",
        "Share of images labelled rightly under every attack of a group.",
    ),
    (
        "worst_case_joint_robust_accuracy",
        "group:WorstCaseJointRobustAccuracy",
        "Share of images labelled rightly or flagged under every attack of a group.",
    ),
    (
        "worst_case_base_robust_accuracy",
        "group:WorstCaseBaseRobustAccuracy",
        "Worst-case robust accuracy of the deployed classifier alone.",
    ),
    (
        "worst_case_implied_robust_accuracy",
        "group:WorstCaseImpliedRobustAccuracy",
        "Implied robust accuracy at half of the largest budget, under every attack of a group.",
    ),
    (
        "worst_case_auroc",
        "group:WorstCaseAuroc",
        "AUROC of the lowest score under the successful attacks of a group.",
    ),
    ("worst_case_tpr", "group:WorstCaseTpr", "Share of images flagged under every successful attack of a group."),
    (
        "worst_case_fpr",
        "group:WorstCaseFpr",
        "Share of clean versions flagged, of images that some attack turns wrong.",
    ),
    (
        "worst_case_tpr_at_5fpr",
        "group:WorstCaseTprAt5Fpr",
        "Worst-case TPR where 5 % of the clean versions are flagged.",
    ),
    (
        "worst_case_fpr_at_95tpr",
        "group:WorstCaseFprAt95Tpr",
        "False-positive rate where 95 % of images are flagged under every successful attack of a group.",
    ),
    (
        "worst_case_success_at_5fpr",
        "group:WorstCaseSuccessAt5Fpr",
        "Share of initially correct images that some attack turns wrong and unflagged at 5 % false positives.",
    ),
    (
        "worst_case_success_at_50fpr",
        "group:WorstCaseSuccessAt50Fpr",
        "Share of initially correct images that some attack turns wrong and unflagged at 50 % false positives.",
    ),
)
"""The measures of this package: name, class (below `benchmark.metrics`), summary."""


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the measures of docs/measures.md."""
    for name, target, summary in MEASURES:
        register(
            name, f"benchmark.metrics.{target}", options="benchmark.options:Options", version=VERSION, summary=summary
        )


def measures() -> dict[str, type[Metric]]:
    """Return the measures of this package by name."""
    return {name: resolve(f"benchmark.metrics.{target}") for name, target, _ in MEASURES}


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
