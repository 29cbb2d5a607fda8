package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wants checks the number of arguments against the names in a command's Use line: NAME is one, [NAME] may
// be missing, NAME... is one or more.
func wants(names ...string) cobra.PositionalArgs {
	least, most := 0, 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
		most++
		if strings.Contains(n, "...") {
			most = 1 << 20
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s wants %s: %s", cmd.CommandPath(), strings.Join(names, " "), cmd.UseLine())
		case len(args) > most && most == 0:
			return usagef("%s takes no argument, got %q", cmd.CommandPath(), args[0])
		case len(args) > most:
			return usagef("%s wants %s only, got %q too: %s", cmd.CommandPath(), strings.Join(names, " "), args[most], cmd.UseLine())
		}
		return nil
	}
}

// flagError makes one line of what pflag says and names the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		name, _, _ = strings.Cut(name, "=")
		if near := nearest(name, flagNames(cmd)); near != "" {
			return usagef("unknown flag --%s for %q: did you mean --%s?", name, cmd.CommandPath(), near)
		}
		return usagef("unknown flag --%s for %q: see %s --help", name, cmd.CommandPath(), cmd.CommandPath())
	}
	if strings.HasPrefix(text, "unknown shorthand flag") {
		return usagef("%s: see %s --help", text, cmd.CommandPath())
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		return usagef("%s %s: want %s", m[2], m[1], wanted(cmd, m[2]))
	}
	return &usageError{err}
}

// invalidValue is how pflag begins to tell of a value that its type cannot be read from.
var invalidValue = regexp.MustCompile(`^invalid argument "(.*)" for "(?:-[^-], )?(--?[^"]+)" flag: `)

// wanted is what the values of a flag are like.
func wanted(cmd *cobra.Command, flag string) string {
	f := cmd.Flags().Lookup(strings.TrimLeft(flag, "-"))
	if f == nil {
		return "another value"
	}
	switch f.Value.Type() {
	case "duration":
		return "a time such as 90s or 10m"
	case "bool":
		return "true or false"
	case "int", "int64", "float64":
		return "a number"
	}
	return "another value"
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := nearest(name, names); near != "" {
		return usagef("unknown command %q for %q: did you mean %q?", name, cmd.CommandPath(), near)
	}
	slices.Sort(names)
	return usagef("unknown command %q for %q: it has %s", name, cmd.CommandPath(), strings.Join(names, ", "))
}

// nearest is the candidate that a slip of the fingers may have meant, or "".
func nearest(name string, candidates []string) string {
	best, at := "", max(len(name)/3, 1)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		d := distance(name, c)
		if len(name) >= 3 && strings.HasPrefix(c, name) {
			d = 1
		}
		if d < at {
			best, at = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// note tells people something on stderr that does not end the command.
func (a *app) note(format string, args ...any) {
	if !a.quiet && !a.data() {
		fmt.Fprintf(a.stderr, "Note: "+format+"\n", args...)
	}
}

// warn tells people of something that should be mended.
func (a *app) warn(format string, args ...any) {
	if !a.data() {
		fmt.Fprintf(a.stderr, "Warning: "+format+"\n", args...)
	}
}
