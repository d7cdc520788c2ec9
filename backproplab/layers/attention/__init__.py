"""Attention and position. Catalogue #93, #94, #96."""

from backproplab.layers.attention.dot_product_attention import CASES as dot_product_attention_cases
from backproplab.layers.attention.dot_product_attention import dot_product_attention as dot_product_attention
from backproplab.layers.attention.rotary_embedding import CASES as rotary_embedding_cases
from backproplab.layers.attention.rotary_embedding import rotary_embedding as rotary_embedding

CASES = (*dot_product_attention_cases, *rotary_embedding_cases)
