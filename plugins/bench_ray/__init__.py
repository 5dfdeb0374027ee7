"""The executor `ray`: tasks on one machine or a cluster, scheduled by Ray (Moritz et al., OSDI 2018)."""

from __future__ import annotations

from benchmark import Register, hookimpl

RAY = """@inproceedings{moritz2018ray,
  title = {Ray: A Distributed Framework for Emerging {AI} Applications},
  author = {Moritz, Philipp and Nishihara, Robert and Wang, Stephanie and Tumanov, Alexey and Liaw, Richard and
            Liang, Eric and Elibol, Melih and Yang, Zongheng and Paul, William and Jordan, Michael I. and Stoica, Ion},
  booktitle = {USENIX Symposium on Operating Systems Design and Implementation},
  year = {2018}
}"""


@hookimpl
def register_executors(register: Register) -> None:
    """Register the executor."""
    register(
        "ray",
        "bench_ray.executor:RayExecutor",
        options="bench_ray.options:RayOptions",
        version="1",
        summary="A Ray cluster, or a Ray started on this machine (extra `ray`).",
        cite=RAY,
    )
