"""Reductions over axes."""

from backproplab.layers.reductions.cumlogsumexp import CASES as cumlogsumexp_cases
from backproplab.layers.reductions.cumlogsumexp import cumlogsumexp as cumlogsumexp
from backproplab.layers.reductions.cummax import CASES as cummax_cases
from backproplab.layers.reductions.cummax import cummax as cummax
from backproplab.layers.reductions.cumprod import CASES as cumprod_cases
from backproplab.layers.reductions.cumprod import cumprod as cumprod
from backproplab.layers.reductions.cumsum import CASES as cumsum_cases
from backproplab.layers.reductions.cumsum import cumsum as cumsum
from backproplab.layers.reductions.logaddexp import CASES as logaddexp_cases
from backproplab.layers.reductions.logaddexp import logaddexp as logaddexp
from backproplab.layers.reductions.logsumexp import CASES as logsumexp_cases
from backproplab.layers.reductions.logsumexp import logsumexp as logsumexp
from backproplab.layers.reductions.max import CASES as max_cases
from backproplab.layers.reductions.max import max as max
from backproplab.layers.reductions.max import min as min
from backproplab.layers.reductions.median import CASES as median_cases
from backproplab.layers.reductions.median import median as median
from backproplab.layers.reductions.moe_router import CASES as moe_router_cases
from backproplab.layers.reductions.moe_router import moe_router as moe_router
from backproplab.layers.reductions.norm import CASES as norm_cases
from backproplab.layers.reductions.norm import norm as norm
from backproplab.layers.reductions.prod import CASES as prod_cases
from backproplab.layers.reductions.prod import prod as prod
from backproplab.layers.reductions.segment_max import CASES as segment_max_cases
from backproplab.layers.reductions.segment_max import segment_max as segment_max
from backproplab.layers.reductions.segment_softmax import CASES as segment_softmax_cases
from backproplab.layers.reductions.segment_softmax import segment_softmax as segment_softmax
from backproplab.layers.reductions.segment_sum import CASES as segment_sum_cases
from backproplab.layers.reductions.segment_sum import segment_sum as segment_sum
from backproplab.layers.reductions.sort import CASES as sort_cases
from backproplab.layers.reductions.sort import sort as sort
from backproplab.layers.reductions.std import CASES as std_cases
from backproplab.layers.reductions.std import std as std
from backproplab.layers.reductions.top_k import CASES as top_k_cases
from backproplab.layers.reductions.top_k import top_k as top_k
from backproplab.layers.reductions.var import CASES as var_cases
from backproplab.layers.reductions.var import var as var

CASES = (
    *cumlogsumexp_cases,
    *cummax_cases,
    *cumprod_cases,
    *cumsum_cases,
    *logaddexp_cases,
    *logsumexp_cases,
    *max_cases,
    *median_cases,
    *moe_router_cases,
    *norm_cases,
    *prod_cases,
    *segment_max_cases,
    *segment_softmax_cases,
    *segment_sum_cases,
    *sort_cases,
    *std_cases,
    *top_k_cases,
    *var_cases,
)
