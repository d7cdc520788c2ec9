"""Networks: layers composed to pure functions. Each module has `init`, `apply` and `loss`, the mean over the instances."""

from backproplab.networks import convolutional_classifier as convolutional_classifier
from backproplab.networks import logistic_regression as logistic_regression
from backproplab.networks import mlp as mlp
from backproplab.networks import moe as moe
from backproplab.networks import multi_label as multi_label
from backproplab.networks import perceptron as perceptron
from backproplab.networks import recurrent_classifier as recurrent_classifier
from backproplab.networks import residual_cnn as residual_cnn
from backproplab.networks import softmax_classifier as softmax_classifier
from backproplab.networks import transformer as transformer

CASES = (
    *convolutional_classifier.CASES,
    *logistic_regression.CASES,
    *mlp.CASES,
    *moe.CASES,
    *multi_label.CASES,
    *perceptron.CASES,
    *recurrent_classifier.CASES,
    *residual_cnn.CASES,
    *softmax_classifier.CASES,
    *transformer.CASES,
)
