package cnb

import (
	"fmt"
	"strconv"
	"strings"
)

// An API is a Platform or Buildpack API version, "<major>.<minor>". The zero value is "no version given".
type API struct{ Major, Minor int }

// The API versions that this engine speaks, oldest and newest of each.
var (
	OldestBuildpackAPI = API{0, 7}
	NewestBuildpackAPI = API{0, 12}
	OldestPlatformAPI  = API{0, 7}
	NewestPlatformAPI  = API{0, 15}
)

// ParseAPI reads "<major>.<minor>" or "<major>", which means "<major>.0" (buildpack, "buildpack.toml").
func ParseAPI(s string) (API, error) {
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		minor = "0"
	}
	a, err1 := strconv.ParseUint(major, 10, 16)
	b, err2 := strconv.ParseUint(minor, 10, 16)
	if err1 != nil || err2 != nil {
		return API{}, fmt.Errorf("API version %q: want <major>.<minor>", s)
	}
	return API{int(a), int(b)}, nil
}

// String is "<major>.<minor>", or "" for the zero value.
func (a API) String() string {
	if a == (API{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d", a.Major, a.Minor)
}

// AtLeast reports whether a is major.minor or newer.
func (a API) AtLeast(major, minor int) bool {
	return a.Major > major || a.Major == major && a.Minor >= minor
}

// Within reports whether a lies between oldest and newest, both included.
func (a API) Within(oldest, newest API) bool {
	return a.AtLeast(oldest.Major, oldest.Minor) && newest.AtLeast(a.Major, a.Minor)
}

// BuildpackAPIs and PlatformAPIs list every version that this engine speaks, oldest first.
func BuildpackAPIs() []string { return span(OldestBuildpackAPI, NewestBuildpackAPI) }

// PlatformAPIs lists every Platform API version that this engine speaks, oldest first.
func PlatformAPIs() []string { return span(OldestPlatformAPI, NewestPlatformAPI) }

func span(from, to API) []string {
	var s []string
	for m := from.Minor; m <= to.Minor; m++ {
		s = append(s, API{from.Major, m}.String())
	}
	return s
}

// MarshalText writes the "<major>.<minor>" form.
func (a API) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what ParseAPI reads; the empty text gives the zero value.
func (a *API) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*a = API{}
		return nil
	}
	*a, err = ParseAPI(string(b))
	return err
}
