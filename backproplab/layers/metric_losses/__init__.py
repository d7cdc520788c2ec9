"""Losses on similarity, distance and alignment. Catalogue #73 to #76, #108."""

from backproplab.layers.metric_losses.angular_distance import CASES as angular_distance_cases
from backproplab.layers.metric_losses.angular_distance import angular_distance as angular_distance
from backproplab.layers.metric_losses.clip_loss import CASES as clip_loss_cases
from backproplab.layers.metric_losses.clip_loss import clip_loss as clip_loss
from backproplab.layers.metric_losses.contrastive_loss import CASES as contrastive_loss_cases
from backproplab.layers.metric_losses.contrastive_loss import contrastive_loss as contrastive_loss
from backproplab.layers.metric_losses.cosine_similarity import CASES as cosine_similarity_cases
from backproplab.layers.metric_losses.cosine_similarity import cosine_distance as cosine_distance
from backproplab.layers.metric_losses.cosine_similarity import cosine_similarity as cosine_similarity
from backproplab.layers.metric_losses.ctc_loss import CASES as ctc_loss_cases
from backproplab.layers.metric_losses.ctc_loss import ctc_loss as ctc_loss
from backproplab.layers.metric_losses.info_nce import CASES as info_nce_cases
from backproplab.layers.metric_losses.info_nce import info_nce as info_nce
from backproplab.layers.metric_losses.lifted_structure_loss import CASES as lifted_structure_loss_cases
from backproplab.layers.metric_losses.lifted_structure_loss import lifted_structure_loss as lifted_structure_loss
from backproplab.layers.metric_losses.pairwise_distance import CASES as pairwise_distance_cases
from backproplab.layers.metric_losses.pairwise_distance import cdist as cdist
from backproplab.layers.metric_losses.pairwise_distance import pairwise_distance as pairwise_distance
from backproplab.layers.metric_losses.semi_hard_triplet_loss import CASES as semi_hard_triplet_loss_cases
from backproplab.layers.metric_losses.semi_hard_triplet_loss import semi_hard_triplet_loss as semi_hard_triplet_loss
from backproplab.layers.metric_losses.siglip_loss import CASES as siglip_loss_cases
from backproplab.layers.metric_losses.siglip_loss import siglip_loss as siglip_loss
from backproplab.layers.metric_losses.supervised_contrastive import CASES as supervised_contrastive_cases
from backproplab.layers.metric_losses.supervised_contrastive import supervised_contrastive as supervised_contrastive
from backproplab.layers.metric_losses.triplet_margin_loss import CASES as triplet_margin_loss_cases
from backproplab.layers.metric_losses.triplet_margin_loss import triplet_margin_loss as triplet_margin_loss

CASES = (
    *angular_distance_cases,
    *clip_loss_cases,
    *contrastive_loss_cases,
    *cosine_similarity_cases,
    *ctc_loss_cases,
    *info_nce_cases,
    *lifted_structure_loss_cases,
    *pairwise_distance_cases,
    *semi_hard_triplet_loss_cases,
    *siglip_loss_cases,
    *supervised_contrastive_cases,
    *triplet_margin_loss_cases,
)
