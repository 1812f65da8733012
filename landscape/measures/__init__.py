"""Measures of a point in the loss landscape, one quantity a file."""

from landscape.measures.accuracy import accuracy as accuracy
from landscape.measures.adaptive_sharpness import adaptive_sharpness as adaptive_sharpness
from landscape.measures.approximation_ratio import approximation_ratio as approximation_ratio
from landscape.measures.average_sharpness import average_sharpness as average_sharpness
from landscape.measures.basin_width import basin_width as basin_width
from landscape.measures.block_spectra import block_spectra as block_spectra
from landscape.measures.dominant_eigenvalue import dominant_eigenvalue as dominant_eigenvalue
from landscape.measures.fisher_rao_norm import fisher_rao_norm as fisher_rao_norm
from landscape.measures.gradient_noise import gradient_noise as gradient_noise
from landscape.measures.gradient_norm import gradient_norm as gradient_norm
from landscape.measures.hessian_trace import hessian_trace as hessian_trace
from landscape.measures.layer_eigenvalues import layer_eigenvalues as layer_eigenvalues
from landscape.measures.layer_traces import layer_traces as layer_traces
from landscape.measures.loss import loss as loss
from landscape.measures.normalized_trace import normalized_trace as normalized_trace
from landscape.measures.pacbayes_sigma import pacbayes_sigma as pacbayes_sigma
from landscape.measures.path_norm import path_norm as path_norm
from landscape.measures.recalled import Answer as Answer
from landscape.measures.recalled import measure as measure
from landscape.measures.recalled import measured_or_recalled as measured_or_recalled
from landscape.measures.relative_flatness import relative_flatness as relative_flatness
from landscape.measures.spectral_density import spectral_density as spectral_density
from landscape.measures.surrogate_gap import surrogate_gap as surrogate_gap
from landscape.measures.table import DEFAULT as DEFAULT
from landscape.measures.table import MEASURES as MEASURES
from landscape.measures.top_eigenvalues import top_eigenvalues as top_eigenvalues
