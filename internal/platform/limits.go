package platform

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// withDefaults fills in the limits of a developer's machine: all of its memory but a tenth (at least
// 512 MiB is left), 4,096 processes, 50 GiB of disk. CPU and time are not limited.
func (l Limits) withDefaults() Limits {
	if l.Memory == 0 {
		if total := totalMemory(); total > 0 {
			l.Memory = total - max(total/10, 512<<20)
			l.Memory = max(l.Memory, total/2)
		}
	}
	if l.PIDs == 0 {
		l.PIDs = 4096
	}
	if l.Disk == 0 {
		l.Disk = 50 << 30
	}
	return l
}

// totalMemory is the host's memory in bytes, 0 where the system does not tell.
func totalMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// diskFull says that hardly anything can be written below dir any more.
func diskFull(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Bavail*uint64(st.Bsize) < 1<<20 || st.Files > 0 && st.Ffree < 16)
}
