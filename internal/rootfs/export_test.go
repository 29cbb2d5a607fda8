package rootfs

// MountOld is Mount as kernels before 6.5 have it.
func (o Overlay) MountOld(dir string) error { return o.mountOld(dir) }
