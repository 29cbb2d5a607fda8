package builder

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// fileStat is what the tar writer needs of a file, the same on every Unix.
type fileStat struct {
	mode     uint32 // type and permission bits as in st_mode
	uid, gid int
	size     int64
}

const (
	modeSetuid = unix.S_ISUID
	modeSetgid = unix.S_ISGID
	modeKept   = 0o1777 // permissions and the sticky bit
)

type fileKind uint32

const (
	kindRegular   fileKind = unix.S_IFREG
	kindDirectory fileKind = unix.S_IFDIR
	kindLink      fileKind = unix.S_IFLNK
	kindFIFO      fileKind = unix.S_IFIFO
	kindSocket    fileKind = unix.S_IFSOCK
	kindBlock     fileKind = unix.S_IFBLK
	kindChar      fileKind = unix.S_IFCHR
)

func (s fileStat) kind() fileKind { return fileKind(s.mode & unix.S_IFMT) }

func newFileStat(st *unix.Stat_t) fileStat {
	return fileStat{
		mode: uint32(st.Mode), uid: int(st.Uid), gid: int(st.Gid), size: st.Size,
	}
}

// statDir is the state of a trusted directory; links are followed.
func statDir(host string) (fileStat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(host, &st) }); err != nil {
		return fileStat{}, &os.PathError{Op: "stat", Path: host, Err: err}
	}
	s := newFileStat(&st)
	if s.kind() != kindDirectory {
		return fileStat{}, fmt.Errorf("%s is not a directory", host)
	}
	return s, nil
}

// statAt is the state of one entry of an open directory; a link is not followed.
func statAt(dir *os.File, name string) (fileStat, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return newFileStat(&st), err
}

// openDirAt opens a directory that is an entry of dir; a link in its place is an error.
func openDirAt(dir *os.File, name string) (*os.File, error) {
	fd, err := openAt(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openAt(dir *os.File, name string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY|flags, 0)
		return err
	})
	return fd, err
}

// openTrusted opens a directory that the platform chose; links are followed.
func openTrusted(host string) (*os.File, error) {
	return os.OpenFile(host, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

func readLinkAt(dir *os.File, name string) (string, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		var n int
		err := retry(func() (err error) { n, err = unix.Readlinkat(int(dir.Fd()), name, b); return err })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// fdReader reads an open file without the cost of an os.File, which counts with a million small files.
type fdReader int

func (fd fdReader) Read(b []byte) (n int, err error) {
	err = retry(func() error { n, err = unix.Read(int(fd), b); return err })
	if err != nil {
		return 0, err
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// makeFIFO makes a named pipe below dir, for layers that had one.
func makeFIFO(dir *os.Root, name string, mode uint32, d Dirs) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Mknodat(int(f.Fd()), name, unix.S_IFIFO|mode, 0); err != nil {
		return &os.PathError{Op: "mkfifo", Path: name, Err: err}
	}
	return d.chown(dir, name)
}
