package base

import (
	"archive/tar"
	"path"
	"strings"
)

// dropDirs are emptied: what is below them differs from run to run, belongs to the machine, or is of no use in a
// container. The directories themselves stay.
func dropDirs() []string {
	return []string{
		"dev", "proc", "sys", "run", "tmp", "var/tmp", // filled by the container runtime
		"var/log", "var/cache/apt", "var/cache/ldconfig", "var/cache/man", "var/backups",
		"var/lib/apt/lists", "var/lib/apt/mirrors", "var/lib/apt/periodic", "var/lib/systemd",
		"etc/apt/auth.conf.d", "etc/apt/sources.list.d", "etc/apt/preferences.d",
		"usr/share/man", "usr/share/info", "usr/share/lintian", "usr/share/linda", "usr/share/bug",
		"usr/share/doc-base", "usr/share/groff", "usr/share/locale",
	}
}

// dropFiles are left out wherever the pattern (path.Match) says so.
func dropFiles() []string {
	return []string{
		"etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_*", // a machine's identity
		"etc/hostname", "etc/hosts", "etc/resolv.conf", // the container runtime's
		"etc/apt/sources.list", "etc/apt/auth.conf", "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/apt.conf.d/99slipway",
		"etc/dpkg/dpkg.cfg.d/99mmdebstrap",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
		"var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/available", "var/lib/dpkg/triggers/Lock",
		"var/cache/debconf/*-old", "debootstrap",
		"usr/bin/*lto-dump*", // 32 MB that only developers of the compiler use
	}
}

// dropped tells whether the entry is left out. Licences stay: /usr/share/doc/<package>/copyright.
func dropped(name string, kind byte) bool {
	if rest, ok := strings.CutPrefix(name, "usr/share/doc/"); ok {
		_, below, deep := strings.Cut(rest, "/")
		switch {
		case !deep:
			return kind != tar.TypeDir && kind != tar.TypeSymlink
		default:
			return below != "copyright"
		}
	}
	for _, dir := range dropDirs() {
		if strings.HasPrefix(name, dir+"/") && !(kind == tar.TypeDir && name == "run/lock") {
			return true
		}
	}
	for _, pattern := range dropFiles() {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return strings.HasPrefix(name, "debootstrap/")
}
