"""For samplers and schedules of plugins: the engine's contracts. Imports torch, so import it only in the module that a spec's `function` names."""

from webui.engine.samplers.contract import Guided, Network, Noise, NoiseBetween, SamplerOptions
from webui.engine.schedules import SigmaTable

__all__ = ["Guided", "Network", "Noise", "NoiseBetween", "SamplerOptions", "SigmaTable"]
