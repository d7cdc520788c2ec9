"""Losses, one number per example and no mean, and the softmax they stand on."""

from backproplab.layers.losses.absolute_error import CASES as absolute_error_cases
from backproplab.layers.losses.absolute_error import absolute_error as absolute_error
from backproplab.layers.losses.binary_cross_entropy import CASES as binary_cross_entropy_cases
from backproplab.layers.losses.binary_cross_entropy import binary_cross_entropy as binary_cross_entropy
from backproplab.layers.losses.charbonnier import CASES as charbonnier_cases
from backproplab.layers.losses.charbonnier import charbonnier as charbonnier
from backproplab.layers.losses.dice_loss import CASES as dice_loss_cases
from backproplab.layers.losses.dice_loss import dice_loss as dice_loss
from backproplab.layers.losses.entmax15 import CASES as entmax15_cases
from backproplab.layers.losses.entmax15 import entmax15 as entmax15
from backproplab.layers.losses.entmax15_loss import CASES as entmax15_loss_cases
from backproplab.layers.losses.entmax15_loss import entmax15_loss as entmax15_loss
from backproplab.layers.losses.gaussian_nll import CASES as gaussian_nll_cases
from backproplab.layers.losses.gaussian_nll import gaussian_nll as gaussian_nll
from backproplab.layers.losses.hellinger import CASES as hellinger_cases
from backproplab.layers.losses.hellinger import hellinger as hellinger
from backproplab.layers.losses.hellinger import squared_hellinger as squared_hellinger
from backproplab.layers.losses.hinge import CASES as hinge_cases
from backproplab.layers.losses.hinge import hinge as hinge
from backproplab.layers.losses.huber_loss import CASES as huber_loss_cases
from backproplab.layers.losses.huber_loss import huber_loss as huber_loss
from backproplab.layers.losses.huber_loss import smooth_absolute_error as smooth_absolute_error
from backproplab.layers.losses.jensen_shannon import CASES as jensen_shannon_cases
from backproplab.layers.losses.jensen_shannon import jensen_shannon as jensen_shannon
from backproplab.layers.losses.kl_divergence import CASES as kl_divergence_cases
from backproplab.layers.losses.kl_divergence import kl_divergence as kl_divergence
from backproplab.layers.losses.log_cosh import CASES as log_cosh_cases
from backproplab.layers.losses.log_cosh import log_cosh as log_cosh
from backproplab.layers.losses.log_softmax import CASES as log_softmax_cases
from backproplab.layers.losses.log_softmax import log_softmax as log_softmax
from backproplab.layers.losses.masked_softmax_cross_entropy import CASES as masked_softmax_cross_entropy_cases
from backproplab.layers.losses.masked_softmax_cross_entropy import (
    masked_softmax_cross_entropy as masked_softmax_cross_entropy,
)
from backproplab.layers.losses.multiclass_hinge import CASES as multiclass_hinge_cases
from backproplab.layers.losses.multiclass_hinge import multiclass_hinge as multiclass_hinge
from backproplab.layers.losses.multiclass_sparsemax_loss import CASES as multiclass_sparsemax_loss_cases
from backproplab.layers.losses.multiclass_sparsemax_loss import multiclass_sparsemax_loss as multiclass_sparsemax_loss
from backproplab.layers.losses.negative_binomial_nll import CASES as negative_binomial_nll_cases
from backproplab.layers.losses.negative_binomial_nll import negative_binomial_nll as negative_binomial_nll
from backproplab.layers.losses.perceptron_loss import CASES as perceptron_loss_cases
from backproplab.layers.losses.perceptron_loss import perceptron_loss as perceptron_loss
from backproplab.layers.losses.poisson_nll import CASES as poisson_nll_cases
from backproplab.layers.losses.poisson_nll import poisson_nll as poisson_nll
from backproplab.layers.losses.poly_loss_cross_entropy import CASES as poly_loss_cross_entropy_cases
from backproplab.layers.losses.poly_loss_cross_entropy import poly_loss_cross_entropy as poly_loss_cross_entropy
from backproplab.layers.losses.quantile_loss import CASES as quantile_loss_cases
from backproplab.layers.losses.quantile_loss import quantile_loss as quantile_loss
from backproplab.layers.losses.reverse_kl_divergence import CASES as reverse_kl_divergence_cases
from backproplab.layers.losses.reverse_kl_divergence import reverse_kl_divergence as reverse_kl_divergence
from backproplab.layers.losses.sigmoid_binary_cross_entropy import CASES as sigmoid_binary_cross_entropy_cases
from backproplab.layers.losses.sigmoid_binary_cross_entropy import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
)
from backproplab.layers.losses.sigmoid_focal_loss import CASES as sigmoid_focal_loss_cases
from backproplab.layers.losses.sigmoid_focal_loss import sigmoid_focal_loss as sigmoid_focal_loss
from backproplab.layers.losses.softmax import CASES as softmax_cases
from backproplab.layers.losses.softmax import softmax as softmax
from backproplab.layers.losses.softmax_cross_entropy import CASES as softmax_cross_entropy_cases
from backproplab.layers.losses.softmax_cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    CASES as softmax_cross_entropy_with_integer_labels_cases,
)
from backproplab.layers.losses.softmax_cross_entropy_with_integer_labels import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from backproplab.layers.losses.softmax_focal_loss import CASES as softmax_focal_loss_cases
from backproplab.layers.losses.softmax_focal_loss import softmax_focal_loss as softmax_focal_loss
from backproplab.layers.losses.sparsemax import CASES as sparsemax_cases
from backproplab.layers.losses.sparsemax import sparsemax as sparsemax
from backproplab.layers.losses.square_error import CASES as square_error_cases
from backproplab.layers.losses.square_error import square_error as square_error
from backproplab.layers.losses.squared_hinge import CASES as squared_hinge_cases
from backproplab.layers.losses.squared_hinge import squared_hinge as squared_hinge
from backproplab.layers.losses.student_t_nll import CASES as student_t_nll_cases
from backproplab.layers.losses.student_t_nll import student_t_nll as student_t_nll
from backproplab.layers.losses.total_variation import CASES as total_variation_cases
from backproplab.layers.losses.total_variation import total_variation as total_variation
from backproplab.layers.losses.tversky_loss import CASES as tversky_loss_cases
from backproplab.layers.losses.tversky_loss import tversky_loss as tversky_loss
from backproplab.layers.losses.weston_watkins_hinge import CASES as weston_watkins_hinge_cases
from backproplab.layers.losses.weston_watkins_hinge import weston_watkins_hinge as weston_watkins_hinge

