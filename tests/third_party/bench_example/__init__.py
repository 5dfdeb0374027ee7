"""What `bench-example` adds to unmask-bench."""

from benchmark import hookimpl


@hookimpl
def register_datasets(register):
    register("stripes", "bench_example.stripes:Stripes", summary="synthetic images: rows against columns")


@hookimpl
def register_attacks(register):
    register("uniform_noise", "bench_example.uniform_noise:UniformNoise", summary="noise within the budget")


@hookimpl
def register_defenses(register):
    register("max_softmax", "bench_example.max_softmax:MaxSoftmax", summary="distrusts unsure answers")


@hookimpl
def register_panels(register):
    register("sureness", "bench_example.sureness:Sureness", summary="how sure the classifier was of each image")
