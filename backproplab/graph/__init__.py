"""The computational graph of an expression, with the value and the gradient on every edge."""

from backproplab.graph.trace import Edge as Edge
from backproplab.graph.trace import Graph as Graph
from backproplab.graph.trace import Node as Node
from backproplab.graph.trace import trace as trace
