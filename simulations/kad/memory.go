package kad

// Memory calls f with each of the large arrays, which are read all over: for advice to the system. f changes nothing.
func (s *Space) Memory(f func(array any)) {
	f(s.ids)
	f(s.first)
	f(s.since)
}
