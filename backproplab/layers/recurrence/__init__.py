"""Recurrence: layers that read a sequence step by step. Catalogue #101 to #104."""

from backproplab.layers.recurrence.elman_rnn import CASES as elman_rnn_cases
from backproplab.layers.recurrence.elman_rnn import elman_rnn as elman_rnn
from backproplab.layers.recurrence.gru import CASES as gru_cases
from backproplab.layers.recurrence.gru import gru as gru
from backproplab.layers.recurrence.linear_recurrence import CASES as linear_recurrence_cases
from backproplab.layers.recurrence.linear_recurrence import linear_recurrence as linear_recurrence
from backproplab.layers.recurrence.lstm import CASES as lstm_cases
from backproplab.layers.recurrence.lstm import lstm as lstm

CASES = (
    *elman_rnn_cases,
    *gru_cases,
    *linear_recurrence_cases,
    *lstm_cases,
)
