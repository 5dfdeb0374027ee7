"""Data sets: embedded digits, folders and archives of images, arrays, and torchvision's files."""

from __future__ import annotations

from benchmark import Register, hookimpl

DIGITS = """@misc{alpaydin1998optical,
  title = {Optical Recognition of Handwritten Digits},
  author = {Alpaydin, E. and Kaynak, C.},
  howpublished = {UCI Machine Learning Repository},
  year = {1998},
  doi = {10.24432/C50P49}
}"""


@hookimpl
def register_datasets(register: Register) -> None:
    """Register `digits`, `image_folder`, `image_table`, `arrays` and `torchvision`."""
    register(
        "digits",
        "bench_datasets.digits:Digits",
        options="bench_datasets.options:DigitsOptions",
        version="1",
        summary="scikit-learn's 1,797 real handwritten digits, 8x8 grey: embedded, never downloads",
        cite=DIGITS,
    )
    register(
        "image_folder",
        "bench_datasets.image_folder:ImageFolder",
        options="bench_datasets.options:ImageFolderOptions",
        version="2",
        summary="a folder per class, in a directory, .zip or .tar; fixed splits or a seeded split",
    )
    register(
        "image_table",
        "bench_datasets.image_table:ImageTable",
        options="bench_datasets.options:ImageTableOptions",
        version="1",
        summary="images that tables name or hold, with their labels: .csv, .jsonl, .parquet, as Hugging Face has them",
    )
    register(
        "arrays",
        "bench_datasets.arrays:Arrays",
        options="bench_datasets.options:ArraysOptions",
        version="1",
        summary="images and labels per split in one .npz file",
    )
    register(
        "torchvision",
        "bench_datasets.torchvision_files:TorchvisionFiles",
        options="bench_datasets.options:TorchvisionOptions",
        version="1",
        summary="MNIST, FashionMNIST, CIFAR10, CIFAR100 and SVHN; downloads only with `download: true`",
    )
