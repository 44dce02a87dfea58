"""For samplers, schedules and hooks of the loop: the engine's contracts. Imports torch, so import it only where the worker runs: in the module that a
spec's `function` names, or inside the hook."""

from webui.engine.samplers.contract import Guided, Network, Noise, NoiseBetween, SamplerOptions
from webui.engine.schedules import SigmaTable
from webui.engine.step_hooks import ModelInput, ModelOutput, StepState

__all__ = ["Guided", "ModelInput", "ModelOutput", "Network", "Noise", "NoiseBetween", "SamplerOptions", "SigmaTable", "StepState"]
