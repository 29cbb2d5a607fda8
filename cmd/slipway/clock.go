package main

import (
	"fmt"
	"strconv"
	"time"
)

// clock is what begins every line: the time with --timestamps, else nothing.
func (a *app) clock() func() string {
	if !a.timestamps {
		return func() string { return "" }
	}
	return func() string { return time.Now().Format("2006-01-02 15:04:05.000 ") }
}

// created is the creation time of an image: --creation-time, else SOURCE_DATE_EPOCH, else zero, which means
// the constant that makes images reproducible.
func (a *app) created(flag string) (time.Time, error) {
	if flag == "" {
		v := a.getenv("SOURCE_DATE_EPOCH")
		if v == "" {
			return time.Time{}, nil
		}
		t, err := unixTime(v)
		if err != nil {
			return t, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970", v)
		}
		return t, nil
	}
	if flag == "now" {
		return time.Now().UTC().Truncate(time.Second), nil
	}
	if t, err := unixTime(flag); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, flag)
	if err != nil {
		return t, usagef("--creation-time %s: want now, seconds since 1970, or a time such as 2026-01-31T12:00:00Z", flag)
	}
	return t.UTC(), nil
}

func unixTime(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 253402300799 { // the year 9999, where JSON's times end
		return time.Time{}, fmt.Errorf("%q is no time", s)
	}
	return time.Unix(n, 0).UTC(), nil
}
