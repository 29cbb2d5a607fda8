package base

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/mail"
	"path"
	"strings"
	"time"
)

// isChangelog tells whether the file is a package's Debian changelog (native packages call it changelog.gz, binary
// rebuilds changelog.Debian.<arch>.gz).
func isChangelog(name string) bool {
	ok, _ := path.Match("usr/share/doc/*/changelog*.gz", name)
	return ok
}

// changelog notes the date of the newest entry. It is the one date that belongs to the packages and not to the
// day of the bootstrap, so the image can carry it. A file of another form has no say.
func (t *tree) changelog(name string, r io.Reader) {
	zr, err := gzip.NewReader(io.LimitReader(r, maxSmallFile*8))
	if err != nil {
		return
	}
	sc := bufio.NewScanner(io.LimitReader(zr, 64<<10)) // the newest entry is the first
	for sc.Scan() {
		author, date, ok := strings.Cut(sc.Text(), ">  ")
		if !ok || !strings.HasPrefix(author, " -- ") {
			continue
		}
		if at, err := mail.ParseDate(date); err == nil && at.After(t.newest) {
			t.newest = at.UTC().Truncate(time.Second)
		}
		return
	}
}
