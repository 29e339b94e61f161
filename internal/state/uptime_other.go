//go:build !linux

package state

// ReadUptime returns the present on the clock of the running system. It is unknown here.
func ReadUptime() Uptime { return Uptime{} }
