"""What type checkers are told of `benchmark`; made from `PAGE` in `__init__.py` by `nox -s generate`."""
# ruff: noqa: I001

# [cog: from generated import stub; stub() :cog]

# Registering
from benchmark.hookspecs import hookimpl as hookimpl
from benchmark.hookspecs import Register as Register

# Options
from benchmark.options import Options as Options
from benchmark.options import Budget as Budget
from benchmark.options import InputFile as InputFile
from benchmark.options import SuiteLabel as SuiteLabel
from benchmark.options import AttackLabels as AttackLabels
from benchmark.options import Function as Function
from benchmark.options import DatasetOptions as DatasetOptions
from benchmark.options import ModelOptions as ModelOptions
from benchmark.options import AttackOptions as AttackOptions
from benchmark.options import StateOptions as StateOptions
from benchmark.options import TrainOptions as TrainOptions
from benchmark.options import HardenerOptions as HardenerOptions
from benchmark.options import CraftingOptions as CraftingOptions
from benchmark.options import AdversarialOptions as AdversarialOptions
from benchmark.options import read_by_host as read_by_host
from benchmark.options import PACKAGE as PACKAGE

# Handed to everybody
from benchmark.randomness import Rng as Rng
from benchmark.progress import Progress as Progress
from benchmark.setting import Setting as Setting
from benchmark.setting import DataFacts as DataFacts

# Data sets
from benchmark.dataset import Dataset as Dataset
from benchmark.dataset import Split as Split
from benchmark.dataset import ArraySplit as ArraySplit
from benchmark.dataset import DecodedSplit as DecodedSplit
from benchmark.dataset import Subset as Subset
from benchmark.dataset import PartAnnotations as PartAnnotations
from benchmark.dataset import is_ignored as is_ignored
from benchmark.dataset import balanced_indices as balanced_indices
from benchmark.masks import mask_of as mask_of
from benchmark.masks import decode_mask as decode_mask
from benchmark.options import SPLITS as SPLITS
from benchmark.images import read_image as read_image
from benchmark.images import read_header as read_header
from benchmark.images import ImageHeader as ImageHeader
from benchmark.images import Fit as Fit
from benchmark.images import Place as Place
from benchmark.images import pixels_of as pixels_of
from benchmark.images import image_files as image_files
from benchmark.images import is_image as is_image
from benchmark.images import begins_as_image as begins_as_image
from benchmark.images import is_called_image as is_called_image
from benchmark.images import is_hidden as is_hidden
from benchmark.images import FORMATS as FORMATS
from benchmark.images import PassedOver as PassedOver
from benchmark.converter import Converter as Converter

# Models
from benchmark.model import Model as Model
from benchmark.model import Classifier as Classifier
from benchmark.model import Passes as Passes
from benchmark.model import passes as passes
from benchmark.model import capturing as capturing
from benchmark.model import load_weights as load_weights
from benchmark.model import shape_text as shape_text
from benchmark.weights import save_weights as save_weights
from benchmark.weights import read_tensors as read_tensors
from benchmark.weights import Checkpoint as Checkpoint
from benchmark.pretrained import PackagedWeights as PackagedWeights
from benchmark.pretrained import WeightsFile as WeightsFile
from benchmark.pretrained import packaged_weights as packaged_weights

# Attacks
from benchmark.attack import Attack as Attack
from benchmark.attack import Victim as Victim
from benchmark.attack import ClassLikelihoods as ClassLikelihoods
from benchmark.attack import perturbation_size as perturbation_size
from benchmark.attack import TOLERANCE as TOLERANCE
from benchmark.gradient import ascend as ascend
from benchmark.gradient import classification_loss as classification_loss
from benchmark.gradient import untargeted as untargeted
from benchmark.gradient import input_gradient as input_gradient
from benchmark.gradient import random_start as random_start
from benchmark.gradient import unit_step as unit_step
from benchmark.gradient import project as project
from benchmark.gradient import Best as Best
from benchmark.gradient import per_image as per_image

# Defenses
from benchmark.defense import Defense as Defense
from benchmark.defense import Hardener as Hardener
from benchmark.defense import FitContext as FitContext
from benchmark.defense import Batch as Batch
from benchmark.defense import Verdict as Verdict
from benchmark.defense import NO_LABEL as NO_LABEL
from benchmark.defense import Family as Family
from benchmark.defense import SharedArtifact as SharedArtifact
from benchmark.defense import ArtifactRequest as ArtifactRequest
from benchmark.defense import Observation as Observation
from benchmark.defense import Measure as Measure
from benchmark.states import StateDetector as StateDetector
from benchmark.states import LOGITS as LOGITS
from benchmark.states import STATES as STATES
from benchmark.published import PublishedAttack as PublishedAttack

