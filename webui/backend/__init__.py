"""Files to tensors on a device: device, catalog, identification, families, leases. Torch-free as a package; its modules are not."""
