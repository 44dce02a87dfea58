"""The plugin system: what a plugin may do (hookspecs, script, registry), where plugins come from (discover), and how a faulty one is contained (host)."""
