"""Training: one loop, the data that ships inside wheels, the measures, and what the experiments share."""

from backproplab.training.agreement import Agreement as Agreement
from backproplab.training.agreement import compare as compare
from backproplab.training.loop import train as train
from backproplab.training.metrics import accuracy as accuracy
from backproplab.training.metrics import exact_match as exact_match
from backproplab.training.metrics import r_squared as r_squared
