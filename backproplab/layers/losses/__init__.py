"""Losses, one number per example and no mean, and the softmax they stand on."""

from backproplab.layers.losses.binary_cross_entropy import (
    CASES as binary_cross_entropy_cases,
)
from backproplab.layers.losses.binary_cross_entropy import (
    binary_cross_entropy as binary_cross_entropy,
)
from backproplab.layers.losses.hinge import CASES as hinge_cases
from backproplab.layers.losses.hinge import hinge as hinge
from backproplab.layers.losses.kl_divergence import CASES as kl_divergence_cases
from backproplab.layers.losses.kl_divergence import kl_divergence as kl_divergence
from backproplab.layers.losses.log_softmax import CASES as log_softmax_cases
from backproplab.layers.losses.log_softmax import log_softmax as log_softmax
from backproplab.layers.losses.multiclass_hinge import (
    CASES as multiclass_hinge_cases,
)
from backproplab.layers.losses.multiclass_hinge import (
    multiclass_hinge as multiclass_hinge,
)
from backproplab.layers.losses.sigmoid_binary_cross_entropy import (
    CASES as sigmoid_binary_cross_entropy_cases,
)
from backproplab.layers.losses.sigmoid_binary_cross_entropy import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
)
from backproplab.layers.losses.softmax import CASES as softmax_cases
from backproplab.layers.losses.softmax import softmax as softmax
from backproplab.layers.losses.softmax_cross_entropy import (
    CASES as softmax_cross_entropy_cases,
)
from backproplab.layers.losses.softmax_cross_entropy import (
    softmax_cross_entropy as softmax_cross_entropy,
)
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    CASES as softmax_cross_entropy_with_integer_labels_cases,
)
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from backproplab.layers.losses.square_error import CASES as square_error_cases
from backproplab.layers.losses.square_error import square_error as square_error
from backproplab.layers.losses.weston_watkins_hinge import (
    CASES as weston_watkins_hinge_cases,
)
from backproplab.layers.losses.weston_watkins_hinge import (
    weston_watkins_hinge as weston_watkins_hinge,
)

CASES = (
    *binary_cross_entropy_cases,
    *hinge_cases,
    *kl_divergence_cases,
    *log_softmax_cases,
    *multiclass_hinge_cases,
    *sigmoid_binary_cross_entropy_cases,
    *softmax_cases,
    *softmax_cross_entropy_cases,
    *softmax_cross_entropy_with_integer_labels_cases,
    *square_error_cases,
    *weston_watkins_hinge_cases,
)
