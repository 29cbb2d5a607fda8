package build

import (
	"fmt"
	"math/rand/v2"
)

// MadeUpName is a name of an app for who has no idea. It may be taken.
func MadeUpName() AppName {
	first := []string{"amber", "brisk", "calm", "copper", "fair", "gentle", "hardy", "keen", "light", "mellow", "north", "quiet", "silver", "steady", "swift", "tidal"}
	second := []string{"anchor", "beacon", "buoy", "cove", "delta", "dock", "ferry", "harbor", "hull", "jetty", "keel", "mast", "pier", "reef", "sail", "shore"}
	name := fmt.Sprintf("%s-%s-%05d", first[rand.N(len(first))], second[rand.N(len(second))], rand.N(100_000))
	return AppName(name) // which is a form that ParseAppName takes
}