CASES = (
    *absolute_error_cases,
    *binary_cross_entropy_cases,
    *charbonnier_cases,
    *dice_loss_cases,
    *entmax15_cases,
    *entmax15_loss_cases,
    *gaussian_nll_cases,
    *hellinger_cases,
    *hinge_cases,
    *huber_loss_cases,
    *jensen_shannon_cases,
    *kl_divergence_cases,
    *log_cosh_cases,
    *log_softmax_cases,
    *masked_softmax_cross_entropy_cases,
    *multiclass_hinge_cases,
    *multiclass_sparsemax_loss_cases,
    *negative_binomial_nll_cases,
    *perceptron_loss_cases,
    *poisson_nll_cases,
    *poly_loss_cross_entropy_cases,
    *quantile_loss_cases,
    *reverse_kl_divergence_cases,
    *sigmoid_binary_cross_entropy_cases,
    *sigmoid_focal_loss_cases,
    *softmax_cases,
    *softmax_cross_entropy_cases,
    *softmax_cross_entropy_with_integer_labels_cases,
    *softmax_focal_loss_cases,
    *sparsemax_cases,
    *square_error_cases,
    *squared_hinge_cases,
    *student_t_nll_cases,
    *total_variation_cases,
    *tversky_loss_cases,
    *weston_watkins_hinge_cases,
)
