"""For samplers and schedules of plugins: the engine's contracts. Imports torch, so import it only in the module that a spec's `function` names."""

from webui.engine.samplers.contract import Guided, Network, Noise, SamplerOptions
from webui.engine.schedules import SigmaTable

__all__ = ["Guided", "Network", "Noise", "SamplerOptions", "SigmaTable"]
