package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// How pages write times and numbers.

// ago is how long something is past, in the words of people.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	for _, step := range []struct {
		below, unit time.Duration
		name        string
	}{{time.Hour, time.Minute, "minute"}, {24 * time.Hour, time.Hour, "hour"}, {60 * 24 * time.Hour, 24 * time.Hour, "day"}} {
		if d < time.Minute {
			return "just now"
		}
		if d < step.below {
			return plural(int(d/step.unit), step.name) + " ago"
		}
	}
	return "on " + t.UTC().Format("2 Jan 2006")
}

func stamp(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05 UTC") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// took is a duration as one reads it: 340 ms, 4.2 s, 3 min 12 s.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// size is a number of bytes.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	if unit == "B" || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// short is the beginning of a commit or a digest.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	return s[:min(len(s), 12)]
}

// percent is a share, or a dash where there is nothing to share.
func percent(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	if part < whole && p > 99.95 {
		p = 99.9
	}
	if p == float64(int(p)) {
		return fmt.Sprintf("%.0f %%", p)
	}
	return fmt.Sprintf("%.1f %%", p)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// cause is what asked for a build, in few words.
func cause(b build.Build) string {
	ref := strings.TrimPrefix(strings.TrimPrefix(b.Trigger.Ref, "refs/heads/"), "refs/tags/")
	switch b.Trigger.Kind {
	case build.TriggerPush:
		return "git push to " + ref
	case build.TriggerWebhook:
		return "webhook, " + ref
	case build.TriggerRetry:
		return "retry"
	case build.TriggerAPI:
		return "API"
	case build.TriggerButton:
		return "deploy button"
	}
	return string(b.Trigger.Kind)
}
