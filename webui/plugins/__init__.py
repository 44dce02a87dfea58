"""The plugin system: what a plugin may do (hookspecs, script, registry), where it comes from (discover), how a faulty one is contained (host)."""
