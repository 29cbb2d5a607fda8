package index

// Mirrored is where an address of an index is fetched from: a mirror, where one is named for it.
func (s *Set) Mirrored(address string) string { return s.mirrored(address) }
