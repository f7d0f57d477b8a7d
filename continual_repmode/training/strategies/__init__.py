"""The strategies: what happens when tasks arrive. One module each.

A strategy is a dataclass of settings, a
:class:`~continual_repmode.training.strategies.strategy_config.StrategyConfig`. Its
module also has the plugin, if the strategy has one. Importing these modules does not
import Avalanche, so that settings can be composed without it.
:data:`continual_repmode.offers.STRATEGIES` lists them.
"""
