package base

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// aptConf is a file with the settings of the machine's apt that decide how packages are fetched. The tools work
// with an apt configuration of their own, which would know neither proxy nor certificate.
type aptConf struct{ path string } // "" where there is nothing to say

func (c aptConf) remove() {
	if c.path != "" {
		os.RemoveAll(filepath.Dir(c.path)) // holds this one file; nothing hangs on its removal
	}
}

// aptConf writes the file. Everybody may read it, as /etc/apt/apt.conf.d: mmdebstrap does so as another user.
func (o Options) aptConf(ctx context.Context) (aptConf, error) {
	exe := lookPath("apt-config", o.searchPath())
	if exe == "" {
		return aptConf{}, nil
	}
	var dump bytes.Buffer
	if err := o.run(ctx, &dump, exe, "dump"); err != nil {
		return aptConf{}, fmt.Errorf("read the machine's apt settings: %w", err)
	}
	lines := transport(dump.Bytes())
	if o.CAFile != "" {
		lines = append(lines, `Acquire::https::CaInfo "`+o.CAFile+`";`)
	}
	if found, _ := filepath.Glob("/etc/apt/auth.conf.d/*.conf"); len(found) > 0 {
		lines = append(lines, `Dir::Etc::netrcparts "/etc/apt/auth.conf.d";`)
	}
	if len(lines) == 0 {
		return aptConf{}, nil
	}
	dir, err := os.MkdirTemp(o.env("TMPDIR"), "slipway-apt-")
	if err != nil {
		return aptConf{}, err
	}
	c := aptConf{path: dir + "/apt.conf"}
	err = os.WriteFile(c.path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		c.remove()
		return aptConf{}, err
	}
	return c, nil
}

// transport picks, from the dump of apt's configuration, what is about fetching: proxies, certificates, retries,
// dates. Sections without a value of their own, and everything that could run a command, stay behind.
func transport(dump []byte) []string {
	var lines []string
	sc := bufio.NewScanner(bytes.NewReader(dump))
	for sc.Scan() {
		key, value, ok := strings.Cut(sc.Text(), " ")
		if !ok || value == `"";` {
			continue
		}
		switch low := strings.ToLower(key); {
		case strings.HasSuffix(low, "::pre-invoke::"), strings.HasSuffix(low, "::post-invoke::"):
		case strings.HasPrefix(low, "acquire::http::"), strings.HasPrefix(low, "acquire::https::"),
			strings.HasPrefix(low, "acquire::check-"), low == "acquire::retries",
			strings.HasPrefix(low, "acquire::forceipv"), strings.HasPrefix(low, "acquire::queue-"):
			lines = append(lines, sc.Text())
		}
	}
	return lines
}
