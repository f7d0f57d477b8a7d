"""Everything that touches Avalanche: streams, strategies, plugins, the loop."""
