"""What a report consists of, in order of value."""

from bench.report.child import Part

SECONDS = 540.0
SMALL_SECONDS = 270.0

PARTS = (
    Part("build", 190, "bench.report.build:run", kernels=False),
    Part("tests", 80, "bench.report.gpu_tests:run"),
    Part("bandwidth", 15, "bench.report.cases:bandwidth"),
    Part("bench", 100, "bench.report.cases:bench"),
    Part("frechet", 20, "bench.report.cases:frechet"),
    Part("stages", 15, "bench.report.stages:run"),
    Part("fid", 60, "bench.report.fid:run"),
    Part("train", 20, "bench.report.cases:train"),
    Part("launches", 20, "bench.report.cases:launches"),
    Part("compile", 35, "bench.report.cases:compiled"),
)
OLD = Part("old", 160, "bench.report.old:run")
