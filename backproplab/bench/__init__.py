"""What a hand-written rule costs, beside plain autodiff, autodiff with checkpoint, and the library's own function."""

from backproplab.bench.bench import Bench as Bench
from backproplab.bench.bench import bench as bench
from backproplab.bench.bench import geometric_mean as geometric_mean
