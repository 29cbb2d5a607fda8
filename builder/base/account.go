package base

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// accountFiles are the files that know the user, with what is added to each. The user is written here and not by
// useradd, because that would want a package more in the run image and stamps today's date into shadow.
func (o Options) accountFiles() map[string]string {
	uid, gid := o.user()
	return map[string]string{
		"etc/passwd":  fmt.Sprintf("cnb:x:%d:%d::/home/cnb:/bin/bash\n", uid, gid),
		"etc/group":   fmt.Sprintf("cnb:x:%d:\n", gid),
		"etc/shadow":  "cnb:!:::::::\n",
		"etc/gshadow": "cnb:!::\n",
	}
}

// addAccount appends line to the account file text. A name or id that is taken is an error: two users of
// one id would own each other's files.
func addAccount(name string, text []byte, line string) ([]byte, error) {
	want := strings.Split(line, ":")
	for have := range bytes.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(string(have), "\n"), ":")
		if fields[0] == want[0] {
			return nil, fmt.Errorf("add user cnb: /%s has that name already", name)
		}
		if _, err := strconv.Atoi(want[min(2, len(want)-1)]); err == nil && len(fields) > 2 && fields[2] == want[2] {
			return nil, fmt.Errorf("add user cnb: /%s gives id %s to %s", name, want[2], fields[0])
		}
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(text, line...), nil
}