# Training
from benchmark.training import train as train
from benchmark.training import Objective as Objective
from benchmark.training import batches as batches
from benchmark.training import MicroBatches as MicroBatches
from benchmark.checkpoint import TrainingCheckpoint as TrainingCheckpoint
from benchmark.hardening import TrainedHardener as TrainedHardener
from benchmark.crafting import CraftingObjective as CraftingObjective
from benchmark.crafting import craft as craft
from benchmark.crafting import draw_eps as draw_eps
from benchmark.crafting import unchanged as unchanged

# Metrics
from benchmark.metrics.metric import Metric as Metric
from benchmark.metrics.metric import MetricValue as MetricValue
from benchmark.cells import Cell as Cell
from benchmark.cells import Answers as Answers
from benchmark.cells import successful as successful
from benchmark.cells import near as near
from benchmark.statistics import rate as rate

# Panels
from benchmark.panel import Panel as Panel
from benchmark.panel import GalleryImage as GalleryImage
from benchmark.panel import ImageVerdict as ImageVerdict
from benchmark.panel import PanelPart as PanelPart
from benchmark.panel import Picture as Picture
from benchmark.panel import Box as Box
from benchmark.panel import Bars as Bars
from benchmark.panel import Bar as Bar
from benchmark.panel import Facts as Facts
from benchmark.panel import Plot as Plot
from benchmark.panel import Series as Series

# Errors and words
from benchmark.errors import BenchError as BenchError
from benchmark.errors import InputError as InputError
from benchmark.errors import MissingError as MissingError
from benchmark.errors import TaskError as TaskError
from benchmark.errors import StorageError as StorageError
from benchmark.errors import ExecutorError as ExecutorError
from benchmark.errors import Mistakes as Mistakes
from benchmark.errors import unknown_name as unknown_name
from benchmark.errors import near_match as near_match
from benchmark.errors import required as required
from benchmark.errors import first_line as first_line
from benchmark.wording import percent as percent
from benchmark.files import write_whole as write_whole
from benchmark.files import known_digest as known_digest
from benchmark.store.artifact import digest as digest
from benchmark.source import source_digest as source_digest
from benchmark.source import source_places as source_places

# Reports, and a run read back
from benchmark.reporter import Reporter as Reporter
from benchmark.results.read import load_run as load_run
from benchmark.results.read import Run as Run
from benchmark.results.export import csv_text as csv_text
from benchmark.builtin import measures as measures
from benchmark.statistics import compare_paired as compare_paired
from benchmark.statistics import compare_over_seeds as compare_over_seeds
from benchmark.statistics import PairedDifference as PairedDifference
from benchmark.statistics import holm as holm
from benchmark.wording import seconds_text as seconds_text
from benchmark.results.gallery import strata as strata
from benchmark.results.gallery import on_sheet as on_sheet
from benchmark.names import BARE as BARE
from benchmark.names import KNOWING as KNOWING
from benchmark.names import CLEAN as CLEAN
from benchmark.names import WORST_OF as WORST_OF
from benchmark.names import ALL_ATTACKS as ALL_ATTACKS
from benchmark.names import KNOWLEDGE as KNOWLEDGE
from benchmark.names import IDENTITY as IDENTITY
from benchmark.names import SUMMARIES as SUMMARIES
from benchmark.suite import SECTIONS as SECTIONS
from benchmark.suite import Published as Published
from benchmark.trust.alarms import ALARMS as ALARMS
from benchmark.trust.alarms import AlarmKind as AlarmKind
from benchmark.trust.probe_kinds import PROBES as PROBES
from benchmark.trust.probe_kinds import ProbeKind as ProbeKind
from benchmark.trust.marks import TRUST_MARKS as TRUST_MARKS
from benchmark.trust.marks import Mark as Mark
from benchmark.trust.marks import TRUST_RULES as TRUST_RULES
from benchmark.taxonomy import TAGS as TAGS
from benchmark.taxonomy import Tag as Tag
from benchmark.taxonomy import tags_of as tags_of
from benchmark.taxonomy import AttackTraits as AttackTraits
from benchmark.taxonomy import DefenseTraits as DefenseTraits
from benchmark.taxonomy import HOLDING as HOLDING

# Executors
from benchmark.executors import Executor as Executor
from benchmark.executors import ExecutorOptions as ExecutorOptions
from benchmark.executors import Setup as Setup
from benchmark.executors import Event as Event
from benchmark.executors.serving import Server as Server
from benchmark.plan.task import Task as Task
# [cog-end]

_Names = tuple[str, ...]

PAGE: dict[str, dict[str, _Names]]
__all__: list[str]
